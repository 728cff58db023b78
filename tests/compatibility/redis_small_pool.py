"""A ``RedisStore`` on an application's own pool of one connection."""

from __future__ import annotations

import sys
import threading

import redis
from _sharing import RedisServer, is_shared

from turvo_session import RedisStore, TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "redis-py, BlockingConnectionPool(max_connections=1)"
REQUIRES = ["redis"]
HOW = "also shared by four tenants in one process"


def blocking_client(server: RedisServer) -> redis.Redis:
    """Return a client that waits for its only connection."""
    pool = redis.BlockingConnectionPool(
        port=server.port or 0, max_connections=1, timeout=20
    )
    return redis.Redis(connection_pool=pool)


def logins_of_four_tenants(server: RedisServer) -> int:
    """Return how often four tenants log in from two processes with a pool each."""
    turvos = [FakeTurvo(login_seconds=0.8, seed=i).__enter__() for i in range(4)]
    threads = []
    for client in (blocking_client(server), blocking_client(server)):
        for i, turvo in enumerate(turvos):
            store = RedisStore(client, f"turvo:{{tenant-{i}}}")
            auth = TurvoAuth.from_env(turvo.environ, store=store)
            threads.append(threading.Thread(target=auth.token))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for turvo in turvos:
        turvo.__exit__(None, None, None)
    return sum(turvo.logins for turvo in turvos)


def main() -> int:
    """Return 0 if nobody waits for a connection that a waiter sits on."""
    with RedisServer(port=0) as server:
        result = is_shared(lambda: blocking_client(server))
        logins = logins_of_four_tenants(server)
    print(f"four tenants: {logins} logins")
    return result or int(logins != 4)


if __name__ == "__main__":
    sys.exit(main())
