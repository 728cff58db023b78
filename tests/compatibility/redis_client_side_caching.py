"""A ``RedisStore`` with a client of redis-py that caches replies."""

from __future__ import annotations

import sys
from typing import Any

import redis
from _sharing import RedisServer, is_shared
from redis.cache import CacheConfig
from redis.connection import Connection

PACKAGE = "redis-py, client-side caching"
REQUIRES = ["redis"]
HOW = "`cache_config=CacheConfig()` with RESP3"


class Introduced(Connection):
    """A connection to the tests' Valkey, which redis-py takes for Redis 7.4.

    redis-py caches with no other server, although Valkey can do it.
    """

    @property  # type: ignore[override]
    def handshake_metadata(self) -> dict[Any, Any]:
        return {**self._metadata, b"server": b"redis", b"version": b"7.4.0"}

    @handshake_metadata.setter
    def handshake_metadata(self, value: dict[Any, Any] | None) -> None:
        self._metadata = value or {}


def main() -> int:
    """Return 0 if caching clients share a token."""
    with RedisServer(port=0) as server:

        def make_client() -> redis.Redis:
            return redis.Redis(
                connection_pool=redis.ConnectionPool(
                    connection_class=Introduced,
                    port=server.port,
                    protocol=3,
                    cache_config=CacheConfig(),
                )
            )

        return is_shared(make_client)


if __name__ == "__main__":
    sys.exit(main())
