"""A model of Redis as ``RedisStore`` uses it, and of the connection of one process.

The counterparts are ``redis_store`` with its two Lua scripts, and ``breaker``.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import getcurrent

from turvo_session.store import KEEP, Change, Slot, Snapshot, StoreError
from turvo_session.tokens import parse_object

from .scheduler import Interrupted, Task

if TYPE_CHECKING:
    from .process import Process
    from .world import World

FIRST_PAUSE = 2.0
"""Seconds for which a connection leaves a broken store alone at first; they double."""
LONGEST_PAUSE = 60.0


class SharedStore:
    """Redis as ``RedisStore`` uses it: three values, and a stream that wakes waiters.

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

    def visible_state(self) -> tuple[Any, ...]:
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

    def token_end(self) -> float:
        """Return the moment at which the last token in the store ends, or ended."""
        kept = self._values[0]
        return kept[1] / 1000 if kept else -math.inf

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
        """Hold this token, whatever there was before."""
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
        """End every wait: the stream has a new entry, or the connections are cut."""
        for task in self._waiters:
            task.ready_at = min(task.ready_at, self._world.now)

    def wait(self, task: Task, seconds: float) -> None:
        """Let the task wait for the next entry of the stream."""
        self._waiters.append(task)
        milliseconds = max(1, math.ceil(seconds * 1000))
        try:
            self._world.scheduler.pause("woken", self._world.now + milliseconds / 1000)
        finally:
            self._waiters.remove(task)

    def flush(self) -> None:
        """Lose everything, the stream as well."""
        self._values = [None, None, None]
        self.last_wake = 0
        self.token_changed()

    def roll_back(self, steps: int) -> None:
        """Hold what it held before the last changes, as a replica that was behind."""
        if self.older:
            self._values = list(self.older[max(0, len(self.older) - steps)])
            self.token_changed()

    def lengthen(self, seconds: float) -> None:
        """Lengthen every time to live: Redis's own clock was set back."""
        self._values = [
            kept and (kept[0], kept[1] + int(seconds * 1000)) for kept in self._values
        ]

    def _milliseconds(self) -> int:
        return int(self._world.now * 1000)


class Connection:
    """The store as one process reaches it, with the breaker of ``RedisStore``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._server = process.world.store
        self._broken = False
        self._next_probe = -math.inf
        self._pause = FIRST_PAUSE
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
        self._process.learn_result("read", (values, self._server.last_wake))
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
            task.call.store_failed = True
        self._process.learn_result("swap", (applied, lost))
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
        self._process.learn_result("wait", seconds)
        if self._server.last_wake <= seen.version[1]:
            self._server.wait(task, seconds)
            if self._server.now_away():
                self._fail(task, "the connection was cut")
        self._process.learn_result("woken", None)

    def try_again(self) -> None:
        """Ask the store once more, although it was out of order a moment ago."""
        self._excused = True

    def __repr__(self) -> str:
        return "<RedisStore of the simulation>"

    def visible_state(self) -> object:
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
        latency = world.scheduler.order.next_latency()
        task = world.scheduler.pause(kind, world.now + latency)
        self._server.commands += 1
        task.last_command = self._server.commands
        self._process.commands += 1
        trouble = self._server.trouble(kind)
        if task.lost_reply == "unapplied":
            task.lost_reply = ""
            trouble = "no answer"
        if trouble:
            self._fail(task, trouble)
        self._broken, self._pause = False, FIRST_PAUSE
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
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _fail(self, task: Task, trouble: str) -> NoReturn:
        self._process.learn_result("trouble", trouble)
        task.call.store_failed = True
        task.call.failed_commands += 1
        if not self._broken:
            self._next_probe = self._world.now + self._pause
        self._broken = True
        raise StoreError(trouble)


@cache
def secret_in(value: bytes) -> str:
    """Return the access token in a stored value."""
    return str(parse_object(value)["access_token"])
