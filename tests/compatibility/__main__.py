"""``python -m tests.compatibility``: does the auth work inside other people's packages?

Each script in this folder is one row of the README's table "What is supported". It
begins with three constants::

    PACKAGE = "requests-mock"           # the name in the table
    REQUIRES = ["requests-mock"]        # what to install for it
    HOW = "cold login, healed 401"      # what the script shows

and exits with 0 if that works. The command makes a virtual environment, installs the
project and all the packages, runs the scripts, and prints the table. A script with
``SEPARATE = True`` gets an environment of its own, because its packages do not fit in
with the others. So does one with ``PYTHON = (3, 13)``, the lowest Python that it works
with, or with ``FREE_THREADED = True``; it is left out where no such Python is found. A
file that begins with an underscore belongs to a script. ``--write`` puts the table into
the README.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONSTANTS = ("PACKAGE", "REQUIRES", "HOW", "SEPARATE", "PYTHON", "FREE_THREADED")
QUIETLY: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
MARKS = ("<!-- compatibility -->", "<!-- /compatibility -->")


@dataclass(frozen=True)
class Row:
    """One script and what it says of itself."""

    script: Path
    package: str
    requires: tuple[str, ...]
    how: str
    separate: bool
    python: tuple[int, int]
    free_threaded: bool

    @property
    def python_name(self) -> str:
        """The name of the lowest Python that it works with."""
        return f"Python 3.{self.python[1]}{'t' * self.free_threaded}"


@dataclass(frozen=True)
class Result:
    """What a script came to."""

    row: Row
    versions: str
    works: bool
    said: str


def read_row(script: Path) -> Row:
    """Return what ``script`` says of itself, without running it."""
    constants: dict[str, Any] = {}
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id in CONSTANTS:
                constants[target.id] = ast.literal_eval(node.value)
    return Row(
        script,
        constants["PACKAGE"],
        tuple(constants["REQUIRES"]),
        constants["HOW"],
        bool(constants.keys() & {"SEPARATE", "PYTHON", "FREE_THREADED"}),
        constants.get("PYTHON", sys.version_info[:2]),
        constants.get("FREE_THREADED", False),
    )


def find_python(lowest: tuple[int, int], *, free_threaded: bool = False) -> str:
    """Return a Python of this version or of a newer one; "" if there is none."""
    if sys.version_info >= lowest and not free_threaded:
        return sys.executable
    # pyenv keeps its Pythons out of the PATH.
    kept = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    for minor in range(lowest[1], lowest[1] + 10):
        places = [os.environ["PATH"], *Path(kept).glob(f"versions/3.{minor}.*/bin")]
        for place in places:
            name = f"python3.{minor}{'t' * free_threaded}"
            found = shutil.which(name, path=str(place))
            if found and subprocess.run([found, "-c", ""], **QUIETLY).returncode == 0:
                return found
    return ""


def rows() -> list[Row]:
    """Return every script of this folder."""
    return [read_row(path) for path in sorted(HERE.glob("[a-z]*.py"))]


class Environment:
    """A virtual environment with the project and some packages."""

    def __init__(
        self,
        folder: Path,
        requires: set[str],
        base: str,
        extras: str = "demo,encryption",
    ) -> None:
        subprocess.run([base, "-m", "venv", folder], check=True)
        self.python = folder / "bin" / "python"
        self.pip("install", "-q", f"{ROOT}[{extras}]", *sorted(requires))

    def pip(self, *arguments: str) -> str:
        """Run pip and return what it printed."""
        command = [self.python, "-m", "pip", *arguments]
        done = subprocess.run(command, **QUIETLY)
        if done.returncode:
            raise SystemExit(f"pip {' '.join(arguments)}:\n{done.stderr}")
        return done.stdout

    def run(self, row: Row) -> Result:
        """Run one script."""
        try:
            done = subprocess.run(
                [self.python, row.script],
                cwd=ROOT,
                timeout=300,
                **QUIETLY,
            )
        except subprocess.TimeoutExpired:
            return Result(row, "", False, "no end after 300 s")
        # The library's warnings are on stderr; a traceback is there alone.
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        last = said[-1] if said else "nothing"
        return Result(row, self.versions(row), done.returncode == 0, last)

    def versions(self, row: Row) -> str:
        """Return the versions of the packages of a row."""
        names = [re.split(r"[^\w.-]", name)[0] for name in row.requires]
        if not names:
            return subprocess.run([self.python, "--version"], **QUIETLY).stdout.strip()
        shown = self.pip("show", *names)
        found = re.findall(r"^Version: (.*)$", shown, re.MULTILINE)
        return ", ".join(found)


def run_all(chosen: list[Row], folder: Path) -> list[Result]:
    """Run the scripts, those that fit together in one environment."""
    results = []
    together = [row for row in chosen if not row.separate]
    if together:
        requires = {name for row in together for name in row.requires}
        environment = Environment(folder / "together", requires, sys.executable)
        results += [show(environment.run(row)) for row in together]
    for row in chosen:
        if row.separate:
            results.append(show(run_alone(row, folder / row.script.stem)))
    return results


def run_alone(row: Row, folder: Path) -> Result:
    """Run a script in an environment of its own, if that can be made here."""
    base = find_python(row.python, free_threaded=row.free_threaded)
    if not base:
        return Result(row, "", False, f"not tested: there was no {row.python_name}")
    # cryptography has no build for some Pythons without a GIL.
    extras = "demo" if row.free_threaded else "demo,encryption"
    try:
        environment = Environment(folder, set(row.requires), base, extras)
    except SystemExit as error:
        last = str(error).strip().splitlines()[-1]
        return Result(row, "", False, f"it could not be installed: {last}")
    return environment.run(row)


def show(result: Result) -> Result:
    """Print one line about a result."""
    word = "works" if result.works else "FAILS"
    print(f"{word}  {result.row.package} {result.versions}: {result.said}", flush=True)
    return result


def table(results: list[Result]) -> str:
    """Return the results as the README shows them."""
    lines = ["| package | version tested | what works |", "|---|---|---|"]
    for result in sorted(results, key=lambda one: one.row.package.lower()):
        works = result.row.how if result.works else f"does not work: {result.said}"
        lines.append(f"| {result.row.package} | {result.versions} | {works} |")
    return "\n".join(lines)


def main() -> int:
    """Run the scripts that the command line names, by default all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="scripts; default: all"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the table into README"
    )
    asked = parser.parse_args()
    chosen = [
        row for row in rows() if not asked.names or row.script.stem in asked.names
    ]
    with tempfile.TemporaryDirectory() as folder:
        results = run_all(chosen, Path(folder))
    print(table(results))
    if asked.write:
        readme = ROOT / "README.md"
        before, _, rest = readme.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        text = f"{before}{MARKS[0]}\n\n{table(results)}\n\n{MARKS[1]}{after}"
        readme.write_text(text)
    return 0 if all(result.works for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
