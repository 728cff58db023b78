"""Longer runs that tell one story each, in a random order of their steps.

Most of them come from faults of version 1.1.0 that were measured on real sockets. A
story checks how it ends; the checks of every run watch it all the while.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from random import Random

from turvo_session.failure import FOREIGN, PAUSES, REJECTED, UNANSWERED, UNAVAILABLE

from .explore import RandomOrder, Run, hold_token
from .process import Process
from .scheduler import InTurn, Order, Task
from .turvo_model import FORBIDDEN, RIGHT, SHIPMENTS, Setting
from .world import World

MINUTE = 60.0


def forbidden_path(seed: int) -> World:
    """One process polls a forbidden path each second for ten minutes.

    Three others make four calls a second. Half-way Turvo revokes the token. The poller
    causes at most 13 logins, and the others see no 401.
    """
    return _poll_forbidden_path(seed, leader_dies=False)


def dead_leader(seed: int) -> World:
    """The same, and the process that stores the next token dies before its replay."""
    return _poll_forbidden_path(seed, leader_dies=True)


def _poll_forbidden_path(seed: int, *, leader_dies: bool) -> World:
    world = World(Setting())
    for _ in range(5):
        world.add_process()
    hold_token(9999.0)(world)
    poller, *others, leader = world.processes
    end = world.now + 10 * MINUTE
    poller.start_thread(_calls(600, 1.0, path=FORBIDDEN, end=end))
    for process in others:
        process.start_thread(_calls(2400, 0.25, end=end))

    def revoke(task: Task) -> None:
        world.scheduler.pause("sleep", world.now + 300.1)
        world.turvo.revoke_all()
        if leader_dies:
            leader.renew_only(task)

    leader.start_thread(revoke)
    _tell(world, seed)
    if len(world.checks.logins) > 13:
        world.checks.break_promise(f"{len(world.checks.logins)} logins in ten minutes")
    for process in others:
        _expect_only_answers(process)
    return world


def wrong_passwords(seed: int) -> World:
    """Twelve processes and sixty command-line runs have twelve wrong passwords.

    Turvo tells a wrong password in every way that is known: refused, late, not at all,
    or through a firewall. There are at most 8 attempts in any 15 minutes.
    """
    random = Random(seed)
    answers = (REJECTED, REJECTED, UNANSWERED, FOREIGN, UNAVAILABLE)
    return _try_passwords(random, lambda: random.choice(answers), right=0)


def some_wrong_passwords(seed: int) -> World:
    """The same, and three of four processes and runs have the right password."""
    random = Random(seed)
    answers = (REJECTED, REJECTED, UNANSWERED, FOREIGN, UNAVAILABLE)
    return _try_passwords(random, lambda: random.choice(answers), right=9)


def late_rejections(seed: int) -> World:
    """The same, all of them wrong; the first seven are told, the later ones hang."""
    answers = itertools.chain([REJECTED] * 7, itertools.repeat(UNANSWERED))
    return _try_passwords(Random(seed), lambda: next(answers), right=0)


def slow_rejections(seed: int) -> World:
    """Twelve processes have twelve wrong passwords, and Turvo takes 12 s for each.

    Most of them wait until they are out of patience, and then log in at the same time.
    There are at most 8 attempts all the same.
    """
    world = World(Setting(login_seconds=12.0))
    for number in range(12):
        world.add_process(f"wrong-{number}").start_thread(_calls(10, 1.0))
    _tell(world, seed)
    return world


def _try_passwords(random: Random, mood: Callable[[], str], *, right: int) -> World:
    world = World(Setting(life=300.0))
    world.turvo.is_moody = True
    world.turvo.mood_of_wrong = mood
    for number in range(12):
        credentials = RIGHT if number < right else f"wrong-{number}"
        gap = random.choice((7.0, 31.0, 60.0))
        world.add_process(credentials).start_thread(_calls(40, gap))
    for number in range(60):
        credentials = RIGHT if number % 12 < right else f"wrong-{number % 12}"
        start = random.uniform(0, 40 * MINUTE)
        world.add_process(credentials).start_thread(_calls(1, start))
    _tell(world, random.randint(0, 999))
    return world


def lasting_wrong_password(seed: int) -> World:
    """A process with a wrong password makes a call every five minutes for a day.

    Its pauses grow: there are seven attempts.
    """
    world = World(Setting())
    attempts: list[float] = []

    def reject() -> str:
        attempts.append(world.now)
        return REJECTED

    world.turvo.mood_of_wrong = reject
    world.add_process("wrong").start_thread(_calls(288, 5 * MINUTE))
    _tell(world, seed)
    pauses = [later - sooner for sooner, later in itertools.pairwise(attempts)]
    expected = PAUSES[REJECTED][1:7]
    if [round(pause, -2) for pause in pauses] != list(expected):
        world.checks.break_promise(f"the pauses after a rejection were {pauses}")
    return world


def mistyped_url(seed: int) -> World:
    """Two processes with two mistyped base URLs make fourteen attempts.

    A third one, whose URL is right, logs in all the same.
    """
    world = World(Setting())
    for endpoint in ("elsewhere", "elsewhere-too"):
        process = world.add_process(endpoint=endpoint)
        process.start_thread(_calls(180, 5.0))
    right = world.add_process()
    right.start_thread(_calls(1, 14 * MINUTE))
    _tell(world, seed)
    _expect_only_answers(right)
    return world


def lost_route(seed: int) -> World:
    """One process of four has no route to Turvo. No call of the others fails."""
    world = World(Setting(life=20.0))
    for _ in range(4):
        world.add_process().start_thread(_calls(60, 5.0))
    lost, *others = world.processes
    lost.no_route_until = world.now + 10 * MINUTE
    _tell(world, seed)
    for process in others:
        _expect_only_answers(process)
    return world


def hanging_endpoint(seed: int) -> World:
    """Turvo answers no token request for 15 minutes; three processes poll.

    There are at most 8 attempts, and the outage ends at most 4 minutes late.
    """
    world = World(Setting())
    end = world.now + 15 * MINUTE
    world.turvo.is_moody = True
    world.turvo.mood = lambda: UNANSWERED if world.now < end else ""
    for _ in range(3):
        world.add_process().start_thread(_calls(300, 5.0))
    _tell(world, seed)
    late = min(world.checks.logins, default=math.inf) - end
    if late > PAUSES[UNANSWERED][-1] + 30.0:
        world.checks.break_promise(f"the first login {late:.0f} s after the outage")
    return world


def stray_rejection(seed: int) -> World:
    """Turvo refuses the right credentials once after it revoked the token.

    The fleet has a token again after a minute.
    """
    return _refuse_once(seed, seconds_left=9999.0)


def stray_rejection_ahead(seed: int) -> World:
    """The same at a renewal ahead of time, 20 s before the old token expires."""
    return _refuse_once(seed, seconds_left=20.0)


def _refuse_once(seed: int, *, seconds_left: float) -> World:
    world = World(Setting())
    for _ in range(3):
        world.add_process()
    hold_token(seconds_left)(world)
    if seconds_left > 300.0:
        world.turvo.revoke_all()
    world.turvo.is_moody = True
    world.turvo.next_answers.append(REJECTED)
    start = world.now
    for process in world.processes:
        process.start_thread(_calls(40, 5.0))
    _tell(world, seed)
    late = min(world.checks.logins, default=math.inf) - start
    if late > PAUSES[REJECTED][0] + 20.0:
        world.checks.break_promise(
            f"no token for {late:.0f} s after one stray rejection"
        )
    return world


def unlucky_replay(seed: int) -> World:
    """A replay is refused once, then calls are accepted, then the token is revoked.

    The revocation is healed at once.
    """
    world = World(Setting())
    world.turvo.is_moody = True
    process = world.add_process()
    hold_token(9999.0)(world)

    def make_calls(task: Task) -> None:
        world.turvo.revoke_all()
        world.turvo.refusals = 2
        process.make_call(task)
        world.scheduler.pause("sleep", world.now + 10.0)
        for _ in range(200):
            process.make_call(task)
        world.turvo.revoke_all()
        process.make_call(task)

    process.start_thread(make_calls)
    _tell(world, seed)
    del process.statuses[0]
    _expect_only_answers(process)
    return world


def one_doubt(seed: int) -> World:
    """Two processes are refused, one heals it, and a revocation follows a second later.

    The token was accepted by one of them, so neither doubts it.
    """
    world = World(Setting())
    for _ in range(2):
        world.add_process()
    hold_token(9999.0)(world)
    world.turvo.is_moody = True
    healer, other = world.processes

    def heal(task: Task) -> None:
        world.turvo.revoke_all()
        healer.make_call(task)
        world.turvo.revoke_all()

    def follow(task: Task) -> None:
        # It was never accepted here, but another process has seen that it was.
        world.scheduler.pause("sleep", world.now + 30.0)
        other.attached = None
        other.source.current = None
        other.make_call(task)

    healer.start_thread(heal)
    other.start_thread(follow)
    _tell(world, seed)
    for process in world.processes:
        _expect_only_answers(process)
    return world


def served_again(seed: int) -> World:
    """Turvo serves a token again as long as it lives; three processes call often.

    There are at most two logins a rollover.
    """
    world = World(Setting("same", life=60.3, login_seconds=0.2))
    for _ in range(3):
        world.add_process().start_thread(_calls(900, 0.2))
    _tell(world, seed)
    return world


def missing_store(seed: int) -> World:
    """A process with a wrong password has no store, and keeps the rules by itself."""
    world = World(Setting())
    world.store.away_until = math.inf
    world.add_process("wrong").start_thread(_calls(400, 5.0))
    _tell(world, seed)
    return world


def read_only_store(seed: int) -> World:
    """The store keeps a token that was revoked, and takes no other one.

    The next revocation is healed as well: the process does not go back to the first.
    """
    world = World(Setting())
    world.turvo.is_moody = True
    process = world.add_process()
    hold_token(9999.0)(world)
    world.store.read_only_until = math.inf

    def make_calls(task: Task) -> None:
        for _ in range(2):
            world.turvo.revoke_all()
            for _ in range(3):
                world.scheduler.pause("sleep", world.now + 10.0)
                process.make_call(task)

    process.start_thread(make_calls)
    _tell(world, seed)
    _expect_only_answers(process)
    return world


def existing_script(seed: int) -> World:
    """A script that knows no leases stores a token while a login fails.

    Then the store is away for one command. The caller gets the script's token.
    """
    world = World(Setting())
    world.turvo.is_moody = True
    world.turvo.next_answers.append(FOREIGN)
    caller, script = world.add_process(), world.add_process()
    caller.start_thread(_calls(1, 0.0))

    def write(task: Task) -> None:
        world.scheduler.pause(
            "sleep", world.now + world.setting.login_seconds / 2 + 0.1
        )
        world.store_by_script()
        world.store.away_commands = 1

    script.start_thread(write)
    _tell(world, seed, InTurn())
    _expect_only_answers(caller)
    return world


def unwritten_record(seed: int) -> World:
    """A process without a token renews a due one, fails, and cannot write that down.

    The store cannot be written at all. The due token serves, and only the failures that
    the process remembers by itself keep it from a login for each call.
    """
    return _fail_to_renew(seed, read_only_until=math.inf)


def lost_record(seed: int) -> World:
    """The same, and the store is away for two commands at the end of each login."""
    return _fail_to_renew(seed, read_only_until=-math.inf)


def _fail_to_renew(seed: int, *, read_only_until: float) -> World:
    world = World(Setting(login_seconds=0.0))
    world.turvo.is_moody = True
    hold_token(200.0)(world)
    caller = world.add_process()
    world.store.read_only_until = read_only_until

    def refuse() -> str:
        if read_only_until < world.now:
            world.store.away_commands = 2
        return FOREIGN

    world.turvo.mood = refuse
    caller.start_thread(_calls(30, 5.0))
    _tell(world, seed)
    _expect_only_answers(caller)
    return world


STORIES: dict[str, Callable[[int], World]] = {
    story.__name__.replace("_", "-"): story
    for story in (
        forbidden_path,
        dead_leader,
        wrong_passwords,
        some_wrong_passwords,
        lasting_wrong_password,
        mistyped_url,
        lost_route,
        hanging_endpoint,
        stray_rejection,
        stray_rejection_ahead,
        unlucky_replay,
        one_doubt,
        late_rejections,
        slow_rejections,
        served_again,
        existing_script,
        missing_store,
        read_only_store,
        unwritten_record,
        lost_record,
    )
}


def run_story(name: str, seed: int) -> Run:
    """Run the story of that name with the steps in a random order."""
    return Run(f"{name}/story/{seed}", STORIES[name](seed))


def _calls(
    count: int, gap: float, *, path: str = SHIPMENTS, end: float = math.inf
) -> Callable[[Task], None]:
    """Return the work of a process that makes calls, each after a gap."""

    def make_calls(task: Task) -> None:
        scheduler = task.process.world.scheduler
        for _ in range(count):
            scheduler.pause("sleep", scheduler.now + gap)
            if scheduler.now > end:
                break
            task.process.make_call(task, path)

    return make_calls


def _expect_only_answers(process: Process) -> None:
    """Check that every call of a process was answered."""
    failed = [status for status in process.statuses if status != 200]
    if failed or not process.statuses:
        process.world.checks.break_promise(
            f"calls of {process.name} ended with {failed[:3]}"
        )


def _tell(world: World, seed: int, order: Order | None = None) -> None:
    """Run the story to its end."""
    world.scheduler.order = order or RandomOrder(Random(seed), most_faults=0)
    try:
        world.scheduler.run_tasks(world)
    finally:
        world.close()
