"""What looks into the library finds no secret.

That is ``help()``, picklers by value, and tracers of Redis commands.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
import redis

from tests.support.leaks import PACKAGE, Secrets, invent
from turvo_session import RedisStore, TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo

RENDER = """
import importlib, inspect, json, pkgutil, pydoc
import turvo_session

names = [module.name for module in pkgutil.iter_modules(turvo_session.__path__)]
modules = [importlib.import_module(f"turvo_session.{name}") for name in names]
things = [turvo_session, *modules]
for module in modules:
    own = [
        thing
        for thing in vars(module).values()
        if getattr(thing, "__module__", "") == module.__name__
    ]
    things += own
    for cls in filter(inspect.isclass, own):
        for name, member in vars(cls).items():
            if callable(member) or isinstance(member, classmethod):
                things += [getattr(member, "__func__", member), getattr(cls, name)]
shown = []
for thing in things:
    if inspect.ismodule(thing) or inspect.isclass(thing) or inspect.isroutine(thing):
        shown.append(pydoc.render_doc(thing, renderer=pydoc.plaintext))
    for name in ("__defaults__", "__kwdefaults__", "__annotations__"):
        shown.append(repr(getattr(thing, name, None)))
    try:
        shown.append(str(inspect.signature(thing)))
    except (TypeError, ValueError):
        pass
assert len(things) > 200, len(things)
print("\\n".join(shown))
"""


def marked() -> tuple[Secrets, dict[str, str]]:
    """An environment whose secrets can be told from everything else, one of another
    program's among them."""
    secrets = Secrets()
    names = {
        "TURVO_API_KEY": "the API key",
        "TURVO_USERNAME": "the username",
        "TURVO_PASSWORD": "the password",
        "TURVO_CLIENT_SECRET": "the client secret",
        "AWS_SECRET_ACCESS_KEY": "another program's secret",
    }
    environ = {
        variable: secrets.add(name, invent()) for variable, name in names.items()
    }
    environ["REDIS_URL"] = (
        f"redis://:{secrets.add('the Redis password', invent())}@127.0.0.1:1/0"
    )
    return secrets, environ


def test_help_and_signatures_hold_nothing_of_the_environment() -> None:
    """Of any module, class or function: not as a default value either."""
    secrets, environ = marked()
    done = subprocess.run(
        [sys.executable, "-c", RENDER],
        env={**os.environ, **environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "from_env" in done.stdout
    assert secrets.found(done.stdout) == {}


@pytest.mark.parametrize("cls", [TurvoAuth, TurvoSession])
def test_the_environment_is_read_at_the_call(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was at the import; ``None`` means the same as nothing."""
    with monkeypatch.context() as patch, FakeTurvo() as turvo:
        patch.setattr(os, "environ", {**os.environ, **turvo.environ})
        for made in (cls.from_env(), cls.from_env(None)):
            assert getattr(made, "auth", made).base_url == turvo.base_url
            assert (
                pickle.loads(pickle.dumps(getattr(made, "auth", made))).base_url
                == turvo.base_url
            )


def test_a_pickle_names_a_function_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Picklers by value serialise a method with its default values and its class."""
    for name, value in marked()[1].items():
        monkeypatch.setenv(name, value)

    make, arguments = TurvoAuth.from_env().__reduce__()

    assert inspect.isfunction(make)
    assert getattr(sys.modules[make.__module__], make.__qualname__) is make
    assert (make.__defaults__, make.__kwdefaults__, make.__closure__) == (
        None,
        None,
        None,
    )
    assert arguments == (TurvoAuth,)


class Mine(TurvoAuth):
    """An auth of the caller's own kind."""


@pytest.mark.parametrize("package", ["pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize("cls", [TurvoAuth, Mine])
def test_a_pickle_holds_nothing_of_the_senders_environment(
    cls: type[TurvoAuth], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with the auth, what holds it, or a function that refers to it; what reads it
    has its own."""
    pickler = pytest.importorskip(package)
    secrets, environ = marked()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    auth = cls.from_env()
    things: list[object] = [auth, {"auth": auth}, TurvoSession(auth)]
    # dill reads an attribute of code that Python 3.15 no longer has.
    takes_functions = package == "cloudpickle" or (
        package == "dill" and sys.version_info < (3, 15)
    )
    if takes_functions:
        things += [lambda: auth, cls.from_env]

    for thing in things:
        assert secrets.found(pickler.dumps(thing)) == {}
    pickled = pickler.dumps(auth)
    monkeypatch.setenv("TURVO_BASE_URL", "https://sandbox.example/v1")
    other = pickler.loads(pickled)
    assert type(other) is cls
    assert other.base_url == "https://sandbox.example/v1"


class Traced(redis.Redis):
    """Puts commands into ``spans`` as tracers do: text and bytes as they are, of all
    else the ``str``."""

    spans: list[str] = []  # noqa: RUF012 - of all tests together

    def execute_command(self, *args: Any, **options: Any) -> Any:
        for arg in args:
            self.spans.append(
                arg.decode(errors="replace")
                if isinstance(arg, bytes | bytearray)
                else str(arg)
            )
        return super().execute_command(*args, **options)


@pytest.mark.parametrize("keys", [0, 1], ids=["plain", "sealed"])
def test_a_tracer_of_redis_commands_sees_no_token(
    keys: int, turvo: FakeTurvo, redis_url: str
) -> None:
    """Nor what it is sealed to, which whoever has the key could open."""
    from cryptography.fernet import Fernet

    ring = [Fernet.generate_key().decode()] * keys
    with Traced.from_url(redis_url) as client:
        store = RedisStore(client, "turvo:traced", encryption_keys=ring)
        auth = TurvoAuth.from_env(turvo.environ, store=store)
        token = auth.token()
        stored = client.get("turvo:traced")
        auth.login()

    assert turvo.logins == 2
    assert "EVAL" in Traced.spans
    spans = "\n".join(Traced.spans)
    assert token.access_token not in spans
    assert stored.decode() not in spans
    assert keys or json.loads(stored)["access_token"] == token.access_token
