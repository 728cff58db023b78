"""The command: run a soak, and exit with 1 if a promise is broken."""

from __future__ import annotations

import argparse
import sys

from tests.soak.attack import soak


def main() -> int:
    """Run the soak that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = soak(
        60 * args.minutes,
        processes=args.processes,
        threads=args.threads,
        seed=args.seed,
        say=print,
    )
    print(report)
    if report.is_good:
        print("good")
        return 0
    print("BROKEN")
    return 1


if __name__ == "__main__":
    sys.exit(main())
