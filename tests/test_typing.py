"""What an editor and a type checker know of the library: as a user has it, installed, from outside."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import turvo_session

SCRIPT = Path(__file__).parent / "typing_api.py"
FOLDER = Path(sys.executable).parent
# Older versions of requests bring no types along. What is ours is checked all the same.
UNTYPED = (
    [] if Path(requests.__file__).with_name("py.typed").exists() else ["--disable-error-code=import-untyped"]
)


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict", "--config-file=", "--cache-dir=cache", *UNTYPED, SCRIPT],
        ["pyright", "--warnings", SCRIPT],
        ["pyright", "--verifytypes=turvo_session", "--ignoreexternal"],
    ],
    ids=["mypy", "pyright", "completeness"],
)
def test_a_script_that_uses_every_public_name_is_well_typed(command: list[str], tmp_path: Path) -> None:
    path = f"{FOLDER}{os.pathsep}{os.environ['PATH']}"  # pyright asks the `python` that it finds there
    done = subprocess.run(
        [FOLDER / command[0], *command[1:]],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_uses_every_public_name() -> None:
    tree = ast.parse(SCRIPT.read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(turvo_session.__all__) - used == set()
