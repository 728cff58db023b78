"""The public names, their help, and the order of the modules behind them."""

from __future__ import annotations

import ast
import inspect
import logging
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, fields
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, get_args

import pytest
import requests

import turvo_session
from turvo_session import errors, events, testing

PACKAGE = Path(turvo_session.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}

LADDER = [
    *("errors", "secret", "value", "tokens", "store", "failure"),
    *("origin", "deadline", "sealing", "events", "replay", "grant"),
    *("renewal", "source", "redis_store", "settings", "auth", "session"),
    *("__init__", "testing", "__main__"),
]
"""Every module, each below those that may import it."""

OTHERS = {
    "redis": {"redis_store"},
    "requests_oauthlib": {"grant"},
    "oauthlib": {"grant"},
    "tenacity": {"auth", "grant"},
    "cryptography": {"sealing"},
}
"""Which modules may import what costs time to import, and then only at first use."""

PUBLIC = [
    "Change",
    "CredentialsRejected",
    "InvalidTokenResponse",
    "MemoryStore",
    "RedisStore",
    "SettingsError",
    "Slot",
    "Snapshot",
    "Stats",
    "StoreError",
    "Token",
    "TokenEndpointUnavailable",
    "TokenStatus",
    "TokenStore",
    "TurvoAuth",
    "TurvoAuthError",
    "TurvoResponseError",
    "TurvoSession",
]

METHODS = {
    "TurvoAuth": ["forget", "from_env", "stats", "status", "token"],
    "TurvoSession": ["from_env", "records", "request", "send"],
    "Token": ["due", "end", "fingerprint", "seconds_left", "state"],
    "TokenStore": ["read", "swap", "wait"],
    "MemoryStore": ["read", "swap", "wait"],
    "RedisStore": ["from_url", "read", "swap", "wait"],
    "FakeTurvo": [
        *("api_requests", "base_url", "drop_next", "environ", "fail_next", "heal", "logins"),
        *("redirect_next", "refused", "revoke", "throttle", "token_requests"),
    ],
}
"""What the classes offer beside what they inherit and the fields of values."""

DOCUMENTED = [
    *(getattr(turvo_session, name) for name in PUBLIC),
    *(testing.FakeTurvo, testing.Seen),
    *(
        value
        for name, value in vars(events).items()
        if inspect.isclass(value) and value.__module__ == events.__name__
    ),
]


# Names


def test_the_public_names_are_these_and_sorted() -> None:
    assert turvo_session.__all__ == PUBLIC == sorted(PUBLIC)
    assert [name for name in PUBLIC if not inspect.isclass(getattr(turvo_session, name))] == []


@pytest.mark.parametrize("name", METHODS)
def test_the_public_methods_are_these(name: str) -> None:
    assert sorted(own_methods(getattr(turvo_session, name, testing.FakeTurvo))) == METHODS[name]


def test_no_other_class_has_methods_of_its_own() -> None:
    others = [cls for cls in DOCUMENTED if cls.__name__ not in METHODS]
    assert {cls.__name__: found for cls in others if (found := own_methods(cls))} == {}


@pytest.mark.parametrize(
    ("callable", "parameters"),
    [
        (
            turvo_session.TurvoAuth,
            "*, base_url, api_key, username, password, client_id='publicapi', client_secret='secret', "
            + "store=None, expiry_buffer=300.0, token_timeout=(3.05, 10.0), on_event=None",
        ),
        (turvo_session.TurvoSession, "auth, *, timeout=(3.05, 30.0), retries=3"),
        (turvo_session.TurvoSession.records, "self, path, key, params=None"),
        (turvo_session.RedisStore, "client, key, *, encryption_keys=()"),
        (turvo_session.RedisStore.from_url, "url, key, *, encryption_keys=()"),
    ],
)
def test_scripts_may_rely_on_these_parameters(callable: Any, parameters: str) -> None:
    signature = inspect.signature(callable)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({parameters})"


