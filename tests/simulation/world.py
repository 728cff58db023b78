"""The world around the library: a Redis, Turvo's token endpoint, and the processes.

The processes run the real ``TokenSource``, ``Level`` and ``renewal``. Everything below and
above those is a model: ``SharedStore`` and ``Connection`` of ``redis_store``, ``Turvo`` and
``ModelLogin`` of ``login``, and ``converse`` of ``auth``.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, NoReturn
from unittest import mock

from greenlet import getcurrent

from turvo_session import source as source_module
from turvo_session import tokens as tokens_module
from turvo_session.errors import TurvoAuthError
from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Failure,
)
from turvo_session.renewal import Adopt, Got, Stay
from turvo_session.source import TokenSource
from turvo_session.store import KEEP, Change, MemoryStore, Slot, Snapshot, StoreError
from turvo_session.tokens import Token, parse_object, same_secret

from .invariants import COUNTED, Checks
from .scheduler import Interrupted, Scheduler, Task

ATTEMPT_SECONDS = 13.0
"""The longest time of one token request: 3 s to connect and 10 s to read."""
LONGEST_LOGIN = 30.0
"""The longest time of one login, all its tries together."""
BUSY = "busy"
"""Turvo's answer 503 with a ``Retry-After`` of ``BUSY_FOR`` seconds."""
BUSY_FOR = 120.0
SLOW = "slow"
SLOW_LOGIN = 12.0
PAUSE_OF_BREAKER = (2.0, 60.0)
"""Seconds for which a connection leaves a broken store alone: at first, and at most."""
REMEMBERED_FOR = 60.0
"""Seconds for which a process remembers uncured requests and false alarms."""
MOMENT = 1e-6
MOST_WRONG = 10
"""Wrong passwords in a row within ``LOCKED_FOR`` seconds after which Turvo locks."""
LOCKED_FOR = 900.0
FORBIDDEN = "/forbidden"
"""A path that Turvo answers with a 401 whatever the token."""

RIGHT = "right"


@dataclass(frozen=True)
class Setting:
    """How Turvo behaves in one run.

    ``policy``: a login gives a ``"fresh"`` token, the ``"same"`` one as long as that lives,
    or a fresh one that ends the old one (``"revoke"``). ``life`` is in seconds.
    ``login_seconds`` is the length of a token request, unless it hangs.
    """

    policy: str = "fresh"
    life: float = 43200.0
    login_seconds: float = 1.0


class World:
    """One simulated fleet, from its start to its end."""

    latest: ClassVar[World]

    def __init__(self, setting: Setting, *, one_thread: bool = True) -> None:
        World.latest = self
        self.scheduler = Scheduler()
        self.setting = setting
        self.one_thread = one_thread
        self.checks = Checks(self)
        self.store = SharedStore(self)
        self.turvo = Turvo(self)
        self.processes: list[Process] = []
        self.started = self.scheduler.now
        self.trace: list[tuple[float, str, object]] = []
        self.faults: list[str] = []
        self.owners: dict[bytes, Any] = {}
        self.workload: Callable[[Task], None] | None = None
        self.forbidden_path = FORBIDDEN

    @property
    def now(self) -> float:
        """The moment on the virtual clock."""
        return self.scheduler.now

    def clock(self) -> float:
        """Return the moment on the virtual clock, as a process sees it."""
        return self.scheduler.now

    def add_process(
        self, credentials: str = RIGHT, *, endpoint: str = "turvo"
    ) -> Process:
        """Start a process with an empty memory."""
        process = Process(self, len(self.processes) + 1, credentials, endpoint)
        self.processes.append(process)
        return process

    def end_faults(self) -> None:
        """Let everything work from now on."""
        self.store.away_until = self.store.read_only_until = -math.inf
        self.store.away_commands = 0
        self.turvo.next_answers.clear()
        self.turvo.refusals = 0
        self.turvo.locked_until = -math.inf
        for process in self.processes:
            process.suspended_until = process.no_route_until = -math.inf

    def store_by_script(self) -> None:
        """Store a token as a script does that knows neither leases nor this library."""
        life = self.setting.life
        secret = self.turvo.issue(life)
        self.turvo.issued[secret] = 0  # nobody can tell which login came first
        fields = {"access_token": secret, "expires_at": "2026-01-01"}
        self.note("SCRIPT", f"stores {secret}")
        self.store.put_token(Slot(json.dumps(fields).encode(), life))

    def note(self, name: str, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.now, name, text))

    def state(self) -> int:
        """Return a hash of everything that the rest of the run depends on.

        What a process knows follows from the results of its steps so far, because it is
        deterministic.
        """
        tasks = tuple(
            (task.name, task.pending, task.wakes_at, task.interrupts_after)
            for task in self.scheduler.tasks
            if not task.finished
        )
        return hash(
            (
                self.now,
                tasks,
                tuple(process.state() for process in self.processes),
                self.store.state(),
                self.turvo.state(),
                len(self.faults),
            )
        )

    def close(self) -> None:
        """End what still runs."""
        self.scheduler.close()

    def random_bytes(self, count: int) -> bytes:
        """Return bytes that tell which call drew them."""
        task = getcurrent()
        if not isinstance(task, Task):
            return len(self.processes).to_bytes(count, "big")
        process = task.process
        process.random_values += 1
        value = (process.number << 32) + process.random_values
        drawn = value.to_bytes(count, "big")
        self.owners[drawn.hex().encode()] = task.call
        return drawn


