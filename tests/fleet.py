"""A fleet of worker processes that call the API at the test's command, and what became of their calls.

::

    with workers(8, turvo.environ | {"REDIS_URL": url}) as fleet:
        calls = go(fleet, threads=8)
        assert answers(calls) == {200: 64}
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, NamedTuple

import redis
from fleet_worker import SHIPMENTS, Call, Line
from servers import RedisServer

from turvo_session.testing import FakeTurvo

HANDSHAKE = {"AUTH", "CLIENT", "HELLO", "SELECT"}
KEY = "turvo:auth_token"
LEASE, FAILURE, WAKE = (f"{{{KEY}}}:{name}" for name in ("lease", "failure", "wake"))


class Gone(Exception):
    """The worker is dead."""


class Worker:
    """A worker process as the test sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.pid: int = pipe.recv()

    def tell(self, name: str, *arguments: Any, **options: Any) -> None:
        """Have ``fleet_worker.Worker.<name>`` called; ``hear`` gets the answer."""
        try:
            self._pipe.send((name, arguments, options))
        except OSError:
            raise Gone(self.pid) from None

    def hear(self, seconds: float = 90) -> Any:
        try:
            if not self._pipe.poll(seconds):
                raise TimeoutError(f"worker {self.pid} has said nothing for {seconds} s")
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Gone(self.pid) from None
        assert good, answer
        return answer

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.tell(name, *arguments, **options)
        return self.hear()

    def events(self, name: str) -> list[Line]:
        """The lines that it has logged about this kind of event."""
        return [line for line in self.ask("log") if line.event == name]

    def kill(self) -> None:
        """``kill -9``."""
        os.kill(self.pid, signal.SIGKILL)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill it, paused or not. Its pid stays taken for as long as the template lives."""
        self.kill()
        self._pipe.close()


class _Template:
    """The process that workers are forked from."""

    def __init__(self, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="turvo-")
        address = f"{self._folder.name}/fleet"
        self._listener = Listener(address, "AF_UNIX", backlog=256)
        script = Path(__file__).with_name("fleet_worker.py")
        self._process = subprocess.Popen([sys.executable, "-W", "error", str(script), address, *options])
        self._pipe = self._listener.accept()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def fork(self, count: int) -> list[Worker]:
        with self._lock:
            self._pipe.send(count)
            return [Worker(self._listener.accept()) for _ in range(count)]

    def close(self) -> None:
        self._pipe.close()
        self._listener.close()
        self._process.wait()
        self._folder.cleanup()


_templates: dict[tuple[str, ...], _Template] = {}


@contextlib.contextmanager
def workers(
    environs: int | Sequence[Mapping[str, str]],
    environ: Mapping[str, str] | None = None,
    *,
    loose_clock: bool = False,
    **options: Any,
) -> Iterator[list[Worker]]:
    """Worker processes, each with an auth of its own; ``options`` are arguments of ``TurvoAuth``.

    As many as told, all with one ``environ``; or one for each of the ``environs``.
    """
    each = [environ or {}] * environs if isinstance(environs, int) else environs
    how = ("--clock",) if loose_clock else ()
    if how not in _templates:
        _templates[how] = _Template(*how)
    fleet = _templates[how].fork(len(each))
    try:
        for worker, variables in zip(fleet, each, strict=True):
            worker.tell("build", dict(variables), **options)
        for worker in fleet:
            worker.hear()
        yield fleet
    finally:
        for worker in fleet:
            worker.end()


def start(
    fleet: Iterable[Worker],
    *,
    threads: int = 1,
    calls: int | None = None,
    path: str = SHIPMENTS,
    pause: float = 0,
) -> None:
    """Every thread of every worker begins at once to make ``calls`` calls, or to call until ``finish``."""
    for worker in fleet:
        worker.tell("ready", threads, calls, path, pause)
    for worker in fleet:
        worker.hear()
    for worker in fleet:
        worker.tell("go")
    for worker in fleet:
        worker.hear()


def finish(fleet: Iterable[Worker], *, stop: bool = True) -> list[Call]:
    """Stop calling; every call that was not told yet."""
    for worker in fleet:
        worker.tell("finish", stop)
    return [call for worker in fleet for call in worker.hear()]


def go(fleet: Iterable[Worker], *, threads: int = 1, calls: int = 1, path: str = SHIPMENTS) -> list[Call]:
    """Every thread of every worker makes its calls, all of them at once; what each caller saw."""
    start(fleet, threads=threads, calls=calls, path=path)
    return finish(fleet, stop=False)


def answers(calls: Iterable[Call]) -> Counter[int | str]:
    """How often callers saw which status or error."""
    return Counter(call.answer for call in calls)


def trouble(fleet: Iterable[Worker]) -> list[Line]:
    """What the workers have logged about Redis being out of order."""
    return [line for worker in fleet for line in worker.events("StoreFailed")]


def lasted(calls: Sequence[Call]) -> float:
    """Seconds from the first call's begin to the last one's end."""
    return max(call.ended for call in calls) - min(call.began for call in calls)


def until(true: Callable[[], Any], seconds: float = 15.0, every: float = 0.005) -> Any:
    """Wait until ``true()`` is; what it returned. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)
    return value


