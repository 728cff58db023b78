"""A ``RedisStore`` with a client of valkey-py in place of redis-py."""

from __future__ import annotations

import sys

import valkey
from _sharing import RedisServer, is_shared

PACKAGE = "valkey-py"
REQUIRES = ["valkey"]
HOW = "`RedisStore(valkey.Valkey(...), key)`"


def main() -> int:
    """Return 0 if clients share a token, and decoding ones too."""
    with RedisServer(port=0) as server:
        return is_shared(
            lambda: valkey.Valkey(port=server.port, socket_timeout=5),
            lambda: valkey.Valkey(port=server.port, decode_responses=True),
        )


if __name__ == "__main__":
    sys.exit(main())