def test_the_errors_are_the_tree_that_their_docstring_draws() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)([\w.]+)", errors.__doc__ or "", re.MULTILINE)
    parents: dict[int, str] = {}
    edges = []
    for branch, name in drawn:
        depth = len(branch) // 4
        parents[depth] = name.removeprefix("requests.")
        edges += [(name, parents[depth - 1])] if depth else []
    classes = [
        cls for cls in vars(errors).values() if inspect.isclass(cls) and cls.__module__ == errors.__name__
    ]
    assert drawn[0][1] == "requests.RequestException"
    assert edges == [(cls.__name__, cls.__bases__[0].__name__) for cls in classes]
    assert issubclass(errors.SettingsError, ValueError)


@pytest.mark.parametrize(
    "name", [name for name in PUBLIC if issubclass(getattr(turvo_session, name), Exception)]
)
def test_what_comes_out_of_a_request_is_a_request_exception(name: str) -> None:
    """Only a ``StoreError`` is not: it is between a store and the library, which goes on without it."""
    assert issubclass(getattr(turvo_session, name), requests.RequestException) is (name != "StoreError")


# Help


@pytest.mark.parametrize("module", LADDER)
def test_every_module_says_what_it_is(module: str) -> None:
    text = ast.get_docstring(MODULES[module])
    assert text and well_said(text)


@pytest.mark.parametrize("cls", DOCUMENTED, ids=lambda cls: cls.__name__)
def test_help_explains_every_class_and_every_method(cls: type) -> None:
    members = {
        cls.__name__: cls,
        **{f"{cls.__name__}.{name}": value for name, value in own_methods(cls).items()},
    }
    help = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    for name, member in members.items():
        text = inspect.cleandoc(member.__doc__ or "")
        assert text, name
        assert not text.startswith(f"{cls.__name__}("), f"{name} has the text that Python makes up"
        assert well_said(text), name
        assert text.splitlines()[0] in help, name


# What it tells


@pytest.mark.parametrize("cls", get_args(events.Event))
def test_every_event_is_a_frozen_value_and_a_line_in_the_log_with_its_fields_in_extra(
    cls: type, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, Any] = {"str": "some text", "int": 200, "float": 1.5}
    event = cls(**{field.name: values[str(field.type)] for field in fields(cls)})
    heard: list[events.Event] = []
    with caplog.at_level(logging.DEBUG, "turvo_session"):
        events.tell(heard.append, event)
    (record,) = caplog.records
    assert heard == [event]
    assert vars(record).items() >= {"event": cls.__name__, **asdict(event)}.items()
    assert "\n" not in record.getMessage()
    with pytest.raises(FrozenInstanceError):
        setattr(event, fields(cls)[0].name, "another")


def test_at_info_the_log_is_the_life_of_the_token_and_on_event_and_stats_tell_the_same(
    turvo: testing.FakeTurvo, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "turvo_session")
    heard: list[events.Event] = []
    environ = {**turvo.environ, "REDIS_URL": redis_url}
    first, second = (turvo_session.TurvoAuth.from_env(environ, on_event=heard.append) for _ in range(2))
    session = turvo_session.TurvoSession(first)
    session.get("/shipments/list")
    second.token()
    turvo.revoke()
    session.get("/shipments/list")
    first.forget()
    lives = ["LoggedIn", "Adopted", "LoggedIn", "Forgotten"]
    assert [vars(record)["event"] for record in caplog.records] == lives
    assert [name for event in heard if (name := type(event).__name__) in lives] == lives
    assert [record.getMessage()[:24] for record in caplog.records[:3:2]] == [
        "logged in (token none): ",
        "logged in (token refused",
    ]
    assert first.stats == turvo_session.Stats(
        requests=2, logins=2, adopted=0, replays=1, waits=0, store_errors=0
    )
    assert second.stats.adopted == 1
    bearers = [seen.headers["authorization"] for seen in turvo.requests if "authorization" in seen.headers]
    assert not [bearer for bearer in bearers if bearer.removeprefix("Bearer ") in caplog.text]


