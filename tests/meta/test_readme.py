"""Everything in the README that can run does run."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from turvo_session.testing import FakeTurvo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [block for language, block in BLOCKS if language == "python"]
SHELL = [
    line
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
]
SETUP = [line for line in SHELL if "-m venv" in line]
LONG_RUNS = re.findall(r"^python -m [\w.]+", README, re.MULTILINE)
COMMANDS = [line for line in SHELL if line not in SETUP]
COMMANDS += [f"{long_run} --help" for long_run in LONG_RUNS]


@pytest.fixture
def environment(
    turvo: FakeTurvo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Set what a reader of the README has set; yield the whole environment."""
    for name, value in {**turvo.environ, "REDIS_URL": redis_url}.items():
        monkeypatch.setenv(name, value)
    scripts = Path(sys.executable).parent
    logger = logging.getLogger("turvo_session")
    level = logger.level
    yield {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    logger.setLevel(level)  # one block sets it


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[-1][:40])
def test_each_python_block_runs(block: str, environment: dict[str, str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    for name, value in names.items():
        if name.startswith("test_"):
            value()


def test_the_eight_lines_log_in_once_and_read_a_list(
    environment: dict[str, str], turvo: FakeTurvo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 8
    for _ in range(2):
        exec(compile(PYTHON[0], "README.md", "exec"), {})
    assert turvo.logins == 1
    assert "'moreAvailable'" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(command: str, environment: dict[str, str]) -> None:
    """A long run only explains itself."""
    done = subprocess.run(
        ["bash", "-euc", command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_ci_runs_the_two_setup_lines() -> None:
    assert len(SETUP) == 2
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    assert all("pip install -q '.[" in line for line in SETUP)


def test_the_files_that_the_readme_names_exist() -> None:
    named = re.findall(
        r"`((?:examples|tests|\.ci|turvo_session)/[\w./]*)`"
        r"|\]\(((?:tests|examples)[\w./]+)\)",
        README,
    )
    assert named
    for pair in named:
        assert (ROOT / next(filter(None, pair))).exists(), pair


def test_the_table_of_costs_is_the_one_that_the_benchmarks_wrote() -> None:
    results = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text()
    table = re.search(r"^\|  \| version .*?\n(?=\n)", results, re.MULTILINE | re.DOTALL)
    assert table
    assert table[0] in README
    machine = re.search(r"^.* cores, .*Python.*$", results, re.MULTILINE)
    assert machine
    assert machine[0] in README


@pytest.mark.parametrize("name", re.findall(r"`((?:TURVO|REDIS)_[A-Z_]+)`", README))
def test_each_variable_that_the_readme_names_is_read(name: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "turvo_session").glob("*.py"))
    assert name in code