class SharedStore:
    """Redis as ``RedisStore`` uses it: three values, and a stream that wakes the waiters.

    Times to live are in whole milliseconds. A swap compares the values, and not their
    times to live.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._values: list[tuple[bytes, int] | None] = [None, None, None]
        self._waiters: list[Task] = []
        self._wakes_made = 0
        self.last_wake = 0
        self.older: list[list[tuple[bytes, int] | None]] = []
        self.commands = 0
        self.token_since = (0, 0.0)
        self.away_until = -math.inf
        self.away_commands = 0
        self.read_only_until = -math.inf

    def state(self) -> tuple[Any, ...]:
        """Return what tells two states of the store apart."""
        now = self._milliseconds()
        values = tuple(kept and (kept[0], kept[1] - now) for kept in self._values)
        trouble = (self.away_until, self.away_commands, self.read_only_until)
        return values, self.last_wake, trouble

    def look(self) -> tuple[tuple[bytes, float] | None, ...]:
        """Return the three values with the seconds that they have left."""
        now = self._milliseconds()
        return tuple(
            (kept[0], (kept[1] - now) / 1000) if kept and now < kept[1] else None
            for kept in self._values
        )

    def digest(self) -> tuple[bytes | None, ...]:
        """Return what a swap compares."""
        return tuple(kept and kept[0] for kept in self.look())

    def token(self) -> tuple[str, float] | None:
        """Return the secret of the stored token and the seconds that it has left."""
        kept = self.look()[0]
        return kept and (secret_in(kept[0]), kept[1])

    def history(self) -> Slot | None:
        """Return what is remembered of failed logins."""
        kept = self.look()[2]
        return kept and Slot(*kept)

    def lease_owner(self) -> bytes | None:
        """Return the owner of the lease, if there is a lease."""
        kept = self.look()[1]
        return kept and kept[0]

    def trouble(self, kind: str) -> str:
        """Return why a command of this kind fails now, or ""."""
        if self.away_commands:
            self.away_commands -= 1
            return "connection refused"
        if self.now_away():
            return "connection refused"
        if kind == "swap" and self._world.now < self.read_only_until:
            return "READONLY"
        return ""

    def now_away(self) -> bool:
        """Return whether the store answers nobody."""
        return self.away_commands > 0 or self._world.now < self.away_until

    def put_token(self, slot: Slot) -> None:
        """Hold this token from the start."""
        end = self._milliseconds() + int(slot.left * 1000)
        self._values[0] = (slot.value, end)
        self.token_changed()

    def apply(self, change: Change, task: Task) -> None:
        """Write what the change holds."""
        self._world.checks.store_written(task, change)
        self.older.append(list(self._values))
        now = self._milliseconds()
        for index, slot in enumerate(change.values):
            if slot is None:
                self._values[index] = None
            elif slot is not KEEP:
                end = now + max(1, int(slot.left * 1000))
                self._values[index] = (slot.value, end)
        if change.token is not KEEP:
            self.token_changed()
        if change.wake:
            self._wakes_made += 1
            self.last_wake = self._wakes_made
            self.wake_waiters()

    def token_changed(self) -> None:
        """Remember since when the store has held what it holds now."""
        self.token_since = (self.commands, self._world.now)

    def wake_waiters(self) -> None:
        """Make everybody ready who waits for the stream, or whose connection is cut."""
        for task in self._waiters:
            task.ready_at = min(task.ready_at, self._world.now)
        self._waiters.clear()

    def add_waiter(self, task: Task) -> None:
        """Let the task be woken by the next entry of the stream."""
        self._waiters.append(task)

    def flush(self) -> None:
        """Lose everything, the stream as well."""
        self._values = [None, None, None]
        self.last_wake = 0
        self.token_changed()

    def roll_back(self, steps: int) -> None:
        """Hold what it held before the last changes, as a replica that was behind."""
        if self.older:
            self._values = self.older[max(0, len(self.older) - steps)]
            self.token_changed()

    def lengthen(self, seconds: float) -> None:
        """Lengthen every time to live: Redis's own clock was set back."""
        self._values = [
            kept and (kept[0], kept[1] + int(seconds * 1000)) for kept in self._values
        ]

    def _milliseconds(self) -> int:
        return int(self._world.now * 1000)


