"""A fleet of worker processes that call the API at the test's command.

::

    with FleetTurvo() as turvo, Site(turvo, redis_url) as site:
        with site.workers(8) as fleet:
            assert answers(go(fleet, threads=8)) == {200: 64}
            site.pass_time(43200)

``Site.pass_time`` moves the clocks of the workers, the lives of what Redis holds, and
the tokens of the local Turvo, so that an hour takes a millisecond.
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
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import redis

from tests.support.fleet_worker import SHIPMENTS, Call, Line
from tests.support.servers import RedisServer
from tests.support.threads import LONG, until
from turvo_session.failure import PAUSES
from turvo_session.testing import FakeTurvo

ROOT = Path(__file__).parents[2]
HANDSHAKE = {"AUTH", "CLIENT", "HELLO", "SELECT"}
KEY = "turvo:auth_token"
LEASE, FAILURES, WAKE = (
    f"{KEY}:{name}:{{{KEY}}}" for name in ("lease", "failures", "wake")
)
FOREVER = float("inf")
LIFE = 43199.0
"""Seconds of the local Turvo's tokens."""
DUE_AT = LIFE - 300.0
LEASE_SECONDS = 15.0
INVALID_GRANT = '{"error": "invalid_grant", "error_description": "Bad credentials"}'
QUICK = (0.5, 1.0)
"""A ``token_timeout``: the lease of such a leader lasts 3.5 s."""

PASS_TIME = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left > 0 then redis.call('PEXPIRE', key, math.max(0, left - ARGV[1])) end
end
"""


class Gone(Exception):
    """The worker is dead."""


class Worker:
    """A worker process as the test sees it."""

    def __init__(self, pipe: Connection) -> None:
        self.is_alive = True
        self.pid: int = pipe.recv()
        self._pipe = pipe

    def tell(self, name: str, *arguments: Any, **options: Any) -> None:
        """Have ``fleet_worker.Worker.<name>`` called; ``hear`` returns the answer."""
        try:
            self._pipe.send((name, arguments, options))
        except OSError:
            raise Gone(self.pid) from None

    def hear(self, seconds: float = 90) -> Any:
        """Return the answer to the last thing that the worker was told."""
        try:
            if not self._pipe.poll(seconds):
                raise TimeoutError(f"worker {self.pid} is silent for {seconds} s")
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Gone(self.pid) from None
        assert good, answer
        return answer

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Have ``fleet_worker.Worker.<name>`` called, and return the answer."""
        self.tell(name, *arguments, **options)
        return self.hear()

    def events(self, name: str) -> list[Line]:
        """Return the lines that the worker has logged about this kind of event."""
        return [line for line in self.ask("log") if line.event == name]

    def kill(self) -> None:
        """Do ``kill -9``."""
        self.is_alive = False
        self.signal(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the process."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """Kill the process, suspended or not.

        Its pid is not given to another process as long as the template lives.
        """
        self.kill()
        self._pipe.close()


class _Template:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="turvo-")
        address = f"{self._folder.name}/fleet"
        self._listener = Listener(address, "AF_UNIX", backlog=256)
        module = "tests.support.fleet_worker"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, address], cwd=ROOT
        )
        self._pipe = self._listener.accept()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def fork(self, count: int) -> list[Worker]:
        """Return new workers."""
        with self._lock:
            self._pipe.send(count)
            return [Worker(self._listener.accept()) for _ in range(count)]

    def close(self) -> None:
        """End the template."""
        self._pipe.close()
        self._listener.close()
        self._process.wait()
        self._folder.cleanup()


_templates: list[_Template] = []
_templates_lock = threading.Lock()


@contextlib.contextmanager
def workers(
    environs: int | Sequence[Mapping[str, str]],
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[list[Worker]]:
    """Run worker processes, each with an auth of its own.

    There are as many as ``environs`` says, all with one ``environ``, or one for each of
    the ``environs``. ``options`` are arguments of ``TurvoAuth``.
    """
    each = [environ or {}] * environs if isinstance(environs, int) else environs
    with _templates_lock:
        if not _templates:
            _templates.append(_Template())
    fleet = _templates[0].fork(len(each))
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
    """Let every thread of every worker begin at once to call.

    Each makes ``calls`` calls, or calls until ``finish``.
    """
    fleet = list(fleet)
    ask_all(fleet, "ready", threads, calls, path, pause)
    ask_all(fleet, "go")


def finish(fleet: Iterable[Worker], *, stop: bool = True) -> list[Call]:
    """Stop the calls, and return every call that was not returned yet."""
    return [call for calls in ask_all(fleet, "finish", stop) for call in calls]


def go(
    fleet: Iterable[Worker],
    *,
    threads: int = 1,
    calls: int = 1,
    path: str = SHIPMENTS,
) -> list[Call]:
    """Have every thread of every worker make its calls, all of them at once."""
    fleet = list(fleet)
    start(fleet, threads=threads, calls=calls, path=path)
    return finish(fleet, stop=False)


def ask_all(fleet: Iterable[Worker], name: str, *arguments: Any) -> list[Any]:
    """Have every worker do the same at once; return their answers."""
    fleet = list(fleet)
    for worker in fleet:
        worker.tell(name, *arguments)
    return [worker.hear() for worker in fleet]


def answers(calls: Iterable[Call]) -> Counter[int | str]:
    """Return how often callers saw which status or error."""
    return Counter(call.answer for call in calls)


def trouble(fleet: Iterable[Worker]) -> list[Line]:
    """Return what the workers have logged about Redis being out of order."""
    return [line for worker in fleet for line in worker.events("StoreFailed")]


def lasted(calls: Sequence[Call]) -> float:
    """Return the seconds from the begin of the first call to the end of the last."""
    return max(call.ended for call in calls) - min(call.began for call in calls)


def pass_calls(turvo: FakeTurvo, count: int) -> None:
    """Wait until the API was called ``count`` times more."""
    before = turvo.api_requests
    until(lambda: turvo.api_requests >= before + count)


def run_python(script: str, environ: Mapping[str, str], timeout: float = LONG) -> str:
    """Return what a script prints in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | dict(environ),
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=True,
        text=True,
    )
    return done.stdout


