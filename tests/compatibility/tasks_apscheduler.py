"""APScheduler: jobs in the threads of a scheduler."""

from __future__ import annotations

import sys
from concurrent.futures import Future

from _jobs import JOBS, call_turvo, share_logins
from apscheduler.schedulers.background import BackgroundScheduler

PACKAGE = "APScheduler"
REQUIRES = ["apscheduler<4"]
HOW = "jobs in threads: one login, healed 401"

scheduler = BackgroundScheduler()


def run_jobs() -> list[int]:
    """Schedule jobs for now, and return the statuses of their calls."""
    results: list[Future[int]] = [Future() for _ in range(JOBS)]
    for result in results:
        scheduler.add_job(lambda done=result: done.set_result(call_turvo()))
    return [result.result(30) for result in results]


if __name__ == "__main__":
    scheduler.start()
    code = share_logins(run_jobs)
    scheduler.shutdown()
    sys.exit(code)