class Connection:
    """The store as one process reaches it, with the circuit breaker of ``RedisStore``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._server = process.world.store
        self._broken = False
        self._next_probe = -math.inf
        self._pause = PAUSE_OF_BREAKER[0]
        self._excused = False

    @property
    def works(self) -> bool:
        """Whether the process can use the store now, as far as it knows."""
        return not self._broken and not self._server.now_away()

    def read(self) -> Snapshot:
        """Return what the store holds now."""
        at = self._world.now
        task = self._command("read")
        values = self._server.look()
        task.last_look = self._server.commands
        self._process.learn("read", (values, self._server.last_wake))
        slots = [kept and Slot(*kept) for kept in values]
        version = tuple(kept and kept[0] for kept in values), self._server.last_wake
        return Snapshot(at, *slots, version)

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply the change, if nothing has changed since."""
        task = self._command("swap")
        applied = self._swapped(seen, change, task)
        lost, task.lost_reply = task.lost_reply, ""
        if lost == "repeated":
            # redis-py sends the command again, and that one finds the first one's work.
            applied = self._swapped(seen, change, task)
        self._process.learn("swap", (applied, lost))
        if task.interrupts_after:
            task.interrupts_after = False
            raise Interrupted
        if lost == "applied":
            self._fail(task, "the reply was lost")
        task.last_look = self._server.commands
        return applied

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when somebody woke the waiters since, or after some seconds."""
        task = self._command("wait")
        self._process.learn("wait", seconds)
        if self._server.last_wake <= seen.version[1]:
            self._server.add_waiter(task)
            milliseconds = max(1, math.ceil(seconds * 1000))
            self._world.scheduler.pause("woken", self._world.now + milliseconds / 1000)
            if self._server.now_away():
                self._fail(task, "the connection was cut")
        self._process.learn("woken", None)

    def try_again(self) -> None:
        """Ask the store once more, although it was out of order a moment ago."""
        self._excused = True

    def __repr__(self) -> str:
        return "<RedisStore of the simulation>"

    def state(self) -> object:
        """Return what tells two states of the connection apart."""
        return self._broken, self._next_probe, self._pause, self._excused

    def _swapped(self, seen: Snapshot, change: Change, task: Task) -> bool:
        if self._server.digest() != seen.version[0]:
            return False
        self._server.apply(change, task)
        return True

    def _command(self, kind: str) -> Task:
        """Take one command's turn. Raises ``StoreError`` where it fails."""
        world = self._world
        if self._process.dead:
            world.scheduler.pause(kind)
        self._admit()
        latency = world.scheduler.order.latency()
        task = world.scheduler.pause(kind, world.now + latency)
        self._server.commands += 1
        task.last_command = self._server.commands
        task.call.commands += 1
        trouble = self._server.trouble(kind)
        if task.lost_reply == "unapplied":
            task.lost_reply = ""
            trouble = "no answer"
        if trouble:
            self._fail(task, trouble)
        self._broken, self._pause = False, PAUSE_OF_BREAKER[0]
        return task

    def _admit(self) -> None:
        """Raise ``StoreError`` during an outage, unless a probe is due."""
        if not self._broken:
            return
        if self._excused:
            self._excused = False
            return
        if self._world.now < self._next_probe:
            getcurrent().call.store_failed = True
            raise StoreError("still out of order")
        self._next_probe = self._world.now + self._pause
        self._pause = min(2 * self._pause, PAUSE_OF_BREAKER[1])

    def _fail(self, task: Task, trouble: str) -> NoReturn:
        self._process.learn("trouble", trouble)
        task.call.store_failed = True
        task.call.failed_commands += 1
        if not self._broken:
            self._next_probe = self._world.now + self._pause
        self._broken = True
        raise StoreError(trouble)


