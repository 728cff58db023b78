"""Runs: all of two processes with one fault, and random ones of a whole fleet.

A run has a name from which it can be repeated: the seed of a random run, or a scenario
with the decisions in it, such as ``cold/one-fault/0.0.3.1``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from turvo_session import failure as failures
from turvo_session.store import Slot
from turvo_session.tokens import Token, dump

from .faults import FAULTS, LONGER_FAULTS, Fault
from .process import Process
from .scheduler import SLOWEST_STEP, InTurn, Pruned, Task
from .trace import describe_run
from .turvo_model import FORBIDDEN, RIGHT, SHIPMENTS, TURVO, Setting
from .world import World

FAULTS_BEFORE = {
    step: tuple(fault for fault in FAULTS if step in fault.steps)
    for step in frozenset.union(*(fault.steps for fault in FAULTS))
}
"""The faults that make a difference to a step."""
PRIVATE_STEPS = frozenset(
    {"start", "call", "woken", "login starts", "login ends", "next try"}
)
"""Steps of which no other process can tell when they are taken."""
SETTLING = 200.0
"""Seconds after which leases, the breaker and the allowance for logins are as new."""
DEFAULT_SETTING = Setting()
EVERYWHERE = 10**9
"""As ``most_switches``: every order of the steps."""


@dataclass
class Run:
    """What came of one run."""

    name: str
    world: World
    pruned: bool = False
    """Whether it was given up, because the rest was explored before."""

    @property
    def broken(self) -> str | None:
        """The promise that was broken, if one was."""
        return self.world.checks.broken

    def report(self) -> str:
        """Return the trace of the run, and the command that repeats it."""
        command = f"python -m tests.simulation --run {self.name}"
        return f"{describe_run(self.world)}\nRepeat it with: {command}"


# -- two processes, exhaustively -------------------------------------------------------


def hold_token(seconds_left: float) -> Callable[[World], None]:
    """Return what lets every process hold the same token, accepted by Turvo before."""

    def prepare(world: World) -> None:
        now, life = world.now, world.setting.life
        secret = world.turvo.issue(seconds_left)
        buffer = min(300.0, life / 10)
        token = Token(secret, now + seconds_left - life, life, buffer)
        slot = Slot(dump(token, now), seconds_left)
        world.store.put_token(slot)
        for process in world.processes:
            process.begin_with_token(token, slot)

    return prepare


def _hold_revoked_token(world: World) -> None:
    hold_token(9999.0)(world)
    world.turvo.revoke_all()


def _lose_route(world: World) -> None:
    world.processes[0].no_route_until = world.now + 100.0


def _stay_cold(world: World) -> None:
    """Let no process have a token."""


@dataclass(frozen=True)
class Scenario:
    """How two processes begin. Then each of them makes one call to one of ``paths``."""

    name: str
    setting: Setting = DEFAULT_SETTING
    second: str = RIGHT
    """The credentials of the second process."""
    prepare: Callable[[World], None] = _stay_cold
    paths: tuple[str, str] = (SHIPMENTS, SHIPMENTS)

    def begin(self, world: World) -> None:
        """Start the processes."""
        world.add_process()
        world.add_process(self.second)
        self.prepare(world)
        for process, path in zip(world.processes, self.paths, strict=True):
            process.start_thread(one_call(path))


SCENARIOS = (
    Scenario("cold"),
    Scenario("revoked", prepare=_hold_revoked_token),
    Scenario("revoked-same", Setting("same"), prepare=_hold_revoked_token),
    Scenario("due", prepare=hold_token(100.0)),
    Scenario("due-revoke", Setting("revoke"), prepare=hold_token(100.0)),
    Scenario("due-same", Setting("same"), prepare=hold_token(100.0)),
    Scenario("ending", prepare=hold_token(0.6)),
    Scenario("wrong", second="wrong"),
    Scenario("no-route", prepare=_lose_route),
    Scenario("forbidden", prepare=hold_token(9999.0), paths=(FORBIDDEN, SHIPMENTS)),
)


def one_call(path: str = SHIPMENTS) -> Callable[[Task], None]:
    """Return the work of a process that makes one call."""

    def make_calls(task: Task) -> None:
        task.process.make_call(task, path)

    return make_calls


@dataclass(frozen=True)
class Bound:
    """How much of the interleavings is explored.

    ``with_fault``: one fault strikes, at every step. ``most_switches``: how often a
    process that could go on is left for another one, between its read and its write. A
    process that has to wait is left in any case. ``EVERYWHERE`` has no such bound.
    """

    name: str
    with_fault: bool
    most_switches: int


NO_FAULT = Bound("no-fault", False, EVERYWHERE)
ONE_FAULT = Bound("one-fault", True, 0)
ONE_SWITCH = Bound("one-switch", True, 1)
BOUNDS = {bound.name: bound for bound in (NO_FAULT, ONE_FAULT, ONE_SWITCH)}


class EveryOrder:
    """Takes the decisions of a script, then the first of all, and notes the others.

    A step that no other process can tell from none is no decision. A state that another
    run has been in is not explored again: ``seen`` holds the switches that were left.
    """

    def __init__(
        self,
        bound: Bound,
        script: tuple[int, ...],
        seen: dict[int, int] | None = None,
    ) -> None:
        self.taken: list[int] = []
        self.others: list[tuple[int, ...]] = []
        self._bound = bound
        self._script = script
        self._seen = seen
        self._switches_left = bound.most_switches
        self._last: Task | None = None

    def choose_next(
        self, world: World, runnable: list[Task], next_event: float
    ) -> tuple[Task | None, Fault | None]:
        """Return the next decision of the script, or the first possible one."""
        options = self._options(world, runnable, next_event)
        index = 0
        if len(options) > 1:
            index = self._decide(world, len(options))
        task, fault = options[index]
        if task is None or task.pending not in PRIVATE_STEPS:
            if task is not self._last and self._last in runnable:
                self._switches_left -= self._bound.most_switches < EVERYWHERE
            self._last = task
        return task, fault

    def next_latency(self) -> float:
        """Return no time: the order of the steps is what matters."""
        return 0.0

    def give_up_if_known(self, world: World) -> None:
        """Raise ``Pruned`` if another run has been in this state."""
        if self._seen is None:
            return
        state = world.visible_state()
        if self._seen.get(state, -1) >= self._switches_left:
            raise Pruned
        self._seen[state] = self._switches_left

    def _options(
        self, world: World, runnable: list[Task], next_event: float
    ) -> list[tuple[Task | None, Fault | None]]:
        """Return all that can happen next."""
        options: list[tuple[Task | None, Fault | None]]
        tasks = self._candidates(runnable)
        options = [(task, None) for task in tasks]
        latest = min(task.wakes_at for task in runnable) + SLOWEST_STEP
        if len(tasks) == len(runnable) and next_event <= latest:
            options.append((None, None))
        if self._bound.with_fault and not world.faults:
            options += [
                (task, fault)
                for task in tasks
                for fault in FAULTS_BEFORE.get(task.pending, ())
            ]
        return options

    def _candidates(self, runnable: list[Task]) -> list[Task]:
        """Return the tasks that may run next, the last one first."""
        for task in runnable:
            if task.pending in PRIVATE_STEPS:
                return [task]
        last = self._last
        if last is None or last not in runnable:
            return runnable
        may_switch = self._switches_left > 0 and last.pending == "swap"
        if may_switch or self._bound.most_switches == EVERYWHERE:
            return [last, *(task for task in runnable if task is not last)]
        return [last]

    def _decide(self, world: World, count: int) -> int:
        done = len(self.taken)
        index = 0
        if done < len(self._script):
            index = self._script[done]
        else:
            self.give_up_if_known(world)
            path = tuple(self.taken)
            self.others += [(*path, other) for other in range(1, count)]
        self.taken.append(index)
        return index


def run_script(
    scenario: Scenario,
    bound: Bound,
    script: tuple[int, ...],
    seen: dict[int, int] | None = None,
) -> tuple[Run, EveryOrder]:
    """Run a scenario with the decisions of a script."""
    world = World(scenario.setting)
    order = EveryOrder(bound, script, seen)
    pruned = False
    try:
        scenario.begin(world)
        world.scheduler.order = order
        world.scheduler.run_tasks(world)
        order.give_up_if_known(world)
        heal_fleet(world)
    except Pruned:
        pruned = True
    finally:
        world.close()
    decisions = ".".join(map(str, order.taken))
    return Run(f"{scenario.name}/{bound.name}/{decisions}", world, pruned), order


def explore(scenario: Scenario, bound: Bound) -> Iterator[Run]:
    """Yield a run for every order of the steps of two processes within ``bound``."""
    seen: dict[int, int] = {}
    scripts: list[tuple[int, ...]] = [()]
    while scripts:
        run, order = run_script(scenario, bound, scripts.pop(), seen)
        scripts += order.others
        yield run


# -- a fleet, at random ----------------------------------------------------------------


class RandomOrder:
    """Draws what happens next."""

    LATENCIES = (0.0, 0.0, 0.001, 0.02, 0.3)

    def __init__(self, random: Random, most_faults: int) -> None:
        self._random = random
        self._most_faults = most_faults
        self._fault_rate = random.choice((0.1, 0.03, 0.01))
        self._lapse_rate = random.choice((0.0, 0.1, 0.4))
        self._is_quick = random.random() < 0.5

    def choose_next(
        self, world: World, runnable: list[Task], next_event: float
    ) -> tuple[Task | None, Fault | None]:
        """Draw a task, now and then a fault, or let time pass."""
        random = self._random
        if random.random() < self._lapse_rate:
            latest = min(task.wakes_at for task in runnable) + SLOWEST_STEP
            if next_event <= latest:
                return None, None
        task = random.choice(runnable)
        if len(world.faults) >= self._most_faults or random.random() > self._fault_rate:
            return task, None
        fitting = [fault for fault in LONGER_FAULTS if fault.fits(task)]
        return task, random.choice(fitting) if fitting else None

    def next_latency(self) -> float:
        """Draw the seconds that a command takes."""
        return 0.0 if self._is_quick else self._random.choice(self.LATENCIES)


def run_seed(seed: int) -> Run:
    """Run a random fleet of up to six processes with up to six faults."""
    random = Random(seed)
    setting = Setting(
        policy=random.choice(("fresh", "same", "revoke")),
        life=random.choice((20.0, 60.0, 600.0, 43200.0)),
    )
    world = World(setting, one_thread=random.random() < 0.7)
    try:
        _start_fleet(world, random)
        world.scheduler.order = RandomOrder(random, random.randint(0, 6))
        world.scheduler.run_tasks(world)
        heal_fleet(world)
    finally:
        world.close()
    return Run(str(seed), world)


def _start_fleet(world: World, random: Random) -> None:
    """Start processes that make calls, one after the other, with gaps."""
    life = world.setting.life
    gaps = random.choice(
        (
            (0.0,),
            (0.0, 0.5, 1.0),
            (0.0, 1.0, 10.0),
            (0.0, 5.0, 60.0, 300.0),
            (0.0, life / 2, life),
        )
    )
    paths = [SHIPMENTS] * 20
    if random.random() < 0.2:
        paths += [FORBIDDEN] * 5
    calls = random.randint(2, 8)
    operator_rate = random.choice((0.0, 0.0, 0.1))

    def make_calls(task: Task) -> None:
        for _ in range(calls):
            gap = random.choice(gaps)
            if gap:
                world.scheduler.pause("sleep", world.now + gap)
            if random.random() < operator_rate:
                task.process.log_in(task)
            else:
                task.process.make_call(task, random.choice(paths))

    world.workload = make_calls
    for number in range(random.randint(2, 6)):
        credentials, endpoint = RIGHT, TURVO
        if number:
            credentials = random.choice((RIGHT, RIGHT, RIGHT, "wrong", "wrong-too"))
            endpoint = random.choice((TURVO,) * 12 + ("elsewhere",))
        process = world.add_process(credentials, endpoint=endpoint)
        threads = 1
        if not world.one_thread:
            threads = random.randint(1, 3)
        for _ in range(threads):
            process.start_thread(make_calls)


# -- after the faults ------------------------------------------------------------------


def heal_fleet(world: World) -> None:
    """Check that one token and one login are enough, once the faults are over.

    First every process with the right credentials makes a call. Then Turvo revokes
    every token, and all of them call at the same time. At last the others call, too.
    """
    if world.checks.broken:
        return
    scheduler, checks = world.scheduler, world.checks
    scheduler.order = InTurn()
    world.end_faults()
    alive = [process for process in world.processes if not process.dead]
    right = [one for one in alive if one.is_right and one.endpoint == TURVO]
    while len(right) < 2:
        right.append(world.add_process())
    scheduler.now += SETTLING + _longest_pause(world, right)
    _expect_answers(world, right, at_once=False)
    scheduler.now += SETTLING
    world.turvo.revoke_all()
    before = len(checks.logins)
    _expect_answers(world, right, at_once=True)
    logins = len(checks.logins) - before
    if logins != 1:
        checks.break_promise(f"{logins} logins after the last revocation")
    others = [process for process in alive if process not in right]
    _expect_answers(world, others, at_once=False)
    held = world.store.token()
    tokens = {one.attached.token.access_token for one in right if one.attached}
    if held is None or tokens != {held[0]}:
        checks.break_promise("the processes do not share one token")


def _longest_pause(world: World, processes: list[Process]) -> float:
    """Return the seconds for which the store keeps one of the processes waiting."""
    pauses = [0.0]
    history = failures.load(world.store.history())
    for process in processes:
        client = process.source._client()
        record, budget = history.blocking(client), history.spent_budget(client)
        if record:
            pauses.append(record.left)
            world.checks.pause_found(record)
        if budget:
            pauses.append(budget.left)
    return max(pauses)


def _expect_answers(world: World, processes: list[Process], *, at_once: bool) -> None:
    """Let processes make a call each, and check that it is answered."""

    def make_calls(task: Task) -> None:
        status = task.process.make_call(task)
        if status != 200:
            world.checks.break_promise(f"a call ended with {status} after the faults")

    for process in processes:
        process.start_thread(make_calls)
        if not at_once:
            world.scheduler.run_tasks(world)
    world.scheduler.run_tasks(world)
