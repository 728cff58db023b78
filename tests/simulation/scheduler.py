"""Virtual time, and the order in which the tasks of a simulation run.

A task is a greenlet. It runs until it pauses, and then the scheduler asks an *order*
which task runs next. Nothing else decides what happens, so that a run can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    from .faults import Fault
    from .process import Process
    from .world import World

SLOWEST_STEP = 0.6
"""Seconds that a process may be late without a fault."""


class Interrupted(BaseException):
    """What a signal handler or a time limit raises in the caller."""


class Dead(GreenletExit):
    """Ends the tasks of a process that has crashed. It does nothing on its way out."""


class Pruned(Exception):
    """The state was explored before, so the rest of this run would tell nothing new."""


class Task(greenlet):
    """One thread of one simulated process.

    ``pending`` names the step that the task takes when it runs next, and ``ready_at``
    is the moment from which it can take it.
    """

    def __init__(self, process: Process, name: str, work: Callable[[Task], None]):
        super().__init__()
        self.process = process
        self.name = name
        self.pending = "start"
        self.ready_at = 0.0
        self.finished = False
        self.interrupts = False
        self.interrupts_after = False
        self.lost_reply = ""
        self.last_look = 0
        self.last_command = 0
        self.call: Any = None
        self._work = work

    @property
    def wakes_at(self) -> float:
        """The moment from which the task can run, unless it is woken earlier."""
        return max(self.ready_at, self.process.suspended_until)

    def run(self) -> None:
        """Do the work of the task. An interrupt or a crash ends it."""
        try:
            self._work(self)
        except Interrupted:
            self.process.world.checks.interrupt_came_out(self)
        except Dead:
            self.process.world.checks.task_ended(self)
        finally:
            self.finished = True


class Order(Protocol):
    """Decides what happens next."""

    def choose_next(
        self, world: World, runnable: list[Task], next_event: float
    ) -> tuple[Task | None, Fault | None]:
        """Return the task that runs, and the fault that strikes before its step.

        No task means that time passes until the next event.
        """

    def next_latency(self) -> float:
        """Return the seconds that the next command to the store takes."""


class InTurn:
    """Runs each task until it has to wait. No fault strikes."""

    def choose_next(
        self, world: World, runnable: list[Task], next_event: float
    ) -> tuple[Task | None, Fault | None]:
        """Return the first task that can run."""
        return runnable[0], None

    def next_latency(self) -> float:
        """Return no time at all."""
        return 0.0


class Scheduler:
    """The clock of a simulation and its tasks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tasks: list[Task] = []
        self.order: Order = InTurn()
        self.stopped = False

    def start_task(
        self, process: Process, name: str, work: Callable[[Task], None]
    ) -> Task:
        """Add a task. It runs when its turn comes."""
        task = Task(process, name, work)
        task.ready_at = self.now
        self.tasks.append(task)
        return task

    def pause(self, pending: str, until: float | None = None) -> Task:
        """Let others run before the step ``pending``; return the task at its turn.

        ``until``: not before this moment, unless somebody makes the task ready.
        """
        task: Task = getcurrent()
        if task.process.dead:
            raise Dead
        task.pending = pending
        task.ready_at = self.now if until is None else until
        task.parent.switch()
        if task.process.dead:
            raise Dead
        if task.interrupts:
            task.interrupts = False
            raise Interrupted
        return task

    def run_tasks(self, world: World) -> None:
        """Run the tasks in the order of ``order``, until all are done."""
        while not self.stopped:
            waiting = [task for task in self.tasks if not task.finished]
            self.tasks = waiting
            if not waiting:
                return
            runnable, next_event = [], math.inf
            for task in waiting:
                moment = task.wakes_at
                if moment <= self.now:
                    runnable.append(task)
                else:
                    next_event = min(next_event, moment)
            chosen, fault = None, None
            if runnable:
                chosen, fault = self.order.choose_next(world, runnable, next_event)
            if chosen is None:
                self.now = next_event
                continue
            if fault:
                fault.strike(world, chosen)
            if not chosen.finished and chosen.wakes_at <= self.now:
                chosen.switch()

    def close(self) -> None:
        """End every task without a trace."""
        for task in self.tasks:
            task.process.dead = True
            if not task.finished:
                end_task(task)


def end_task(task: Task) -> None:
    """End a task as a crash does: nothing that it would still do has an effect."""
    task.finished = True
    if task:  # it has started
        task.throw(Dead)