class LocalStore(MemoryStore):
    """The memory of one process, where threads wait as tasks.

    Where each process has one thread, no step in it needs a turn of its own.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(clock=self._moment)
        self._process = process
        self._waiters: list[Task] = []
        self._delay = 0.0

    def read(self) -> Snapshot:
        """Return what the memory holds, a moment later than it was written.

        So it is on a real clock. Otherwise a time of zero could come back as more, because
        floats round.
        """
        self._take_turn("look at the memory")
        self._delay = MOMENT
        seen = super().read()
        self._delay = 0.0
        return seen

    def swap(self, seen: Snapshot, change: Change) -> bool:
        self._take_turn("write to the memory")
        applied = super().swap(seen, change)
        if applied and change.wake:
            for task in self._waiters:
                task.ready_at = min(task.ready_at, self._process.world.now)
            self._waiters.clear()
        return applied

    def wait(self, seen: Snapshot, seconds: float) -> None:
        world = self._process.world
        if self._wakes == seen.version[1]:
            self._waiters.append(getcurrent())
            world.scheduler.pause("woken", world.now + seconds)
        self._process.learn("woken in memory", None)

    def _moment(self) -> float:
        return self._process.world.now + self._delay

    def held(self) -> object:
        """Return what the memory holds."""
        return self._kept, self._wakes

    def _take_turn(self, kind: str) -> None:
        world = self._process.world
        if not world.one_thread and isinstance(getcurrent(), Task):
            task = world.scheduler.pause(kind)
            task.call.commands += 1
            self._process.learn(kind, None)


class Turvo:
    """Turvo: its token endpoint, its account with a lock, and its API."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.issued: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self.next_answers: list[str] = []
        self.is_moody = False
        self.mood: Callable[[], str] = str
        self.mood_of_wrong: Callable[[], str] = str
        self.refusals = 0
        self._wrong: list[float] = []
        self.rejected_right = False
        self.locked_until = -math.inf

    def state(self) -> tuple[Any, ...]:
        """Return what tells two states of Turvo apart."""
        return (
            tuple(self._ends.items()),
            tuple(self.next_answers),
            tuple(self._wrong),
            self.refusals,
        )

    def accepts(self, secret: str) -> bool:
        """Return whether a call with this token is answered other than 401."""
        return self._world.now < self._ends.get(secret, -math.inf)

    def answers_well(self, secret: str, path: str) -> bool:
        """Return whether a call is answered other than 401."""
        if self.refusals:
            self.refusals -= 1
            return False
        return path != FORBIDDEN and self.accepts(secret)

    def revoke_all(self) -> None:
        """End every token."""
        for secret in self._ends:
            self._ends[secret] = min(self._ends[secret], self._world.now)

    def next_answer(self, process: Process) -> str:
        """Return how the next token request goes wrong, or ""."""
        if self.next_answers:
            return self.next_answers.pop(0)
        return self.mood() if process.is_right else self.mood_of_wrong()

    def log_in(self, process: Process, answer: str) -> tuple[str, float] | str:
        """Handle one token request; return a token and its life, or a kind of failure."""
        if answer == BUSY:
            return UNAVAILABLE
        if answer in (UNREACHABLE, UNAVAILABLE):
            return answer
        if process.endpoint != "turvo":
            return FOREIGN
        locked = self._world.now < self.locked_until
        if not process.is_right:
            self._count_wrong_password()
            return answer or REJECTED
        if locked or answer == REJECTED:
            self.rejected_right = True
            return REJECTED
        self._wrong.clear()
        granted = self._grant()
        return answer if answer in COUNTED else granted

    def _count_wrong_password(self) -> None:
        now = self._world.now
        self._wrong = [one for one in self._wrong if one > now - LOCKED_FOR]
        self._wrong.append(now)
        if len(self._wrong) >= MOST_WRONG:
            self.locked_until = now + LOCKED_FOR
            self._world.checks.account_locked()

    def _grant(self) -> tuple[str, float]:
        now, life = self._world.now, self._world.setting.life
        policy = self._world.setting.policy
        if policy == "same":
            for secret in self._ends:
                if self.accepts(secret):
                    return secret, float(int(self._ends[secret] - now))
        if policy == "revoke":
            self.revoke_all()
        return self.issue(life), life

    def issue(self, life: float) -> str:
        """Return a new token that lives for ``life`` seconds."""
        number = len(self.issued) + 1
        secret = f"token-{number}"
        self.issued[secret] = number
        self._ends[secret] = self._world.now + life
        return secret


