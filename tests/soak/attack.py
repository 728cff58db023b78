"""A fleet under fire, and what came of it.

Workers call the API all the time, while at random a worker is killed (and another one
begins), Redis is killed and comes back without data, and Turvo revokes the token, which
lives for seconds anyway. Every call must succeed, and the fleet must log in no more
than once for a rollover, a revocation or a restart of Redis.

Two kinds of logins are counted apart: those that no worker lived to report, at most one
for each worker killed, and those of a process that has just lost Redis, which goes
without it for two seconds or more.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.support.fleet import Site, Worker, finish, separate_site, start, until
from tests.support.fleet_worker import Call, Line

LIFE = 5.0
"""Seconds of a token; it is due for a tenth of them."""
LOGIN = 0.2
"""Seconds of a login."""
REASONS = {
    "no token was at hand": "none",
    "the token was due": "due",
    "the token was refused": "refused",
}


@dataclass
class Report:
    """What came of a soak.

    ``logins`` is what Turvo saw, ``told`` what the workers reported, by reason.
    """

    seconds: float = 0.0
    answers: Counter[int | str] = field(default_factory=Counter)
    failed: list[Call] = field(default_factory=list)
    slowest: float = 0.0
    logins: int = 0
    told: Counter[str] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """The number of logins of workers that were killed before they reported
        them."""
        return self.logins - self.told.total()

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        rollovers = int(self.seconds / (0.9 * LIFE))
        expected = 1 + rollovers + self.attacks["restarts"]
        return (
            not self.failed
            and self.told["refused"] <= self.attacks["revocations"]
            and self.told["due"] + self.told["none"] <= expected
            and self.lost <= self.attacks["kills"]
        )

    def __str__(self) -> str:
        lines = [
            f"{self.seconds:.0f} s, answers {dict(self.answers)}, "
            f"slowest call {self.slowest:.2f} s, attacks {dict(self.attacks)}",
            f"{self.logins} logins: {dict(self.told)}, and {self.lost} not reported",
            *(f"  {call}" for call in self.failed[:10]),
        ]
        return "\n".join(lines)


class Soak:
    """A fleet, what it depends on, and what is done to them."""

    def __init__(
        self, stack: ExitStack, *, processes: int, threads: int, seed: int
    ) -> None:
        self.report = Report()
        self._random = random.Random(seed)
        self._stack = stack
        self._threads = threads
        self._site: Site = stack.enter_context(
            separate_site(token_life=LIFE + 0.5, login_seconds=LOGIN)
        )
        self._fleet = [self._hire() for _ in range(processes)]

    def run(self, seconds: float, say: Callable[[str], object]) -> Report:
        """Attack the fleet for so long, and return what came of it."""
        report = self.report
        began = told = time.monotonic()
        start(self._fleet, threads=self._threads, pause=0.05)
        attacks: list[Callable[[], None]] = []
        while attacks or time.monotonic() < began + seconds:
            if not attacks:
                attacks = [self._kill, self._restart, self._revoke]
                self._random.shuffle(attacks)
            time.sleep(self._random.uniform(0.3, 1.3))
            attacks.pop()()
            for worker in self._fleet:
                self._take(worker.ask("calls"))
            report.seconds = time.monotonic() - began
            if time.monotonic() > told + 10:
                told = time.monotonic()
                say(f"{report.seconds:.0f} s, {report.answers.total()} calls")
        self._take(finish(self._fleet))
        for worker in self._fleet:
            self._count(worker.ask("log"))
        report.logins = self._site.turvo.logins
        report.seconds = time.monotonic() - began
        return report

    def _hire(self) -> Worker:
        context = self._site.workers(1, token_timeout=(0.5, 0.5))
        (worker,) = self._stack.enter_context(context)
        return worker

    def _kill(self) -> None:
        turvo = self._site.turvo
        if self._random.random() < 0.5:
            # While a process logs in: now and then that is the victim.
            before = turvo.token_requests
            until(lambda: turvo.token_requests > before)
        victim = self._fleet.pop(self._random.randrange(len(self._fleet)))
        self._count(victim.ask("log"))
        self._take(victim.ask("calls"))
        victim.kill()
        self.report.attacks["kills"] += 1
        self._fleet.append(self._hire())
        start(self._fleet[-1:], threads=self._threads, pause=0.05)

    def _restart(self) -> None:
        self._site.server.kill()
        time.sleep(self._random.uniform(0, 0.3))
        self._site.server.start()
        self.report.attacks["restarts"] += 1

    def _revoke(self) -> None:
        # The fleet heals three revocations at once, and one more each minute.
        allowed = 3 + self.report.seconds // 60
        if self.report.attacks["revocations"] < allowed:
            self._site.turvo.revoke()
            self.report.attacks["revocations"] += 1

    def _take(self, calls: list[Call]) -> None:
        report = self.report
        report.answers.update(call.answer for call in calls)
        report.failed += [call for call in calls if call.answer != 200]
        report.slowest = max([report.slowest, *(call.seconds for call in calls)])

    def _count(self, lines: list[Line]) -> None:
        is_alone = False
        for line in lines:
            if line.event in ("StoreFailed", "StoreRecovered"):
                is_alone = line.event == "StoreFailed"
            if line.event != "LoggedIn":
                continue
            told = line.text.partition("because ")[2].partition(":")[0]
            reason = "without Redis" if is_alone else REASONS[told]
            self.report.told[reason] += 1


def soak(
    seconds: float,
    *,
    processes: int = 4,
    threads: int = 4,
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
) -> Report:
    """Run a soak; ``say`` is called every ten seconds with how it goes."""
    with ExitStack() as stack:
        attacked = Soak(stack, processes=processes, threads=threads, seed=seed)
        return attacked.run(seconds, say)
