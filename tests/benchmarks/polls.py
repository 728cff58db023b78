"""What the threads of ``examples/poller.py`` save: a poll with 1, 2, 4, 8, 16 of them.

``python -m tests.benchmarks.polls plot.svg`` measures, prints the table and writes the
plot. The local Turvo runs in a process of its own, so that the poller is measured.
"""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import redis

from tests.benchmarks.server import environ
from tests.support.servers import RedisServer
from turvo_session import TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKERS = (1, 2, 4, 8, 16)
NO_WEBHOOK = None


class Poll(NamedTuple):
    """A poll of new shipments: its threads, its seconds, and how it compares to one."""

    workers: int
    seconds: float
    speedup: float


class SlowTurvo(FakeTurvo):
    """A Turvo whose details of a shipment take a while, and whose lists do not."""

    def __init__(self, shipments: int, detail_seconds: float) -> None:
        super().__init__(shipments=[{} for _ in range(shipments)])
        self.detail_seconds = detail_seconds

    def _answer(self, method: str, url: str, *request: Any) -> Any:
        if "/shipments/9" in url:
            time.sleep(self.detail_seconds)
        return super()._answer(method, url, *request)


def polls(
    redis_url: str,
    *,
    workers: Sequence[int] = WORKERS,
    shipments: int = 150,
    detail_seconds: float = 0.1,
    rounds: int = 1,
) -> list[Poll]:
    """Return a row for each number of workers, with the median of its rounds.

    Every shipment is new in every poll. A round has all numbers in it, in an order that
    changes.
    """
    # With more than ten threads, urllib3 warns of connections that it does not keep.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    seconds: dict[int, list[float]] = {number: [] for number in workers}
    order = list(workers)
    with slow_turvo(shipments, detail_seconds) as settings:
        for _ in range(rounds):
            random.Random(0).shuffle(order)
            for number in order:
                took = time_of_a_poll(settings, redis_url, number, shipments)
                seconds[number].append(took)
    medians = {number: median(times) for number, times in seconds.items()}
    slowest = medians[min(workers)]
    return [
        Poll(number, medians[number], slowest / medians[number]) for number in workers
    ]


def time_of_a_poll(
    settings: dict[str, str], redis_url: str, workers: int, shipments: int
) -> float:
    """Return how long a poll takes after which all shipments are forwarded."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    from poller import Poller

    forwarded: list[dict[str, Any]] = []

    def take_batch(batch: list[dict[str, Any]]) -> int:
        forwarded.extend(batch)
        return 200

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with TurvoSession(TurvoAuth.from_env(settings)) as session:
        session.auth.token()
        poller = Poller(session, redis_url, NO_WEBHOOK, workers=workers)
        poller.send = take_batch
        start = time.monotonic()
        is_done = poller.poll()
        took = time.monotonic() - start
        poller.pool.shutdown()
        poller.redis.close()
    if not is_done or len(forwarded) != shipments:
        raise RuntimeError(f"{len(forwarded)} of {shipments} shipments were forwarded")
    return took


@contextmanager
def slow_turvo(shipments: int, detail_seconds: float) -> Iterator[dict[str, str]]:
    """Run a ``SlowTurvo`` in another process; yield the settings for it."""
    numbers = (str(shipments), str(detail_seconds))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.polls", "serve", *numbers],
        env=environ(),
        stdin=subprocess.PIPE,  # its end tells the server to go
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    names = ("TURVO_BASE_URL", "TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD")
    try:
        yield {name: process.stdout.readline().rstrip("\n") for name in names}
    finally:
        process.communicate()


def serve(shipments: int, detail_seconds: float) -> None:
    """Run the server until stdin ends."""
    with SlowTurvo(shipments, detail_seconds) as turvo:
        print(*turvo.environ.values(), sep="\n", flush=True)
        sys.stdin.read()


def markdown(rows: Sequence[Poll]) -> str:
    """Return the rows as a table."""
    lines = ["| workers | seconds a poll | times as fast |", "|---|---|---|"]
    lines += [
        f"| {row.workers} | {row.seconds:.2f} | {row.speedup:.1f} |" for row in rows
    ]
    return "\n".join(lines)


def plot(rows: Sequence[Poll]) -> str:
    """Return a plot of the seconds as SVG: a bar for each row."""
    longest = max(row.seconds for row in rows)
    parts = []
    for index, row in enumerate(rows):
        top, length = 34 + 22 * index, 300 * row.seconds / longest
        words = f"{row.seconds:.1f} s, {row.speedup:.1f} times as fast"
        plural = "s" if row.workers > 1 else ""
        parts += [
            f'<text x="16" y="{top + 12}">{row.workers} worker{plural}</text>',
            f'<rect x="100" y="{top}" width="{length:.0f}" height="14" rx="2"/>',
            f'<text x="{106 + length:.0f}" y="{top + 12}">{words}</text>',
        ]
    height = 44 + 22 * len(rows)
    body = "\n  ".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {height}"
  role="img">
  <title>Seconds of a poll by its workers</title>
  <style>
    text {{ font: 12px sans-serif; fill: #57606a }}
    rect {{ fill: #1f6feb }}
    @media (prefers-color-scheme: dark) {{ text {{ fill: #9198a1 }} }}
  </style>
  <text x="16" y="20">Seconds of a poll by its workers</text>
  {body}
</svg>
"""


def main() -> None:
    """Measure, print the table, and write the plot to the path that is given."""
    with RedisServer() as server:
        rows = polls(server.url)
    print(markdown(rows))
    for path in sys.argv[1:]:
        Path(path).write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