class ModelGrant:
    """What ``login.Grant`` holds: a token, its life and the times of its request."""

    def __init__(self, secret: str, life: float, sent: float, received: float) -> None:
        self.access_token = secret
        self.expires_in = life
        self.sent = sent
        self.received = received


class ModelLogin:
    """What ``login.PasswordLogin`` does, in its three steps: start, middle and end."""

    attempt_seconds = ATTEMPT_SECONDS

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.url_hash = process.endpoint

    def proof(self, salt: str) -> str:
        """Return a hash of the credentials."""
        return f"{salt[:8]}-{self._process.credentials}"

    def __call__(
        self, *, attempts: int, may_count: int, extend: Callable[[float], None]
    ) -> Any:
        """Log in, with at most ``attempts`` tries."""
        checks = self._world.checks
        task = self._world.scheduler.pause("login starts")
        flight = checks.login_started(task)
        try:
            result = self._log_in(flight, attempts, may_count, extend)
        except BaseException:
            checks.login_cut(flight)
            raise
        checks.login_ended(flight, result)
        return result

    def _log_in(
        self,
        flight: Any,
        attempts: int,
        may_count: int,
        extend: Callable[[float], None],
    ) -> Any:
        scheduler = self._world.scheduler
        start, pause = self._world.now, 1.0
        for tried in range(1, attempts + 1):
            result = self._try_once(flight)
            if not isinstance(result, Failure):
                return result
            is_last = result.kind in (REJECTED, FOREIGN) or tried == attempts
            left = start + LONGEST_LOGIN - self._world.now
            if is_last or result.retry_after or flight.counted >= may_count:
                break
            if left < pause + 1.0:
                break
            extend(pause)
            scheduler.pause("next try", self._world.now + pause)
            extend(ATTEMPT_SECONDS)
            pause *= 2
        return replace(result, attempts=flight.counted)

    def _try_once(self, flight: Any) -> Any:
        scheduler, process = self._world.scheduler, self._process
        sent = self._world.now
        flight.sending = True
        seconds = self._world.setting.login_seconds / 2
        scheduler.pause("login half-way", sent + seconds)
        turvo = self._world.turvo
        answer = turvo.next_answer(process)
        if not process.has_route:
            answer = UNREACHABLE
        if answer == SLOW:
            seconds, answer = SLOW_LOGIN - seconds, ""
        if answer == UNANSWERED:
            seconds = ATTEMPT_SECONDS - seconds
        result = turvo.log_in(process, answer)
        self._world.checks.turvo_answered(flight, result)
        scheduler.pause("login ends", self._world.now + seconds)
        flight.sending = False
        process.learn("login", result)
        if isinstance(result, str):
            flight.counted += result in COUNTED
            asked = BUSY_FOR if answer == BUSY else None
            return Failure(result, f"the login was {result}", asked)
        return ModelGrant(*result, sent, self._world.now)


