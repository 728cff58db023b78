"""huey: tasks in the threads of a consumer."""

from __future__ import annotations

import sys

from _jobs import JOBS, call_turvo, share_logins
from huey import MemoryHuey

PACKAGE = "huey"
REQUIRES = ["huey"]
HOW = "tasks in 8 threads: one login, healed 401"

huey = MemoryHuey()
task = huey.task()(call_turvo)


def run_jobs() -> list[int]:
    """Run the tasks, and return the statuses of their calls."""
    results = [task() for _ in range(JOBS)]
    return [int(result.get(blocking=True, timeout=30)) for result in results]


if __name__ == "__main__":
    consumer = huey.create_consumer(workers=8, periodic=False)
    consumer.start()
    code = share_logins(run_jobs)
    consumer.stop()
    sys.exit(code)
