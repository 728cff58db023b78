"""The public names, their types and help, and the order of the modules behind them."""

from __future__ import annotations

import ast
import inspect
import os
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import pytest
import requests

import turvo_session
from turvo_session import events, testing

PACKAGE = Path(turvo_session.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}
LADDER = [
    *("errors", "secret", "text", "tokens", "store", "failure", "events"),
    *("breaker", "deadline", "redis_trouble", "redis_client", "sealing", "redis_store"),
    *("transport", "login", "origin", "replay", "renewal", "level", "source"),
    *("settings", "auth", "session", "__init__", "__main__"),
]
"""Every module, each below those that may import it."""
SLOW = {
    "redis": {"redis_client"},
    "requests_oauthlib": {"transport"},
    "oauthlib": {"transport"},
    "tenacity": {"auth", "login"},
    "cryptography": {"sealing"},
}
"""Which modules may import what takes long to import."""
DOCUMENTED = [
    *(getattr(turvo_session, name) for name in turvo_session.__all__),
    *(testing.FakeTurvo, testing.Seen, *get_args(events.Event), events.EventQueue),
]
CLASSES = {cls.__name__: cls for cls in DOCUMENTED}


def own_methods(cls: type) -> dict[str, Any]:
    """Return the public methods and properties that a class defines itself."""
    kinds = property | classmethod | staticmethod
    return {
        name: value
        for name, value in vars(cls).items()
        if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, kinds))
    }


# Help


def test_the_help_begins_with_what_a_script_needs() -> None:
    text = pydoc.render_doc(turvo_session, renderer=pydoc.plaintext)
    wanted = [
        "session.auth = TurvoAuth.from_env()",
        "TURVO_API_KEY",
        "``TurvoSession``",
    ]
    places = [text.index(words) for words in [*wanted, "PACKAGE CONTENTS"]]
    names = turvo_session.__all__
    assert places == sorted(places)
    assert names[:3] == ["TurvoAuth", "TurvoSession", "RedisStore"]
    assert names == list(dict.fromkeys(names))
    assert [name for name in names if f"``{name}``" not in text] == []


@pytest.mark.parametrize("cls", DOCUMENTED, ids=CLASSES)
def test_help_explains_every_class_and_every_method(cls: type) -> None:
    for name, member in {cls.__name__: cls, **own_methods(cls)}.items():
        text = inspect.cleandoc(member.__doc__ or "")
        assert text, name
        assert not text.startswith(f"{cls.__name__}("), "made up by Python"
        assert text.split("\n\n")[0].endswith((".", ":")), name
        assert max(map(len, text.splitlines())) <= 88, name


# Types

SCRIPT = Path(__file__).parent / "typing_api.py"
FOLDER = Path(sys.executable).parent
# Older versions of requests bring no types along.
TYPED = Path(requests.__file__).with_name("py.typed").exists()
UNTYPED = [] if TYPED else ["--disable-error-code=import-untyped"]
NO_CACHE = ["--config-file=", "--cache-dir=/dev/null"]
CHECKS = {
    "mypy": ["mypy", "--strict", *NO_CACHE, *UNTYPED, SCRIPT],
    "pyright": ["pyright", "--warnings", SCRIPT],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[str]]:
    """Run both checkers at the same time; each gives its complaints."""
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
    """An ``ignore`` without a mistake is an error, so each marks one that is seen.

    And pyright, which is strict there, reports a type that it knows only in part.
    """
    assert running[name].result() == ""


def test_the_script_uses_every_public_name() -> None:
    nodes = ast.walk(ast.parse(SCRIPT.read_text()))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert set(turvo_session.__all__) - used == set()


# Modules


def test_imports_only_point_down() -> None:
    assert sorted(MODULES) == sorted(LADDER)
    upward = [
        (name, imported)
        for name in LADDER
        for imported in imports(name, inside=True) - {"testing"}
        if LADDER.index(imported) >= LADDER.index(name)
    ]
    assert upward == []
    users = [name for name in LADDER if "testing" in imports(name, inside=True)]
    assert users == ["__main__"]


def test_what_is_slow_to_import_is_imported_where_it_is_needed() -> None:
    """When that is, ``test_lightness`` shows."""
    for other, users in SLOW.items():
        found = {name for name in LADDER if other in imports(name, inside=False)}
        assert found == users, other


def test_the_version_is_in_one_place() -> None:
    version = turvo_session.__version__
    files = [*PACKAGE.rglob("*.py"), Path(__file__).parents[2] / "pyproject.toml"]
    holders = [path.name for path in files if f'"{version}"' in path.read_text()]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert holders == ["__init__.py"]


def imports(name: str, *, inside: bool) -> set[str]:
    """Return the modules of the package, or the others, that a module imports.

    Imports for type checkers do not count.
    """
    found: set[str] = set()
    for node in nodes_at_run_time(MODULES[name]):
        if isinstance(node, ast.Import) and not inside:
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and bool(node.level) is inside:
            module = (node.module or "").partition(".")[0]
            names = [each.name for each in node.names if each.name in MODULES]
            found |= {module} if module else {*names} or {"__init__"}
    return found


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from nodes_at_run_time(child)