def pass_calls(turvo: FakeTurvo, count: int) -> None:
    """Wait until the API was called ``count`` times more."""
    before = turvo.api_requests
    until(lambda: turvo.api_requests >= before + count)


def sleep_until(moment: float) -> None:
    """Sleep until a monotonic moment."""
    time.sleep(max(0.0, moment - time.monotonic()))


class Command(NamedTuple):
    """A command that reached Redis: from which client (its name, else its address), when, and what."""

    client: str
    at: float
    words: tuple[str, ...]


@contextlib.contextmanager
def monitored(server: RedisServer) -> Iterator[list[Command]]:
    """Every command that the server executes meanwhile, inside of scripts too (client ``lua``).

    The list is filled when the block ends.
    """
    found: list[Command] = []
    names: dict[str, str] = {"lua": "lua"}
    with server.client() as client, server.client() as last:
        last.ping()
        with client.monitor() as monitor:
            yield found
            last.echo("that is all")
            for seen in monitor.listen():
                words = tuple(seen["command"].split(" "))
                if words[-1] == "all" and words[0] == "ECHO":
                    return
                where = f"{seen['client_address']}:{seen['client_port']}"
                where = "lua" if seen["client_type"] == "lua" else where
                if words[:2] == ("CLIENT", "SETNAME"):
                    names[where] = words[2]
                found.append(Command(names.get(where, where), seen["time"], words))


def shared(turvo: FakeTurvo, url: str) -> dict[str, str]:
    """The environment of a worker that shares the token of ``turvo`` through the Redis at ``url``."""
    return turvo.environ | {"REDIS_URL": url, "TURVO_TOKEN_KEY": KEY}


def named(turvo: FakeTurvo, url: str, count: int) -> list[dict[str, str]]:
    """The same for ``count`` workers, whose connections to Redis are named ``worker-0`` and so on."""
    return [shared(turvo, f"{url}?client_name=worker-{i}") for i in range(count)]


def waiting(client: redis.Redis) -> int:
    """How many clients wait in Redis to be woken."""
    return int(client.info("clients")["blocked_clients"])


class AtOnce:
    """Runs every row of a table at the same time, once the first is asked for: they mostly wait."""

    def __init__(self, run: Callable[[Any], Any], rows: Mapping[str, Any], at_once: int = 4) -> None:
        self._run, self._rows, self._at_once = run, rows, at_once
        self._results: dict[str, Future[Any]] = {}

    def __getitem__(self, name: str) -> Any:
        if not self._results:
            pool = ThreadPoolExecutor(self._at_once)
            self._results = {row: pool.submit(self._run, self._rows[row]) for row in self._rows}
            pool.shutdown(wait=False)
        return self._results[name].result()
