"""joblib: calls in a pool of processes."""

from __future__ import annotations

import sys

from _jobs import JOBS, call_turvo, share_logins
from joblib import Parallel, delayed

PACKAGE = "joblib"
REQUIRES = ["joblib"]
HOW = "`Parallel(n_jobs=4)`: processes share a token through Redis"


def run_jobs() -> list[int]:
    """Run the jobs in four processes."""
    statuses: list[int] = Parallel(n_jobs=4)(delayed(call_turvo)() for _ in range(JOBS))
    return statuses


if __name__ == "__main__":
    sys.exit(share_logins(run_jobs))