class Hold:
    """An answer of the local Turvo that is held back until ``released`` is set."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.arrived = threading.Event()
        self.released = threading.Event()

    def wait_for_request(self) -> None:
        """Wait until the request is there whose answer is held back."""
        assert self.arrived.wait(LONG), "the request did not come"


class FleetTurvo(FakeTurvo):
    """A local Turvo that notes when it is asked for a token, and can hold answers back.

    ``asked`` are the moments of the token requests, in seconds that ``Site.pass_time``
    moves.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[float] = []
        self._holds: list[Hold] = []

    def fail_logins(
        self, status: int, body: str = "", *, times: float = FOREVER
    ) -> None:
        """Answer the next logins with ``status``."""
        self.fail_next(status, where="token", times=times, body=body)

    def hang_logins(self) -> None:
        """Let no login end."""
        self.login_seconds = 600.0

    def hold(self, where: str = "token") -> Hold:
        """Hold the next answer of the token endpoint, or of the API, back."""
        self._holds.append(Hold(where))
        return self._holds[-1]

    def _answer(self, method: str, url: str, *request: Any) -> Any:
        where = "token" if url.endswith("/oauth/token") else "api"
        if where == "token":
            self.asked.append(self._time())
        answer = super()._answer(method, url, *request)
        hold = self._next_hold(where)
        if hold is not None:
            hold.released.wait(LONG)
        return answer

    def _next_hold(self, where: str) -> Hold | None:
        with self._lock:
            for hold in self._holds:
                if hold.where == where and not hold.arrived.is_set():
                    hold.arrived.set()
                    return hold
        return None

    def __exit__(self, *error: object) -> None:
        for hold in self._holds:
            hold.arrived.set()
            hold.released.set()
        super().__exit__(*error)


def shared(turvo: FakeTurvo, url: str) -> dict[str, str]:
    """Return the environment of a worker that shares its token in the Redis at
    ``url``."""
    return turvo.environ | {"REDIS_URL": url, "TURVO_TOKEN_KEY": KEY}


