"""``python -m tests.benchmarks``: all measurements beside the peers (five minutes)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Measure, print, and write RESULTS.md, plot.svg and the table in the README."""
    argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=main.__doc__
    ).parse_args()
    from tests.benchmarks import everything, peers

    if lacking := peers.missing(peers.PEERS.values()):
        print(
            f"not installed: {', '.join(lacking)}. Try: pip install -e '.[test,bench]'",
            file=sys.stderr,
        )
        return 2
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - start:4.0f} s] {what}", file=sys.stderr)

    results = everything.measure(peers.PEERS, everything.Sizes(), say)
    print(everything.publish(results, HERE, HERE.parents[1] / "README.md"))
    say("done")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
