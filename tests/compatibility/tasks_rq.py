"""rq: jobs in the forked work horses of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import redis
from _jobs import call_turvo, share_logins
from rq import Queue

PACKAGE = "rq"
REQUIRES = ["rq"]
HOW = "each forked job uses the shared token, and heals a 401"


def run_jobs() -> list[int]:
    """Queue four jobs, and run them by a worker that ends when there are no more."""
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue(connection=client)
    jobs = [queue.enqueue(call_turvo) for _ in range(4)]
    work = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--quiet"]
    command = [*work, "--url", os.environ["REDIS_URL"]]
    here = Path(__file__).parent
    subprocess.run(command, cwd=here, check=True, timeout=60)
    deadline = time.monotonic() + 10
    while not all(job.get_status(refresh=True) == "finished" for job in jobs):
        assert time.monotonic() < deadline, [job.get_status() for job in jobs]
        time.sleep(0.1)
    return [int(job.return_value()) for job in jobs]


if __name__ == "__main__":
    sys.exit(share_logins(run_jobs))
