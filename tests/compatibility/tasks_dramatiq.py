"""dramatiq: actors in the threads of a worker."""

from __future__ import annotations

import sys

import dramatiq
from _jobs import JOBS, call_turvo, share_logins
from dramatiq.brokers.stub import StubBroker

PACKAGE = "dramatiq"
REQUIRES = ["dramatiq"]
HOW = "actors in 8 threads: one login, healed 401"

broker = StubBroker()
dramatiq.set_broker(broker)
statuses: list[int] = []


@dramatiq.actor
def call() -> None:
    """Call Turvo."""
    statuses.append(call_turvo())


def run_jobs() -> list[int]:
    """Run the actors, and return the statuses of their calls."""
    statuses.clear()
    worker = dramatiq.Worker(broker, worker_threads=8)
    worker.start()
    for _ in range(JOBS):
        call.send()
    broker.join(call.queue_name)
    worker.join()
    worker.stop()
    return list(statuses)


if __name__ == "__main__":
    sys.exit(share_logins(run_jobs))
