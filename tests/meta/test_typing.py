"""What a type checker knows of the library, as a user has it: from outside."""

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
# Older versions of requests bring no types along.
TYPED = Path(requests.__file__).with_name("py.typed").exists()
UNTYPED = [] if TYPED else ["--disable-error-code=import-untyped"]


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict", "--config-file=", "--cache-dir=cache", *UNTYPED, SCRIPT],
        ["pyright", "--warnings", SCRIPT],
        ["pyright", "--verifytypes=turvo_session", "--ignoreexternal"],
    ],
    ids=["mypy", "pyright", "completeness"],
)
def test_a_script_that_uses_every_public_name_is_well_typed(
    command: list[str], tmp_path: Path
) -> None:
    """An ``ignore`` without a mistake is an error, so each marks one that is seen."""
    # pyright asks the `python` that it finds in the path.
    path = f"{FOLDER}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [str(FOLDER / command[0]), *map(str, command[1:])]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_uses_every_public_name() -> None:
    nodes = ast.walk(ast.parse(SCRIPT.read_text()))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert set(turvo_session.__all__) - used == set()
