"""What can go wrong, and at which steps of a task.

A fault strikes just before a step of one task. For all that the other tasks can see,
this is the same as striking at any moment since that task's last step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
)

from .scheduler import Task, end_task
from .turvo_model import BUSY, SLOW

if TYPE_CHECKING:
    from .world import World

COMMANDS = frozenset({"read", "swap", "wait"})
WRITES = frozenset({"read", "swap"})
SWAPS = frozenset({"swap"})
STEPS = frozenset(
    {
        "call",
        "request",
        "read",
        "swap",
        "woken",
        "login starts",
        "login half-way",
        "login ends",
        "next try",
        "look at the memory",
        "write to the memory",
    }
)
HALF_WAY = frozenset({"login half-way"})
TURVO_STEPS = frozenset({"call", "request", "login half-way"})


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong before one of ``steps``.

    ``kind`` is for the checks: some promises hold only without faults of some kinds.
    """

    name: str
    kind: str
    steps: frozenset[str]
    happen: Callable[[World, Task], None]

    def fits(self, task: Task) -> bool:
        """Return whether the fault makes a difference to the task's next step."""
        if task.pending not in self.steps:
            return False
        return self.kind != "interrupt" or task.call.interrupted_at is None

    def strike(self, world: World, task: Task) -> None:
        """Let the fault happen."""
        world.faults.append(self.name)
        world.checks.fault_kinds.add(self.kind)
        world.add_line("FAULT", f"{self.name} ({task.name}, before: {task.pending})")
        self.happen(world, task)


def _crash(world: World, task: Task) -> None:
    task.process.dead = True
    world.checks.crashes += 1
    for other in world.scheduler.tasks:
        if other.process is task.process and not other.finished:
            end_task(other)


def _crash_and_restart(world: World, task: Task) -> None:
    _crash(world, task)
    old = task.process
    process = world.add_process(old.credentials, endpoint=old.endpoint)
    process.start_thread(world.workload)


def _suspend(seconds: float) -> Callable[[World, Task], None]:
    def suspend(world: World, task: Task) -> None:
        task.process.suspended_until = world.now + seconds
        task.process.suspended_seconds += seconds

    return suspend


def _interrupt(world: World, task: Task) -> None:
    task.interrupts = True
    task.call.interrupted_at = world.now
    world.checks.task_ended(task)


def _interrupt_after(world: World, task: Task) -> None:
    task.interrupts_after = True
    task.call.interrupted_at = world.now
    world.checks.task_ended(task)


def _lose_reply(how: str) -> Callable[[World, Task], None]:
    def lose_reply(world: World, task: Task) -> None:
        task.lost_reply = how

    return lose_reply


def _refuse_commands(world: World, task: Task) -> None:
    world.store.away_commands = 3
    world.store.wake_waiters()


def _go_away(seconds: float) -> Callable[[World, Task], None]:
    def go_away(world: World, task: Task) -> None:
        world.store.away_until = world.now + seconds
        world.store.wake_waiters()

    return go_away


def _refuse_writes(world: World, task: Task) -> None:
    world.store.read_only_until = world.now + 20.0


def _flush(world: World, task: Task) -> None:
    world.store.flush()


def _roll_back(steps: int) -> Callable[[World, Task], None]:
    def roll_back(world: World, task: Task) -> None:
        world.store.roll_back(steps)

    return roll_back


def _lengthen(world: World, task: Task) -> None:
    world.store.lengthen(3600.0)


def _revoke(world: World, task: Task) -> None:
    world.turvo.revoke_all()


def _refuse_good_token(world: World, task: Task) -> None:
    world.turvo.refusals = 1


def _store_by_script(world: World, task: Task) -> None:
    world.store_by_script()


def _answer(*answers: str) -> Callable[[World, Task], None]:
    def answer(world: World, task: Task) -> None:
        world.turvo.next_answers.extend(answers)

    return answer


def _cut_route(world: World, task: Task) -> None:
    task.process.no_route_until = world.now + 300.0


FAULTS = (
    Fault("the process crashes", "crash", STEPS, _crash),
    Fault("the process is suspended for 20 s", "suspend", STEPS, _suspend(20.0)),
    Fault("an interrupt", "interrupt", STEPS, _interrupt),
    Fault(
        "an interrupt after the write",
        "interrupt",
        frozenset({"swap"}),
        _interrupt_after,
    ),
    Fault("the command is lost", "lost", COMMANDS, _lose_reply("unapplied")),
    Fault("the reply is lost", "lost", SWAPS, _lose_reply("applied")),
    Fault("the command is repeated", "lost", SWAPS, _lose_reply("repeated")),
    Fault("the store refuses three commands", "away", COMMANDS, _refuse_commands),
    Fault("the store is read-only for 20 s", "read-only", WRITES, _refuse_writes),
    Fault("the store is flushed", "data", COMMANDS, _flush),
    Fault("the store is rolled back by one write", "data", COMMANDS, _roll_back(1)),
    Fault("the store's clock is set back", "clock", COMMANDS, _lengthen),
    Fault("a script stores a token", "script", WRITES, _store_by_script),
    Fault(
        "Turvo refuses a good token once",
        "refusal",
        frozenset({"request"}),
        _refuse_good_token,
    ),
    Fault("Turvo revokes every token", "revoked", TURVO_STEPS, _revoke),
    *(
        Fault(f"Turvo's next answer is {kind}", "login", HALF_WAY, _answer(kind))
        for kind in (
            UNREACHABLE,
            UNAVAILABLE,
            UNANSWERED,
            FOREIGN,
            REJECTED,
            BUSY,
            SLOW,
        )
    ),
    Fault("the process loses its route", "route", HALF_WAY, _cut_route),
)
"""The faults of the exhaustive exploration: each of them once."""

LONGER_FAULTS = (
    *FAULTS,
    Fault("the process crashes and starts again", "crash", STEPS, _crash_and_restart),
    Fault("the process is suspended for 50 s", "suspend", STEPS, _suspend(50.0)),
    Fault("the process is suspended for 300 s", "suspend", STEPS, _suspend(300.0)),
    Fault("the store is away for 10 s", "away", COMMANDS, _go_away(10.0)),
    Fault("the store is away for 90 s", "away", COMMANDS, _go_away(90.0)),
    Fault("the store is rolled back by five writes", "data", COMMANDS, _roll_back(5)),
    *(
        Fault(
            f"Turvo's next five answers are {kind}",
            "login",
            HALF_WAY,
            _answer(*[kind] * 5),
        )
        for kind in (UNREACHABLE, UNAVAILABLE, UNANSWERED, FOREIGN)
    ),
)
"""The faults of the random runs."""
