"""One process of the simulated fleet: a real ``TokenSource`` and its conversations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from greenlet import getcurrent

from turvo_session.errors import TurvoAuthError
from turvo_session.events import LoggedIn
from turvo_session.renewal import Adopt, Got, Stay
from turvo_session.source import TokenSource
from turvo_session.store import Change, MemoryStore, Slot, Snapshot
from turvo_session.tokens import Token, fingerprint, same_secret

from .redis_model import Connection
from .scheduler import Task
from .turvo_model import RIGHT, SHIPMENTS, ModelLogin

if TYPE_CHECKING:
    from .world import World

REMEMBERED_FOR = 60.0
"""Seconds for which a process remembers uncured requests and false alarms."""
MOMENT = 1e-6


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

        It is the same on a real clock. Otherwise a time of zero could come back as more
        than that, because floats round.
        """
        self._take_turn("look at the memory")
        self._delay = MOMENT
        seen = super().read()
        self._delay = 0.0
        return seen

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply the change, if nothing has changed since, and wake the waiters."""
        self._take_turn("write to the memory")
        applied = super().swap(seen, change)
        if applied and change.wake:
            for task in self._waiters:
                task.ready_at = min(task.ready_at, self._process.world.now)
        return applied

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when woken, or after some seconds."""
        world = self._process.world
        if self._wakes == seen.version[1]:
            task: Task = getcurrent()
            self._waiters.append(task)
            try:
                world.scheduler.pause("woken", world.now + seconds)
            finally:
                self._waiters.remove(task)
        self._process.learn_result("woken in memory", None)

    def held(self) -> object:
        """Return what tells two states of the memory apart."""
        return self._kept, self._wakes

    def lease_owner(self) -> bytes | None:
        """Return the owner of the lease, if there is a lease."""
        kept = self._kept[1]
        return kept and kept[0].reveal()

    def _moment(self) -> float:
        return self._process.world.now + self._delay

    def _take_turn(self, kind: str) -> None:
        world = self._process.world
        if not world.one_thread and isinstance(getcurrent(), Task):
            world.scheduler.pause(kind)
            self._process.commands += 1
            self._process.learn_result(kind, None)


