"""Fixtures: a local Turvo, a real Redis-protocol server, a clock made by hand."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
import redis
from servers import RedisServer

from turvo_session.testing import FakeTurvo


def pytest_collection_finish() -> None:
    """Have the collector pass over what thousands of tests are made of.

    Else it stops every thread of this process, time and again, for longer than Redis may take to answer.
    """
    gc.collect()
    gc.freeze()


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turvo() -> Iterator[FakeTurvo]:
    """A local Turvo of the test's own."""
    with FakeTurvo() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_redis_url() -> Iterator[str]:
    if url := os.environ.get("TEST_REDIS_URL"):
        assert "PYTEST_XDIST_WORKER" not in os.environ, "TEST_REDIS_URL: one server, one process; add -n 0"
        yield url
    else:
        with RedisServer() as server:
            yield server.url


@pytest.fixture
def redis_url(_shared_redis_url: str) -> str:
    """The URL of an empty Redis-protocol server that nobody stops."""
    with redis.Redis.from_url(_shared_redis_url) as client:
        client.flushall()
    return _shared_redis_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """For looking into the server at ``redis_url``."""
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        yield client


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis-protocol server of the test's own, to be stopped, killed and brought back."""
    with RedisServer(port=0) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite is the same on a machine where TURVO_... and REDIS_URL are set."""
    for name in list(os.environ):
        if name.startswith("TURVO_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
