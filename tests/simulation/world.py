"""The world of one run: a store, Turvo, the processes, and what has happened so far."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar
from unittest import mock

from greenlet import getcurrent

from turvo_session import source as source_module
from turvo_session import tokens as tokens_module
from turvo_session.store import Slot

from .invariants import Checks
from .process import Process
from .redis_model import SharedStore
from .scheduler import Scheduler, Task
from .turvo_model import RIGHT, TURVO, Setting, Turvo


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

    @property
    def now(self) -> float:
        """The moment on the virtual clock."""
        return self.scheduler.now

    def clock(self) -> float:
        """Return the moment on the virtual clock, as a process sees it."""
        return self.scheduler.now

    def add_process(
        self, credentials: str = RIGHT, *, endpoint: str = TURVO
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
        self.add_line("SCRIPT", f"stores {secret}")
        self.store.put_token(Slot(json.dumps(fields).encode(), life))

    def add_line(self, name: str, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.now, name, text))

    def visible_state(self) -> int:
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
                tuple(process.visible_state() for process in self.processes),
                self.store.visible_state(),
                self.turvo.visible_state(),
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