class Attached:
    """The token that a process puts on its requests, and what it has seen of it."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.is_known_good = False
        self.is_doubted = False

    def visible_state(self) -> object:
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
        self.commands = 0
        self.past = 0
        """A hash of all that the steps of this process have told it."""
        self.replaced: set[str] = set()
        """The tokens that it has replaced because of a 401."""
        self.ever_refused: set[str] = set()
        self.statuses: list[int | None] = []
        self.connection = Connection(self)
        self.attached: Attached | None = None
        self.uncured: dict[str, float] = {}
        self.alarm_possible_until = -math.inf
        self.alarm_likely_until = -math.inf
        self.memory = LocalStore(self)
        self.source = TokenSource(
            ModelLogin(self),
            self.connection,
            expiry_buffer=300.0,
            tell=self._tell,
            clock=world.clock,
            local=self.memory,
        )

    @property
    def has_route(self) -> bool:
        """Whether the process can reach Turvo."""
        return self.world.now >= self.no_route_until

    @property
    def is_right(self) -> bool:
        """Whether the process has the right credentials."""
        return self.credentials == RIGHT

    def visible_state(self) -> object:
        """Return what the rest of the run depends on: the memory, if nothing runs."""
        tasks = self.world.scheduler.tasks
        if any(task.process is self and not task.finished for task in tasks):
            return self.past
        if self.dead:
            return None
        return (
            self.source.current,
            self.source._refused,
            self.memory.held(),
            self.connection.visible_state(),
            self.attached and self.attached.visible_state(),
            tuple(self.uncured.items()),
            self.alarm_possible_until,
            self.alarm_likely_until,
            self.suspended_until,
        )

    def learn_result(self, step: str, result: object) -> None:
        """Remember what a step told the process, in the trace and in its state."""
        self.past = hash((self.past, self.world.now, step, result))
        self.world.trace.append((self.world.now, self.name, (step, result)))

    def start_thread(self, work: Callable[[Task], None]) -> Task:
        """Start a thread of this process."""
        return self.world.scheduler.start_task(self, self.name, work)

    def make_call(self, task: Task, path: str = SHIPMENTS) -> int | None:
        """Make a call to the API; return its status, or ``None`` without a token."""
        self.world.checks.call_started(task, path)
        self.world.scheduler.pause("call")
        try:
            status = converse(self, path)
        except TurvoAuthError as error:
            self.learn_result("raised", f"{type(error).__name__}: {error}")
            self.statuses.append(None)
            self.world.checks.call_failed(task, error)
            return None
        self.learn_result("answered", status)
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
            self.learn_result("raised", f"{type(error).__name__}: {error}")
        self.world.checks.came_back(task)

    def renew_only(self, task: Task) -> None:
        """Replace a refused token, and die before the request is sent again."""
        self.world.checks.call_started(task, SHIPMENTS)
        assert self.attached is not None
        token = self.attached.token
        self.world.checks.token_refused(task, token)
        task.call.was_good = True
        self.source.renew(token, known_good=True)

    def send_request(self, token: Token, path: str) -> int:
        """Send one request to the API; return the status of its answer."""
        task = self.world.scheduler.pause("request")
        task.call.tried.add(token.access_token)
        good = self.world.turvo.answers_well(token.access_token, path)
        self.learn_result("request", (token.access_token, good))
        return 200 if good else 401

    def begin_with_token(self, token: Token, slot: Slot) -> None:
        """Begin with a token that Turvo has accepted before."""
        self.memory.swap(self.memory.read(), Change(token=slot))
        self.source.current = token
        self.attached = Attached(token)
        self.attached.is_known_good = True

    def attach(self, outcome: Got | Adopt, *, refused: Token | None = None) -> Attached:
        """Use the token of an outcome from now on, in place of a ``refused`` one."""
        token, used = outcome.token, self.attached
        if used is None or not same_secret(token, used.token):
            used = Attached(token)
        used.token = token
        used.is_doubted = refused is not None
        if isinstance(outcome, Adopt):
            used.is_doubted = outcome.doubted
            self.world.checks.token_adopted(self, token)
        if refused and not same_secret(token, refused):
            self.replaced.add(refused.access_token)
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
        if isinstance(event, LoggedIn):
            # Turvo may serve a token again that it has refused for another reason.
            self.replaced -= {
                secret for secret in self.replaced if fingerprint(secret) == event.token
            }
        if not self.dead:
            self.world.add_line(self.name, str(event))
            self.world.checks.event_told(getcurrent(), event)


def converse(process: Process, path: str) -> int:
    """Send one request as ``TurvoAuth`` does, and answer a 401; return the status.

    The counterparts in ``auth`` are ``TurvoAuth.__call__``, ``Attachment.__call__`` and
    ``Conversation``; ``uncured`` and the alarms are in ``replay``.
    """
    world, source = process.world, process.source
    used = process.attached
    if used is None or world.now >= used.token.due:
        used = process.attach(source.get())
    status = process.send_request(used.token, path)
    if status != 401:
        process.note_accepted(used, path)
        return status
    was_good = getcurrent().call.was_good = used.is_known_good
    may_login = world.now >= process.uncured.get(path, -math.inf)
    turns, most_turns = 0, 2
    while turns < most_turns:
        turns += 1
        world.checks.token_refused(getcurrent(), used.token)
        alarm_until = process.alarm_likely_until
        if turns == 1:
            alarm_until = max(alarm_until, process.alarm_possible_until)
        is_current = used is process.attached and was_good and may_login
        if is_current and turns <= 2 and world.now < alarm_until:
            outcome: Got | Adopt | Stay = Stay()  # send the same token once more
            most_turns = 3
        else:
            outcome = source.renew(used.token, known_good=was_good, may_login=may_login)
            if not isinstance(outcome, Stay):
                used = process.attach(outcome, refused=used.token)
                process.alarm_possible_until = world.now + REMEMBERED_FOR
            elif not (was_good and may_login):
                return status
        status = process.send_request(used.token, path)
        if status != 401:
            process.note_accepted(used, path)
            if isinstance(outcome, Stay):
                process.alarm_likely_until = world.now + REMEMBERED_FOR
            return status
        if isinstance(outcome, Got):
            process.uncured[path] = world.now + REMEMBERED_FOR
            return status
        if isinstance(outcome, Stay) and turns == 2:
            process.alarm_likely_until = -math.inf
    return status
