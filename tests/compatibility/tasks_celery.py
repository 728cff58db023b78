"""A Celery task whose soft time limit ends a login, in a real pool of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from _calls import report
from _sharing import RedisServer
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "Celery"
REQUIRES = ["celery"]
HOW = "a soft time limit ends a login at once; the next task logs in"

url = os.environ.get("REDIS_URL", "")
app = Celery("tasks_celery", broker=url, backend=url)


@app.task(soft_time_limit=2)
def log_in() -> tuple[str, float]:
    """Return how a login ended, and after how many seconds."""
    start = time.monotonic()
    try:
        TurvoAuth.from_env().token()
        ended = "logged in"
    except SoftTimeLimitExceeded:
        ended = "soft limit"
    return ended, time.monotonic() - start


def main() -> int:
    """Return 0 if the limit comes out at once, and the next task needs no waiting."""
    worker = [sys.executable, "-m", "celery", "-A", "tasks_celery", "worker"]
    with RedisServer(port=0) as server, FakeTurvo(login_seconds=8) as turvo:
        environ = {**os.environ, **turvo.environ, "REDIS_URL": server.url}
        app.conf.update(broker_url=server.url, result_backend=server.url)
        process = subprocess.Popen(
            [*worker, "-c", "1", "-l", "ERROR"], env=environ, cwd=Path(__file__).parent
        )
        try:
            limited, after = log_in.delay().get(timeout=60)
            turvo.login_seconds = 0
            then, seconds = log_in.delay().get(timeout=60)
        finally:
            process.terminate()
            process.wait(20)
    text = f"{limited} after {after:.1f} s, then {then} after {seconds:.1f} s"
    good = (limited, then) == ("soft limit", "logged in")
    return report(good and after < 4 and seconds < 1.5, text)


if __name__ == "__main__":
    sys.exit(main())
