"""``python -m tests.soak.cold_start``: processes that start cold beside busy ones.

On a machine that is far too small for them, one of them still logs in for all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers import RedisServer
from turvo_session.testing import FakeTurvo

BUSY = "while True: pass"
GET_TOKEN = """
from turvo_session import TurvoAuth
auth = TurvoAuth.from_env()
auth.token()
raise SystemExit(auth.stats.store_errors)
"""
LONGEST = 300
"""Seconds to wait for a process at most."""


@contextmanager
def running(count: int, script: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run that many new interpreters, and end what is left of them."""
    started = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start_cold(processes: int, busy: int) -> tuple[int, list[int], float]:
    """Return the logins, the exit codes, and the seconds until the last one ended."""
    with (
        RedisServer(port=0) as server,
        FakeTurvo(login_seconds=1.0) as turvo,
        running(busy, BUSY),
    ):
        os.environ.update({**turvo.environ, "REDIS_URL": server.url})
        start = time.monotonic()
        with running(processes, GET_TOKEN) as started:
            codes = [process.wait(LONGEST) for process in started]
        return turvo.logins, codes, time.monotonic() - start


def main() -> int:
    """Return 0 if there was one login, and no process had trouble with Redis."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cold_start")
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--busy", type=int, default=20)
    args = parser.parse_args()
    logins, codes, seconds = start_cold(args.processes, args.busy)
    failed = sum(code != 0 for code in codes)
    print(
        f"{args.processes} processes beside {args.busy} busy ones: {logins} logins, "
        f"{failed} had trouble, {seconds:.0f} s"
    )
    return int(logins != 1 or failed > 0)


if __name__ == "__main__":
    sys.exit(main())
