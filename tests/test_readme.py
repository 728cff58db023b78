"""Everything in the README runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from turvo_session.testing import FakeTurvo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [block for language, block in BLOCKS if language == "python"]
SHELL = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
SETUP = [line for line in SHELL if "-m venv" in line]
COMMANDS = [line for line in SHELL if line not in SETUP]


@pytest.fixture
def environment(turvo: FakeTurvo, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings that a reader of the README has."""
    settings = {**turvo.environ, "REDIS_URL": redis_url}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[-1][:40])
def test_the_python_of_the_readme_runs(block: str, environment: dict[str, str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - ours
    for name, value in names.items():
        if name.startswith("test_"):
            value()


def test_the_first_ten_lines_log_in_once_and_read_a_list(
    environment: dict[str, str], turvo: FakeTurvo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in PYTHON[0].splitlines() if line]) <= 10
    for _ in range(2):
        exec(compile(PYTHON[0], "README.md", "exec"), {})  # noqa: S102 - ours
    assert turvo.logins == 1
    assert "'moreAvailable'" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_run(command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-euc", command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_two_setup_lines_are_what_ci_runs() -> None:
    assert len(SETUP) == 2
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    assert all("pip install -q '.[" in line for line in SETUP)


def test_files_that_the_readme_names_exist() -> None:
    named = re.findall(r"`((?:examples|tests|\.ci)/[\w./]*)`|\]\(((?:tests|examples)[\w./]+)\)", README)
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


@pytest.mark.parametrize("name", re.findall(r"^\| `([A-Z_]+)`", README, re.MULTILINE))
def test_every_variable_of_the_settings_table_is_read(name: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "turvo_session").glob("*.py"))
    assert f'"{name}"' in code
