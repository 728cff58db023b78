"""A worker process of a fleet. A test drives it through a pipe (see ``fleet``).

``python -m tests.support.fleet_worker ADDRESS`` is a template: it imports everything
once, and forks a worker whenever it is asked to, which takes a few milliseconds.

A test can move the clocks of its workers, so that no test waits for minutes. The proofs
of credentials, which are made slow on purpose, are made fast.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
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

real_time = time.time
real_monotonic = time.monotonic

_shifts = {"monotonic": 0.0, "wall": 0.0}


class Call(NamedTuple):
    """What an API call came to: the status of its answer, or its error.

    ``began`` and ``ended`` are real monotonic moments.
    """

    answer: int | str
    text: str
    retry_after: float | None
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long the call took."""
        return self.ended - self.began


class Line(NamedTuple):
    """A line of the library's log."""

    event: str
    level: str
    at: float
    text: str


class TimeIsUp(TimeoutError):
    """The time limit of a job, as a job queue raises it from a signal handler."""


class Worker:
    """What a test can tell a worker to do."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._calls: list[Call] = []
        self._threads: list[threading.Thread] = []
        self._start = threading.Event()
        self._stop = threading.Event()

    def build(
        self,
        environ: Mapping[str, str],
        shared: Iterable[Any] | None = None,
        **options: Any,
    ) -> None:
        """Make the auth. ``shared`` names another store than that of ``REDIS_URL``."""
        import requests

        from turvo_session import TurvoAuth

        handler = logging.Handler()
        handler.emit = self._note  # type: ignore[method-assign]
        logger = logging.getLogger("turvo_session")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        if shared:
            options["store"] = _make_store(*shared)
        self.auth = TurvoAuth.from_env(environ, **options)
        self._session = requests.Session()
        self._session.auth = self.auth

    # Calls

    def call(self, path: str = SHIPMENTS, times: int = 1) -> list[Call]:
        """Make API calls in the main thread, and return what they came to."""
        url = self.auth.base_url + path
        return [_get(self._session, url) for _ in range(times)]

    def ready(self, threads: int, calls: int | None, path: str, pause: float) -> None:
        """Start threads that wait for ``go``; then each calls until it has enough."""
        self._start.clear()
        self._stop.clear()
        waiting = threading.Barrier(threads + 1)
        arguments = (waiting, calls, path, pause)
        self._threads = [
            threading.Thread(target=self._work, args=arguments, daemon=True)
            for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        waiting.wait()

    def go(self) -> None:
        """Let the threads begin."""
        self._start.set()

    def finish(self, stop: bool) -> list[Call]:
        """Wait for the threads; return all calls that were not returned yet."""
        if stop:
            self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.calls()

    def calls(self) -> list[Call]:
        """Return the threads' calls that were not returned yet."""
        told = self._calls[:]
        del self._calls[: len(told)]  # the threads may append meanwhile
        return told

    def call_until_interrupted(self, number: int) -> str:
        """Make a call that a signal is expected to end; return the error's name."""
        if number == signal.SIGINT:
            # A suite that runs in the background was started with Ctrl-C ignored.
            signal.signal(number, signal.default_int_handler)
        else:
            signal.signal(number, _raise_time_is_up)
        try:
            self._session.get(self.auth.base_url + SHIPMENTS, timeout=60)
        except (KeyboardInterrupt, TimeIsUp, OSError) as error:
            return type(error).__name__
        return "no error"

    def fork(self, children: int, threads: int) -> list[list[Call]]:
        """Fork, whatever the threads do; return the calls that each child made."""
        return [result() for result in [self._fork(threads) for _ in range(children)]]

    # The token

    def token(self) -> str:
        """Return the fingerprint of the current token. Log in if need be."""
        return self.auth.token().fingerprint

    def login(self, force: bool = False) -> str:
        """Log in; return the fingerprint of the token, or the name of the error."""
        try:
            return self.auth.login(force=force).fingerprint
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return type(error).__name__

    def forget(self) -> None:
        """Drop the token and the failures."""
        self.auth.forget()

    def status(self) -> Any:
        """Return the status of the token."""
        return self.auth.status()

    def log(self) -> list[Line]:
        """Return all lines that the library has logged."""
        return self._lines

    # The process

    def move(self, seconds: float, clock: str = "monotonic") -> None:
        """Set a clock of this process forward, or back."""
        _shifts[clock] += seconds

    def cut_off(self) -> None:
        """Take this process's route to Turvo away."""
        from urllib3.util import connection

        def find_no_route(*_: object, **__: object) -> None:
            raise OSError(113, "No route to host")

        connection.create_connection = find_no_route

    def run_command(self, environ: Mapping[str, str], *arguments: str) -> int:
        """Run the command line in this process, and return its exit code."""
        from turvo_session.__main__ import main

        os.environ.update(environ)
        nowhere = io.StringIO()
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return main(arguments)

    def _fork(self, threads: int) -> Callable[[], list[Call]]:
        ours, theirs = Pipe()
        child = _fork_unwarned()
        if child == 0:
            try:
                self.ready(threads, 1, SHIPMENTS, 0)
                self._calls = []
                self.go()
                theirs.send(self.finish(stop=False))
            finally:
                os._exit(0)

        def result() -> list[Call]:
            if not ours.poll(60):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return ours.recv() if ours.poll() else []

        return result

    def _work(
        self, waiting: threading.Barrier, calls: int | None, path: str, pause: float
    ) -> None:
        import requests

        url = self.auth.base_url + path
        with requests.Session() as session:
            session.auth = self.auth
            waiting.wait()
            self._start.wait()
            while not self._stop.is_set() and calls != 0:
                self._calls.append(_get(session, url))
                calls = calls and calls - 1
                if pause and calls != 0:
                    self._stop.wait(pause)

    def _note(self, record: logging.LogRecord) -> None:
        event = getattr(record, "turvo_event", "")
        now = real_monotonic()
        self._lines.append(Line(event, record.levelname, now, record.getMessage()))