class Attached:
    """The token that a process puts on its requests, and what it has seen of it."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.is_known_good = False
        self.is_doubted = False

    def state(self) -> object:
        """Return what tells two of them apart."""
        return self.token, self.is_known_good, self.is_doubted


class Process:
    """One process of the fleet: a real ``TokenSource`` with its conversations."""

    def __init__(
        self, world: World, number: int, credentials: str, endpoint: str
    ) -> None:
        self.world = world
        self.number = number
        self.name = f"process {number}"
        self.credentials = credentials
        self.endpoint = endpoint
        self.dead = False
        self.suspended_until = -math.inf
        self.suspended_seconds = 0.0
        self.no_route_until = -math.inf
        self.random_values = 0
        self.past = 0
        self.replaced: set[str] = set()
        self.statuses: list[int | None] = []
        self.connection = Connection(self)
        self.attached: Attached | None = None
        self.uncured: dict[str, float] = {}
        self.alarm_possible_until = -math.inf
        self.alarm_likely_until = -math.inf
        self.source = TokenSource(
            ModelLogin(self),
            self.connection,
            expiry_buffer=300.0,
            tell=self._tell,
            clock=world.clock,
            local=LocalStore(self),
        )

    @property
    def has_route(self) -> bool:
        """Whether the process can reach Turvo."""
        return self.world.now >= self.no_route_until

    @property
    def is_right(self) -> bool:
        """Whether the process has the right credentials."""
        return self.credentials == RIGHT

    def state(self) -> object:
        """Return what the rest of the run depends on: the memory, if nothing runs."""
        tasks = self.world.scheduler.tasks
        if any(task.process is self and not task.finished for task in tasks):
            return self.past
        if self.dead:
            return None
        return (
            self.source.current,
            self.source._refused,
            self.source._levels[0].store.held(),
            self.connection.state(),
            self.attached and self.attached.state(),
            tuple(self.uncured.items()),
            self.alarm_possible_until,
            self.alarm_likely_until,
            self.suspended_until,
        )

    def learn(self, step: str, result: object) -> None:
        """Remember what a step told the process, in the trace and in its state."""
        self.past = hash((self.past, self.world.now, step, result))
        self.world.trace.append((self.world.now, self.name, (step, result)))

    def run(self, work: Callable[[Task], None]) -> Task:
        """Start a thread of this process."""
        return self.world.scheduler.start(self, self.name, work)

    def call(self, task: Task, path: str = "/shipments") -> int | None:
        """Make one call to Turvo's API; return its status, or ``None`` without a token."""
        self.world.checks.call_started(task, path)
        self.world.scheduler.pause("call")
        try:
            status = converse(self, path)
        except TurvoAuthError as error:
            self.learn("raised", f"{type(error).__name__}: {error}")
            self.statuses.append(None)
            self.world.checks.call_failed(task, error)
            return None
        self.learn("answered", status)
        self.statuses.append(status)
        self.world.checks.call_answered(task, status)
        return status

    def log_in(self, task: Task) -> None:
        """Log in as an operator does, whatever is remembered of failures."""
        self.world.checks.call_started(task, "log in", forced=True)
        self.world.scheduler.pause("call")
        try:
            self.attach(Got(self.source.log_in()))
        except TurvoAuthError as error:
            self.learn("raised", f"{type(error).__name__}: {error}")
        self.world.checks.came_back(task)

    def renew_only(self, task: Task) -> None:
        """Replace a refused token, and die before the request is sent again."""
        self.world.checks.call_started(task, "/shipments")
        assert self.attached is not None
        token = self.attached.token
        self.world.checks.token_refused(task, token)
        task.call.was_good = True
        self.source.renew(token, known_good=True)

    def send(self, token: Token, path: str) -> int:
        """Send one request to the API; return the status of its answer."""
        self.world.scheduler.pause("request")
        good = self.world.turvo.answers_well(token.access_token, path)
        self.learn("request", (token.access_token, good))
        return 200 if good else 401

    def hold(self, token: Token, slot: Slot) -> None:
        """Begin with a token that Turvo has accepted before."""
        memory = self.source._levels[0].store
        memory.swap(memory.read(), Change(token=slot))
        self.source.current = token
        self.attached = Attached(token)
        self.attached.is_known_good = True

    def attach(self, outcome: Got | Adopt, *, after_401: bool = False) -> Attached:
        """Use the token of an outcome from now on."""
        used = self.attached
        if used is None or not same_secret(outcome.token, used.token):
            if used is not None and after_401:
                self.replaced.add(used.token.access_token)
            used = Attached(outcome.token)
        used.token = outcome.token
        used.is_doubted = after_401
        if isinstance(outcome, Adopt):
            used.is_doubted = outcome.doubted
        self.attached = used
        return used

    def note_accepted(self, used: Attached, path: str) -> None:
        """Note that a request had an answer other than 401."""
        self.world.checks.token_accepted(used.token)
        self.uncured.pop(path, None)
        used.is_known_good = True
        if used.is_doubted:
            used.is_doubted = False
            self.source.prove(used.token)

    def _tell(self, event: object) -> None:
        if not self.dead:
            self.world.note(self.name, str(event))
            self.world.checks.event_told(self, event)


