"""Runs the simulation for as long as you like; see the docstring of the package."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator

from .explore import BOUNDS, ONE_SWITCH, SCENARIOS, Run, explore, run_script, run_seed
from .stories import run_story
from .suite import suite_parts
from .world import virtual_library


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--run", metavar="NAME", help="repeat the run of this name")
    parser.add_argument(
        "--suite", action="store_true", help="run what the test suite runs"
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="explore each scenario with one fault and one switch more",
    )
    options = parser.parse_args(arguments)
    gc.freeze()
    with virtual_library():
        if options.run:
            return _repeat(options.run)
        if options.suite:
            return _watch(run for part in suite_parts().values() for run in part())
        if options.exhaustive:
            return _watch(run for one in SCENARIOS for run in explore(one, ONE_SWITCH))
        return _watch(_seeds(options.seed, options.minutes))


def _seeds(first: int, minutes: float) -> Iterator[Run]:
    """Yield a run for each seed from ``first`` on, until the minutes are over."""
    end = time.monotonic() + 60 * minutes
    seed = first
    while time.monotonic() < end:
        yield run_seed(seed)
        seed += 1


def _watch(runs: Iterator[Run]) -> int:
    """Count the runs, and show the first one that breaks a promise."""
    start, count, pruned, last = time.monotonic(), 0, 0, ""
    for run in runs:
        count += 1
        pruned += run.pruned
        last = run.name
        if run.broken:
            print(run.report())
            print(f"Run {count} broke a promise: {run.broken}")
            return 1
    seconds = time.monotonic() - start
    print(
        f"{count} runs in {seconds:.1f} s ({pruned} of them ended in a state that had "
        f"been explored), the last one {last}: every promise was kept"
    )
    return 0


def _repeat(name: str) -> int:
    """Run the run of that name once more, and show its trace."""
    if "/" not in name:
        run = run_seed(int(name))
    else:
        first, kind, rest = name.split("/")
        if kind == "story":
            run = run_story(first, int(rest))
        else:
            script = tuple(int(decision) for decision in rest.split(".") if decision)
            scenario = {one.name: one for one in SCENARIOS}[first]
            run, _ = run_script(scenario, BOUNDS[kind], script)
    print(run.report())
    print(f"broken: {run.broken or 'nothing'}")
    return int(run.broken is not None)


if __name__ == "__main__":
    sys.exit(main())
