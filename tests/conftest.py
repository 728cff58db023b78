"""Fixtures: a local Turvo, a real Redis-protocol server, and a clock made by hand.

A server is imported by the fixture that starts it: most unit tests need none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.clock import Clock

if TYPE_CHECKING:
    import redis

    from tests.support.servers import RedisServer
    from turvo_session.testing import FakeTurvo


def pytest_configure() -> None:
    """Let Ctrl-C end what the tests start.

    A shell starts a background command with SIGINT ignored, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that moves only when the test moves it."""
    return Clock()


@pytest.fixture
def turvo() -> Iterator[FakeTurvo]:
    """Run a local Turvo for this test alone."""
    from turvo_session.testing import FakeTurvo

    with FakeTurvo() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_redis_url() -> Iterator[str]:
    from tests.support.servers import RedisServer

    url = os.environ.get("TEST_REDIS_URL")
    if url:
        # Two test processes would empty the server under each other.
        assert "PYTEST_XDIST_WORKER" not in os.environ, "TEST_REDIS_URL needs -n 0"
        yield url
        return
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def redis_url(_shared_redis_url: str) -> str:
    """Return the URL of an empty Redis-protocol server that no test stops."""
    import redis

    with redis.Redis.from_url(_shared_redis_url, protocol=2) as client:
        client.flushall()
    return _shared_redis_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """Return a client that looks into the server at ``redis_url``."""
    import redis

    with redis.Redis.from_url(redis_url, socket_timeout=5, protocol=2) as client:
        yield client


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis-protocol server that this test may stop, kill and start again."""
    from tests.support.servers import RedisServer

    with RedisServer(port=0) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_turvo_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the suite alike on a machine where TURVO_... and REDIS_URL are set."""
    for name in list(os.environ):
        if name.startswith("TURVO_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