def test_the_pytest_example_of_the_fake_runs_and_is_ten_lines_at_most() -> None:
    example = inspect.cleandoc((testing.__doc__ or "").partition("::\n")[2])
    names = {**vars(turvo_session), "FakeTurvo": testing.FakeTurvo}
    exec(compile(example, "<docstring>", "exec"), names)  # noqa: S102 - it is ours
    names["test_my_script"]()
    assert len(example.splitlines()) <= 10


# Modules


def test_imports_only_point_down() -> None:
    assert sorted(MODULES) == sorted(LADDER)
    upward = {
        (name, imported)
        for name in LADDER
        for imported in imports(MODULES[name], inside=True)
        if LADDER.index(imported) >= LADDER.index(name)
    }
    assert upward == set()


def test_nothing_imports_the_fake_but_the_command_line() -> None:
    assert [name for name in LADDER if "testing" in imports(MODULES[name], inside=True)] == ["__main__"]
    assert imports(MODULES["testing"], inside=True) == set()


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_slow_to_import_has_its_module_and_is_imported_at_first_use(other: str) -> None:
    assert {name for name in LADDER if other in imports(MODULES[name], inside=False)} == OTHERS[other]
    assert [name for name in LADDER if other in imports(MODULES[name], inside=False, at_once=True)] == []


def test_importing_the_package_costs_little_more_than_importing_requests() -> None:
    code = f"import sys, turvo_session; print(*sorted(set(sys.modules) & {set(OTHERS) | {'asyncio'}!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_the_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_nothing_is_registered_but_the_command() -> None:
    """Above all no plugin of pytest: who wants ``FakeTurvo`` in a test imports it."""
    registered = [
        (entry.group, entry.name, entry.value) for entry in distribution("turvo_session").entry_points
    ]
    assert registered == [("console_scripts", "turvo-session", "turvo_session.__main__:main")]
    uses = [name for name in LADDER if "pytest" in imports(MODULES[name], inside=False)]
    assert uses == []


def test_the_version_is_in_one_place() -> None:
    version = turvo_session.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    files = [*PACKAGE.glob("*.py"), Path(__file__).parent.parent / "pyproject.toml"]
    assert [path.name for path in files if f'"{version}"' in path.read_text()] == ["__init__.py"]


# Helpers


def own_methods(cls: type) -> dict[str, Any]:
    """The public methods, class methods and properties that a class defines itself."""
    fields = getattr(cls, "__match_args__", ())
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and name not in fields
        and (callable(value) or isinstance(value, property | classmethod | staticmethod))
    }


def well_said(text: str) -> bool:
    """Whether the first line can stand alone, and no line is too wide for a terminal or an editor's pop-up."""
    lines = text.splitlines()
    return re.search(r"[.:]\Z|\.\.\.\Z", lines[0]) is not None and all(len(line) <= 110 for line in lines)


def imports(tree: ast.Module, *, inside: bool, at_once: bool = False) -> set[str]:
    """The modules of the package (``inside``), or the top packages of others, that a module imports.

    ``at_once``: when it is itself imported. What is only for type checkers does not count.
    """
    found: set[str] = set()
    for node in run_by(tree, at_once=at_once):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            assert "turvo_session" not in names, "imports inside of the package are relative"
            found |= set() if inside else names
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert node.level < 2
            assert not module.startswith("turvo_session"), "imports inside of the package are relative"
            if inside and node.level:
                found |= {
                    module or (each.name if each.name in MODULES else "__init__") for each in node.names
                }
            elif not inside and not node.level:
                found.add(module.partition(".")[0])
    return found


def run_by(node: ast.AST, *, at_once: bool) -> Iterator[ast.AST]:
    """All nodes below one, but for those under ``if TYPE_CHECKING``, and in functions if ``at_once``."""
    for child in ast.iter_child_nodes(node):
        never = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not never and not (later and at_once):
            yield child
            yield from run_by(child, at_once=at_once)