def _fork_unwarned() -> int:
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forks beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def fetch(auth: Any) -> int:
    """Make one API call, and return the status of its answer."""
    import requests

    with requests.Session() as session:
        session.auth = auth
        return int(session.get(auth.base_url + SHIPMENTS, timeout=60).status_code)


def _get(session: Any, url: str) -> Call:
    began = real_monotonic()
    answer: int | str
    text, retry_after = "", None
    try:
        answer = session.get(url, timeout=60).status_code
    except Exception as error:  # noqa: BLE001 - whatever a caller can see
        answer, text = type(error).__name__, str(error)
        retry_after = getattr(error, "retry_after", None)
    return Call(answer, text, retry_after, began, real_monotonic())


def _raise_time_is_up(*_: object) -> None:
    raise TimeIsUp


def _make_store(kind: str, ports: list[int], key: str) -> Any:
    from redis.cluster import ClusterNode, RedisCluster
    from redis.sentinel import Sentinel

    from turvo_session import RedisStore

    timeouts = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    if kind == "sentinel":
        nodes = [("127.0.0.1", port) for port in ports]
        sentinel = Sentinel(nodes, sentinel_kwargs=timeouts)
        return RedisStore(sentinel.master_for("turvo", **timeouts), key)
    nodes = [ClusterNode("127.0.0.1", port) for port in ports]
    return RedisStore(RedisCluster(startup_nodes=nodes, **timeouts), key)


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
            except Exception:  # noqa: BLE001 - it is raised again in the test
                answer = (False, traceback.format_exc())
            pipe.send(answer)


def _loosen_clocks() -> None:
    """Make the clocks of this process and of its children obey ``Worker.move``."""
    import datetime

    real_datetime = datetime.datetime

    class LooseDatetime(real_datetime):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + datetime.timedelta(seconds=_shifts["wall"])

    time.time = lambda: real_time() + _shifts["wall"]
    time.monotonic = lambda: real_monotonic() + _shifts["monotonic"]
    datetime.datetime = LooseDatetime  # type: ignore[misc]


def main(address: str) -> None:
    """Fork as many workers as each message says, until the test hangs up."""
    _loosen_clocks()
    for name in (
        "turvo_session.__main__",
        "turvo_session.transport",
        "tenacity",
        "redis.cluster",
        "redis.sentinel",
    ):
        importlib.import_module(name)
    from turvo_session import login

    dict(login.SLOW_HASHES)["scrypt"]["n"] = 2
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
    # What is pickled has to have the name by which the tests know it.
    from tests.support.fleet_worker import main

    main(*sys.argv[1:])
