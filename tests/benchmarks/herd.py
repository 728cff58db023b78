"""Cold start and revocation: many threads of many processes need a token at the same
moment."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, NamedTuple

import redis

from tests.benchmarks.peers import Site
from tests.benchmarks.server import Api, environ

CASES = ((1, 1), (1, 8), (1, 32), (1, 64), (4, 8))
SLOW = 2.0
"""Seconds after which a case is not repeated: what is in series is so every time."""


class Served(NamedTuple):
    """What became of a herd: logins, calls that failed, seconds until the last one was
    served."""

    logins: float
    failed: float
    seconds: float


class Outcome(NamedTuple):
    """A herd without a token, then the same one whose token has been revoked."""

    cold: Served
    revoked: Served


def herds(
    api: Api,
    site: Site,
    titles: Iterable[str],
    *,
    cases: Iterable[tuple[int, int]] = CASES,
    rounds: int = 3,
    login_seconds: float = 0.2,
) -> dict[str, dict[tuple[int, int], Outcome]]:
    """Every peer in every case (processes, threads of each), in the median of the
    rounds."""
    runs = [(title, case) for title in titles for case in cases]
    seen: dict[tuple[str, tuple[int, int]], list[Outcome]] = {run: [] for run in runs}
    shuffle = random.Random(0).shuffle
    api.control(login_seconds=login_seconds)
    with workers(max(processes for _, (processes, _) in runs)) as crowd:
        for _ in range(rounds):
            shuffle(runs)
            for title, (processes, threads) in runs:
                before = seen[title, (processes, threads)]
                if not before or before[-1].cold.seconds < SLOW:
                    before.append(_one(api, site, crowd[:processes], title, threads))
    api.control(login_seconds=0.0)
    found: dict[str, dict[tuple[int, int], Outcome]] = {}
    for (title, case), outcomes in seen.items():
        cold, revoked = (
            [getattr(outcome, name) for outcome in outcomes] for name in Outcome._fields
        )
        found.setdefault(title, {})[case] = Outcome(_median(cold), _median(revoked))
    return found


def _median(runs: list[Served]) -> Served:
    return Served(*map(median, zip(*runs, strict=True)))


def _one(
    api: Api, site: Site, crowd: list[Worker], title: str, threads: int
) -> Outcome:
    with redis.Redis.from_url(site.redis_url) as client:
        client.flushall()
    for worker in crowd:
        worker.say(make=title, site=site)
    for worker in crowd:
        worker.hear()
    cold = _phase(api, crowd, threads)
    api.control(revoke=True)
    return Outcome(cold, _phase(api, crowd, threads))


def _phase(api: Api, crowd: list[Worker], threads: int) -> Served:
    api.control(reset=True)
    for worker in crowd:
        worker.say(threads=threads)
    for worker in crowd:
        worker.hear()
    start = time.monotonic()  # one clock for all processes of a machine
    for worker in crowd:
        worker.say(go=True)
    heard = [worker.hear() for worker in crowd]
    end = max(each["end"] for each in heard)
    return Served(
        api.control()["logins"], sum(each["failed"] for each in heard), end - start
    )


class Worker:
    """A process of the herd, seen from here."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker"],
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, **order: Any) -> None:
        """One order; see ``worker.main``."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """Its answer."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        """Let it end, and wait until it has."""
        self.process.communicate()


@contextmanager
def workers(number: int) -> Iterator[list[Worker]]:
    """New processes, to be told what to do."""
    with ExitStack() as stack:
        crowd = []
        for _ in range(number):
            worker = Worker()
            stack.callback(worker.stop)
            crowd.append(worker)
        yield crowd
