"""A worker process of a fleet, driven by a test through a pipe (see ``fleet``).

``python tests/fleet_worker.py ADDRESS [--clock]`` is a template: it imports everything once, then forks a
worker whenever it is asked to, which takes a few milliseconds. With ``--clock`` its workers have a wall
clock that can be made to jump.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Client, Connection, Pipe
from typing import Any, NamedTuple

SHIPMENTS = "/shipments/list"
_shift = 0.0  # seconds by which the wall clock of this process is wrong


class Call(NamedTuple):
    """What one API call came to: the status of the answer, or the name of the error and its text."""

    answer: int | str
    text: str
    retry_after: float | None
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Line(NamedTuple):
    """A line of the library's log, and the monotonic moment at which it was written."""

    event: str
    level: str
    at: float
    text: str


class Worker:
    """What a test can tell a worker to do."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._calls: list[Call] = []
        self._threads: list[threading.Thread] = []
        self._start = threading.Event()
        self._stop = threading.Event()

    def build(self, environ: Mapping[str, str], shared: Iterable[Any] | None = None, **options: Any) -> None:
        """Make the auth; ``shared`` names another way to Redis than ``REDIS_URL``."""
        from turvo_session import TurvoAuth

        handler = logging.Handler()
        handler.emit = self._note  # type: ignore[method-assign]
        logger = logging.getLogger("turvo_session")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        if shared:
            options["store"] = _store(*shared)
        self.auth = TurvoAuth.from_env(environ, **options)

    def ready(self, threads: int, calls: int | None, path: str, pause: float) -> None:
        """Make threads that wait for ``go``; each then makes ``calls`` calls, or calls until ``finish``."""
        self._start.clear()
        self._stop.clear()
        waiting = threading.Barrier(threads + 1)
        self._threads = [
            threading.Thread(target=self._work, args=(waiting, calls, path, pause), daemon=True)
            for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        waiting.wait()

    def go(self) -> None:
        self._start.set()

    def finish(self, stop: bool) -> list[Call]:
        """Wait for the threads, if need be after a sign to stop; all the calls that were not yet told."""
        if stop:
            self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.calls()

    def calls(self) -> list[Call]:
        """The calls that were made since this was asked last."""
        told, self._calls = self._calls, []
        return told

    def token(self) -> str:
        """The fingerprint of the current token, got if need be."""
        return self.auth.token().fingerprint

    def forget(self) -> None:
        self.auth.forget()

    def status(self) -> Any:
        return self.auth.status()

    def stats(self) -> Any:
        return self.auth.stats

    def log(self) -> list[Line]:
        return self._lines

    def jump(self, seconds: float) -> None:
        """Put the wall clock forward or back."""
        global _shift
        _shift += seconds

    def fork(self, children: int, threads: int) -> list[list[Call]]:
        """Fork, whatever the threads are at; what became of the calls that each child then made."""
        return [future() for future in [self._fork(threads) for _ in range(children)]]

    def _fork(self, threads: int) -> Callable[[], list[Call]]:
        ours, theirs = Pipe()
        with warnings.catch_warnings():  # Python 3.12 and later warn of forks beside threads
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                self.ready(threads, 1, SHIPMENTS, 0)
                self._calls = []
                self.go()
                theirs.send(self.finish(stop=False))
            finally:
                os._exit(0)

        def result() -> list[Call]:
            if not ours.poll(20):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return ours.recv() if ours.poll() else []

        return result

    def _work(self, waiting: threading.Barrier, calls: int | None, path: str, pause: float) -> None:
        import requests

        url = self.auth.base_url + path
        with requests.Session() as session:
            session.auth = self.auth
            waiting.wait()
            self._start.wait()
            while not self._stop.is_set() and calls != 0:
                self._calls.append(_call(session, url))
                calls = calls and calls - 1
                if pause and calls != 0:
                    self._stop.wait(pause)

    def _note(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", "")
        self._lines.append(Line(event, record.levelname, time.monotonic(), record.getMessage()))


def _call(session: Any, url: str) -> Call:
    began = time.monotonic()
    answer: int | str
    text, retry_after = "", None
    try:
        answer = session.get(url, timeout=60).status_code
    except Exception as error:  # noqa: BLE001 - whatever a caller can see
        answer, text = type(error).__name__, str(error)
        retry_after = getattr(error, "retry_after", None)
    return Call(answer, text, retry_after, began, time.monotonic())


def fetch(auth: Any) -> int:
    """One API call; the status."""
    import requests

    with requests.Session() as session:
        session.auth = auth
        return int(session.get(auth.base_url + SHIPMENTS, timeout=60).status_code)


def _store(kind: str, ports: list[int], key: str) -> Any:
    from redis.cluster import ClusterNode, RedisCluster
    from redis.sentinel import Sentinel

    from turvo_session import RedisStore

    timeouts = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    if kind == "sentinel":
        nodes = [("127.0.0.1", port) for port in ports]
        return RedisStore(Sentinel(nodes, sentinel_kwargs=timeouts).master_for("turvo", **timeouts), key)
    return RedisStore(
        RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", p) for p in ports], **timeouts), key
    )


def _serve(address: str) -> None:
    worker = Worker()
    with Client(address, "AF_UNIX") as pipe:
        pipe.send(os.getpid())
        while True:
            try:
                name, arguments, options = pipe.recv()
            except EOFError:
                return
            try:
                answer = (True, getattr(worker, name)(*arguments, **options))
            except Exception:  # noqa: BLE001 - is raised again in the test
                answer = (False, traceback.format_exc())
            pipe.send(answer)


def _loose_clock() -> None:
    """Make the wall clock of this process and of what it forks one that ``jump`` moves."""
    import datetime

    true_time, true_datetime = time.time, datetime.datetime

    class LooseDatetime(true_datetime):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + datetime.timedelta(seconds=_shift)

    time.time = lambda: true_time() + _shift
    datetime.datetime = LooseDatetime  # type: ignore[misc]


def main(address: str, *options: str) -> None:
    """Fork a worker for every message, until the test hangs up."""
    if "--clock" in options:
        _loose_clock()
    for name in (
        "turvo_session",
        "requests_oauthlib",
        "tenacity",
        "redis",
        "redis.sentinel",
        "redis.cluster",
    ):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page
    template: Connection = Client(address, "AF_UNIX")
    while True:
        try:
            count = template.recv()
        except EOFError:
            return
        for _ in range(count):
            if os.fork() == 0:
                template.close()
                _serve(address)
                os._exit(0)


if __name__ == "__main__":
    from fleet_worker import main  # so that what is pickled is named as the tests know it

    main(*sys.argv[1:])
