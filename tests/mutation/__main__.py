"""``python -m tests.mutation``: see the package's docstring."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
ENOUGH = 0.95
TESTS = {
    "tokens": ["unit/test_tokens", "unit/test_renewal"],
    "failure": ["unit/test_failure", "unit/test_renewal"],
    "store": ["unit/test_secret", "unit/test_source", "unit/test_store"],
    "renewal": ["unit/test_renewal", "unit/test_source"],
    "level": ["unit/test_level", "unit/test_source"],
    "source": ["unit/test_source"],
    "origin": ["unit/test_origin", "unit/test_auth"],
    "replay": ["unit/test_replay", "wire/test_replay_wire", "wire/test_heal"],
    "redis_store": [
        "unit/test_redis_store",
        "unit/test_store",
        "wire/test_redis_trouble",
    ],
}
LIBRARIES = [
    "cryptography.fernet",
    "hypothesis",
    "redis",
    "requests_oauthlib",
    "tenacity",
]
"""They are imported once. Every run is a fork of this process, so it starts at once."""
OPTIONS = ["-n", "0", "-qx", "-p", "no:cacheprovider"]
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


@dataclass(frozen=True)
class Job:
    """One change of one module."""

    module: str
    mutant: Mutant

    @property
    def place(self) -> str:
        """The file and the line that differ."""
        return f"turvo_session/{self.module}.py:{self.mutant.line}"

    def diff(self) -> str:
        """Return the change for the report."""
        before = (ROOT / f"turvo_session/{self.module}.py").read_text("utf-8")
        lines = difflib.unified_diff(
            before.splitlines(), self.mutant.text.splitlines(), n=1, lineterm=""
        )
        return "\n".join([self.place, *list(lines)[3:]])


class Tree:
    """A copy of the project, in which one module at a time is changed."""

    def __init__(self, folder: str) -> None:
        self._root = Path(folder)
        ignored = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(ROOT, self._root, ignore=ignored, dirs_exist_ok=True)

    def seconds_of(self, files: Iterable[str]) -> float:
        """Run test files unchanged, and return how long they took."""
        start = time.monotonic()
        if self._run(files, 600) != 0:
            raise SystemExit(f"{', '.join(files)} fail without a change")
        return time.monotonic() - start

    def notices(
        self, module: str, text: str, files: Iterable[str], limit: float
    ) -> bool:
        """Return whether a test fails, or takes longer than ``limit`` seconds.

        ``text`` takes the place of the ``module`` while the test ``files`` run.
        """
        path = self._root / f"turvo_session/{module}.py"
        before = path.read_text("utf-8")
        path.write_text(text, "utf-8")
        status = self._run(files, limit)
        path.write_text(before, "utf-8")
        return status != 0

    def _run(self, files: Iterable[str], limit: float) -> int:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
        try:
            signal.alarm(int(limit))  # it ends the child
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            os.chdir(self._root)
            sys.path.insert(0, str(self._root))
            for name in [name for name in sys.modules if name.startswith("tests")]:
                del sys.modules[name]  # they were imported from the original
            os._exit(pytest.main([*OPTIONS, *files]))
        finally:
            os._exit(99)


def test_files_of(module: str) -> list[str]:
    """Return the test files of a module."""
    return [f"tests/{name}.py" for name in TESTS[module]]


def jobs_of(modules: list[str]) -> Iterator[Job]:
    """Yield every change of these modules."""
    for module in modules:
        text = (ROOT / f"turvo_session/{module}.py").read_text("utf-8")
        for mutant in mutants_of(text):
            yield Job(module, mutant)


def count_killed(jobs: list[Job], tree: Tree) -> int:
    """Make one change after the other; return how many of them a test notices."""
    killed = 0
    modules = {job.module for job in jobs}
    files = {name: test_files_of(name) for name in modules}
    limits = {name: 4 * tree.seconds_of(files[name]) + 10 for name in sorted(modules)}
    for number, job in enumerate(jobs, 1):
        position = f"{number:4}/{len(jobs)}"
        text, limit = job.mutant.text, limits[job.module]
        if tree.notices(job.module, text, files[job.module], limit):
            killed += 1
            print(f"{position} killed   {job.place}", flush=True)
        else:
            print(f"{position} SURVIVED {job.diff()}", flush=True)
    return killed


def main() -> int:
    """Run the round, print what survived, and return 1 if that is too much."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        epilog="python -m tests.mutation.masks takes out what hides secrets.",
    )
    parser.add_argument("--modules", default=",".join(TESTS), help="a,b: only these")
    parser.add_argument("--sample", type=int, help="this many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    jobs = list(jobs_of(options.modules.split(",")))
    if options.sample is not None:
        chosen = random.Random(options.seed)
        jobs = chosen.sample(jobs, min(options.sample, len(jobs)))
    sys.dont_write_bytecode = True  # it would outlive a change within the same second
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="turvo-mutation-") as folder:
        killed = count_killed(jobs, Tree(folder))
    print(f"{killed} of {len(jobs)} mutants killed: {killed / len(jobs):.1%}")
    return int(killed < ENOUGH * len(jobs))


if __name__ == "__main__":
    raise SystemExit(main())
