"""What a type checker knows of the library, as a user has it: from outside."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import turvo_session

SCRIPT = Path(__file__).parent / "typing_api.py"
FOLDER = Path(sys.executable).parent
# Older versions of requests bring no types along.
TYPED = Path(requests.__file__).with_name("py.typed").exists()
UNTYPED = [] if TYPED else ["--disable-error-code=import-untyped"]
NO_CACHE = ["--config-file=", "--cache-dir=/dev/null"]
CHECKS = {
    "mypy": ["mypy", "--strict", *NO_CACHE, *UNTYPED, SCRIPT],
    "pyright": ["pyright", "--warnings", SCRIPT],
    "completeness": ["pyright", "--verifytypes=turvo_session", "--ignoreexternal"],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[str]]:
    """Run all checks at the same time; each gives its complaints."""
    folder = tmp_path_factory.mktemp("checks")
    # pyright asks the `python` that it finds in the path.
    path = f"{FOLDER}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}

    def run(name: str, *arguments: object) -> str:
        command = [FOLDER / name, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    with ThreadPoolExecutor() as pool:
        return {name: pool.submit(run, *CHECKS[name]) for name in CHECKS}


@pytest.mark.parametrize("name", CHECKS)
def test_a_script_that_uses_every_public_name_is_well_typed(
    running: dict[str, Future[str]], name: str
) -> None:
    """An ``ignore`` without a mistake is an error, so each marks one that is seen."""
    assert running[name].result() == ""


def test_the_script_uses_every_public_name() -> None:
    nodes = ast.walk(ast.parse(SCRIPT.read_text()))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert set(turvo_session.__all__) - used == set()