def converse(process: Process, path: str) -> int:
    """Send one request as ``TurvoAuth`` does, and answer a 401; return the status.

    The counterparts in ``auth`` are ``TurvoAuth.__call__``, ``Attachment.__call__`` and
    ``Conversation``; ``uncured`` and the alarms are in ``replay``.
    """
    world, source = process.world, process.source
    used = process.attached
    if used is None or world.now >= used.token.due:
        used = process.attach(source.get())
    status = process.send(used.token, path)
    if status != 401:
        process.note_accepted(used, path)
        return status
    was_good = getcurrent().call.was_good = used.is_known_good
    may_login = world.now >= process.uncured.get(path, -math.inf)
    outcome: Got | Adopt | Stay = Stay()
    for turn in (1, 2):
        world.checks.token_refused(getcurrent(), used.token)
        alarm_until = process.alarm_likely_until
        if turn == 1:
            alarm_until = max(alarm_until, process.alarm_possible_until)
        is_current = used is process.attached and was_good and may_login
        if is_current and world.now < alarm_until:
            outcome = Stay()  # send the same token once more
            getcurrent().call.repeats += 1
        else:
            outcome = source.renew(
                used.token, known_good=was_good, may_login=may_login
            )
            if not isinstance(outcome, Stay):
                used = process.attach(outcome, after_401=True)
                process.alarm_possible_until = world.now + REMEMBERED_FOR
            elif not (was_good and may_login):
                return status
        status = process.send(used.token, path)
        if status != 401:
            process.note_accepted(used, path)
            if isinstance(outcome, Stay):
                process.alarm_likely_until = world.now + REMEMBERED_FOR
            return status
        if isinstance(outcome, Got):
            process.uncured[path] = world.now + REMEMBERED_FOR
            return status
    if isinstance(outcome, Stay):
        process.alarm_likely_until = -math.inf
    return status


class TaskLocal:
    """Stands in for ``threading.local``: each task has attributes of its own."""

    def __init__(self) -> None:
        self.__dict__["of_task"] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.of_task[getcurrent()][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> None:
        self.of_task.setdefault(getcurrent(), {})[name] = value


@cache
def secret_in(value: bytes) -> str:
    """Return the access token in a stored value."""
    return str(parse_object(value)["access_token"])


@contextmanager
def virtual_library() -> Iterator[None]:
    """Put virtual ones in place of the library's clock, chance and thread locals.

    The wall clock and random bytes are its only sources of chance. Greenlets share a
    thread, so thread locals have to be theirs, as gevent arranges it, too.
    """
    logger = logging.getLogger("turvo_session")
    with (
        mock.patch.object(source_module, "urandom", _random_bytes),
        mock.patch.object(tokens_module, "datetime", _WallClock),
        mock.patch.object(threading, "local", TaskLocal),
        mock.patch.object(logger, "disabled", True),
    ):
        yield


def _random_bytes(count: int) -> bytes:
    return World.latest.random_bytes(count)


class _WallClock(datetime):
    """Stands in for ``datetime``: the wall clock of the simulation."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return start + timedelta(seconds=World.latest.now)
