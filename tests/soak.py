"""The fleet under fire: ``python tests/soak.py --minutes 2``. Ends with 1 if a promise is broken.

Workers call the API all the time while, at random, a worker is killed (and another one begins), Redis is
killed and comes back empty, and Turvo revokes the token, which lives for seconds anyway. Every call must
succeed, and the fleet must log in no more than once for a rollover, a revocation or a restart of Redis.

Counted apart: logins that nobody lived to tell of, at most one for each worker killed; and those of a process
that has just lost Redis, which goes without for two seconds or more.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from fleet import FAILURE, Worker, finish, shared, start, until, workers
from fleet_worker import Call, Line
from servers import RedisServer

from turvo_session.testing import FakeTurvo

LIFE = 5  # seconds of a token; a tenth of them it is due
LOGIN = 0.2  # seconds of a login


@dataclass
class Report:
    """What came of it."""

    seconds: float = 0.0
    answers: Counter[int | str] = field(default_factory=Counter)
    failed: list[Call] = field(default_factory=list)
    slowest: float = 0.0
    logins: int = 0  # as Turvo saw them
    told: Counter[str] = field(default_factory=Counter)  # as the workers did, by reason
    events: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Logins of workers that were killed before they told of them."""
        return self.logins - self.told.total()

    @property
    def good(self) -> bool:
        rollovers = int(self.seconds / (0.9 * LIFE))
        return (
            not self.failed
            and self.told["refused"] <= self.events["revocations"]
            and self.told["due"] + self.told["none"] <= 1 + rollovers + self.events["restarts"]
            and self.lost <= self.events["kills"]
        )

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s: {dict(self.answers)}, slowest call {self.slowest:.2f} s, {dict(self.events)}, "
            f"{self.logins} logins: {dict(self.told)}, {self.lost} lost"
            + "".join(f"\n  {call}" for call in self.failed[:10])
        )


class Soak:
    """A fleet, what it depends on, and what is done to them."""

    def __init__(self, stack: ExitStack, processes: int, threads: int, seed: int) -> None:
        self.report = Report()
        self._random = random.Random(seed)
        self._stack, self._threads = stack, threads
        self._turvo = stack.enter_context(FakeTurvo(token_life=LIFE + 0.5, login_seconds=LOGIN))
        self._server = stack.enter_context(RedisServer(port=0))
        self._fleet = [self._hire() for _ in range(processes)]

    def run(self, seconds: float, say: Callable[[str], object]) -> Report:
        began = time.monotonic()
        told = began
        order: list[Callable[[], None]] = []
        start(self._fleet, threads=self._threads, pause=0.05)
        while time.monotonic() < began + seconds:
            time.sleep(self._random.uniform(0.3, 1.3))
            if not order:
                order = self._random.sample([self._kill, self._restart, self._revoke], k=3)
            order.pop()()
            for worker in self._fleet:
                self._take(worker.ask("calls"))
            self.report.seconds = time.monotonic() - began
            if time.monotonic() > told + 10:
                told = time.monotonic()
                say(f"{self.report.seconds:.0f} s, {self.report.answers.total()} calls, {self.report.failed}")
        self._take(finish(self._fleet))
        for worker in self._fleet:
            self._count(worker.ask("log"))
        self.report.logins = self._turvo.logins
        self.report.seconds = time.monotonic() - began
        return self.report

    def _hire(self) -> Worker:
        environ = shared(self._turvo, self._server.url)
        (worker,) = self._stack.enter_context(workers(1, environ, token_timeout=(0.5, 0.5)))
        return worker

    def _kill(self) -> None:
        # A leader killed between its put and the replay that shows that its token is good would leave that
        # in doubt for a minute, and a 401 in doubt is the caller's.
        with self._server.client() as client:
            if self._random.random() < 0.5:  # while somebody logs in: now and then that is the victim
                before = self._turvo.token_requests
                until(lambda: self._turvo.token_requests > before, seconds=2 * LIFE)
            until(lambda: b"unproven" not in (client.get(FAILURE) or b""))
        victim = self._fleet.pop(self._random.randrange(len(self._fleet)))
        self._count(victim.ask("log"))
        self._take(victim.ask("calls"))
        victim.kill()
        self.report.events["kills"] += 1
        self._fleet.append(self._hire())
        start(self._fleet[-1:], threads=self._threads, pause=0.05)

    def _restart(self) -> None:
        self._server.kill()
        time.sleep(self._random.uniform(0, 0.3))
        self._server.start()
        self.report.events["restarts"] += 1

    def _revoke(self) -> None:
        # Not between a login and its first use: that is a 401 with the newest token there is.
        while (before := self._turvo.token_requests) is not None:
            time.sleep(LOGIN + 0.15)
            if self._turvo.token_requests == before:
                break
        self._turvo.revoke()
        self.report.events["revocations"] += 1

    def _take(self, calls: list[Call]) -> None:
        self.report.answers.update(call.answer for call in calls)
        self.report.failed += [call for call in calls if call.answer != 200]
        self.report.slowest = max([self.report.slowest, *(call.seconds for call in calls)])

    def _count(self, lines: list[Line]) -> None:
        alone = False
        for line in lines:
            alone = line.event == "StoreFailed" or (alone and line.event != "StoreRecovered")
            if line.event == "LoggedIn":
                reason = line.text.partition("token ")[2].partition(")")[0]
                self.report.told["without Redis" if alone else reason] += 1


def soak(
    seconds: float,
    *,
    processes: int = 4,
    threads: int = 4,
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
) -> Report:
    """Run it; ``say`` is told every ten seconds how it goes."""
    with ExitStack() as stack:
        return Soak(stack, processes, threads, seed).run(seconds, say)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    report = soak(
        60 * given.minutes, processes=given.processes, threads=given.threads, seed=given.seed, say=print
    )
    print(report, "good" if report.good else "BROKEN", sep="\n")
    return not report.good


if __name__ == "__main__":
    sys.exit(main())