class Site:
    """A local Turvo, a Redis, and the workers that share their token there.

    ``url`` is the way of the workers to Redis; ``redis`` looks into it.
    """

    server: RedisServer

    def __init__(self, turvo: FleetTurvo, url: str) -> None:
        self.turvo = turvo
        self.environ = shared(turvo, url)
        self.redis = redis.Redis.from_url(url, socket_timeout=5, protocol=2)
        self._fleet: list[Worker] = []
        self._owed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()

    @contextlib.contextmanager
    def workers(
        self, count: int = 1, *more: Mapping[str, str], **options: Any
    ) -> Iterator[list[Worker]]:
        """Run ``count`` workers, and one for each of the environments ``more``.

        Those are added to the site's own environment.
        """
        environs = [self.environ] * count + [self.environ | one for one in more]
        with workers(environs, **options) as fleet:
            self._fleet += fleet
            try:
                yield fleet
            finally:
                self._fleet = [one for one in self._fleet if one not in fleet]

    def pass_time(self, seconds: float, *, in_redis: bool = True) -> None:
        """Let time pass for the workers, in Redis, and at Turvo.

        A Redis in trouble catches up with the next call that includes it.
        """
        self._owed += seconds
        if in_redis:
            self.redis.eval(PASS_TIME, 0, int(self._owed * 1000))
            self._owed = 0.0
        self.turvo.advance(seconds)
        alive = [worker for worker in self._fleet if worker.is_alive]
        ask_all(alive, "move", seconds)

    def make_due(self) -> None:
        """Let the token become due."""
        self.pass_time(DUE_AT + 1)

    def expire(self, *, in_redis: bool = True) -> None:
        """Let the token expire."""
        self.pass_time(LIFE + 1, in_redis=in_redis)

    def poll(
        self, fleet: Sequence[Worker], seconds: float, step: float, **options: Any
    ) -> list[Call]:
        """Have every worker call at each step; return all calls."""
        calls: list[Call] = []
        for _ in range(int(seconds / step)):
            calls += self.call(fleet, **options)
            self.pass_time(step)
        return calls

    def call(
        self, fleet: Iterable[Worker], path: str = SHIPMENTS, times: int = 1
    ) -> list[Call]:
        """Have every worker call, one call after the other; return all calls."""
        return [call for calls in ask_all(fleet, "call", path, times) for call in calls]

    def stored(self) -> bytes | None:
        """Return what Redis holds in the place of the token."""
        value = self.redis.get(KEY)
        assert value is None or isinstance(value, bytes)
        return value

    def is_waited_at(self, count: int = 1) -> bool:
        """Return whether ``count`` clients wait in Redis to be woken."""
        return bool(self.redis.info("clients")["blocked_clients"] == count)

    def pauses(self) -> list[float]:
        """Return the pauses between logins, rounded down to those of the library.

        A gap of less than 5 s is between two tries of the same login.
        """
        pauses = sorted({pause for each in PAUSES.values() for pause in each})
        gaps = [after - before for before, after in pairwise(self.turvo.asked)]
        return [pauses[bisect(pauses, gap) - 1] for gap in gaps if gap >= 5]

    def most_asked(self, seconds: float = 900.0) -> int:
        """Return how many token requests there were in any such period at most."""
        asked = self.turvo.asked
        return max(
            (sum(0 <= at - begin < seconds for at in asked) for begin in asked),
            default=0,
        )


@contextlib.contextmanager
def separate_site(*options: str, **turvo: Any) -> Iterator[Site]:
    """Run a site with a Redis of its own, at ``site.server``.

    ``options`` are lines of the server's configuration, ``turvo`` are arguments of the
    local Turvo.
    """
    with (
        FleetTurvo(**turvo) as local_turvo,
        RedisServer(*options, port=0) as server,
        Site(local_turvo, server.url) as site,
    ):
        site.server = server
        yield site


class Command(NamedTuple):
    """A command that reached Redis: the client's name, the moment, and the words."""

    client: str
    at: float
    words: tuple[str, ...]


@contextlib.contextmanager
def monitored(server: RedisServer) -> Iterator[list[Command]]:
    """Collect every command that the server executes, also in scripts (``lua``).

    The list is filled when the block ends. A client without a name goes by its address.
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
                if seen["client_type"] == "lua":
                    where = "lua"
                if words[:2] == ("CLIENT", "SETNAME"):
                    names[where] = words[2]
                found.append(Command(names.get(where, where), seen["time"], words))


_rows: dict[str, list[tuple[dict[str, Future[None]], str, Callable[[], None]]]] = {}
"""The rows of each module's tables that were not started yet: where the result goes,
the name, and what to run."""


def rows_at_once(
    rows: Mapping[str, Any],
) -> Callable[[Callable[[Any], None]], Callable[[str], None]]:
    """Make a function into a test of each row of a table, by the row's name.

    All rows of a module's tables start as soon as the first one is asked for, five at a
    time. They mostly wait, so one after the other would take much longer.
    """
    results: dict[str, Future[None]] = {}

    def decorate(run: Callable[[Any], None]) -> Callable[[str], None]:
        _rows.setdefault(run.__module__, []).extend(
            (results, name, partial(run, value)) for name, value in rows.items()
        )

        def test(row: str) -> None:
            if not results:
                pool = ThreadPoolExecutor(5)
                for into, name, run_row in _rows.pop(run.__module__):
                    into[name] = pool.submit(run_row)
                pool.shutdown(wait=False)
            results[row].result()

        test.__doc__ = run.__doc__
        marked: Callable[[str], None] = pytest.mark.parametrize("row", rows)(test)
        return marked

    return decorate
