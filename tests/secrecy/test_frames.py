"""No mistake in a call puts a secret into a frame that the exception passes.

Error trackers keep the variables of frames, and open them: lists, tuples, dicts, the
attributes of objects. Here every public constructor, class method and function is
called with marked secrets and with every kind of mistake, and so is the command line;
the exception, all that is chained to it, and every variable of a frame of the package
are opened in the same way.
"""

from __future__ import annotations

import copy
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
import redis

import turvo_session
from tests.support.leaks import frames_of_ours, opened, reachable
from tests.support.mistakes import (
    CALLS,
    ENVIRON,
    GOOD,
    HIDDEN,
    KNOWN,
    MARK,
    OTHERS,
    REDIS_PASSWORD,
    SEEN,
    SLOT,
    Unreadable,
    environments,
    holders,
    interrupting_server,
    leaks,
    other_calls,
)
from turvo_session import (
    Change,
    RedisStore,
    SettingsError,
    TurvoAuth,
    TurvoSession,
)
from turvo_session.__main__ import main
from turvo_session.secret import Secret
from turvo_session.testing import FakeTurvo


def test_the_table_is_of_all_that_is_public() -> None:
    """Every class, every class method; the one function is ``main``."""
    names = set(turvo_session.__all__)
    for name in turvo_session.__all__:
        members = vars(getattr(turvo_session, name))
        names |= {
            f"{name}.{member}"
            for member, value in members.items()
            if isinstance(value, classmethod) and not member.startswith("__")
        }
    errors = {
        name
        for name in names
        if "." not in name and issubclass(getattr(turvo_session, name), Exception)
    }
    assert names - errors == {*CALLS, *OTHERS}


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_no_mistake_puts_a_secret_into_a_traceback(name: str) -> None:
    """The frames of this file hold the secrets, being the caller's; those of the
    package hold none."""
    calls = list(CALLS.get(name) or other_calls(getattr(turvo_session, name)))
    raised, found = 0, set()
    for call in calls:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C is looked into as well
            raised += 1
            found |= {f"{type(error).__name__}: {leak}" for leak in leaks(error)}
    assert raised
    assert found == set()


def test_what_holds_a_secret_cannot_be_opened(turvo: FakeTurvo, redis_url: str) -> None:
    """By what follows containers and the attributes of objects, however deep."""
    for thing in holders(turvo, redis_url):
        texts = [text for text in opened([thing]) if KNOWN.found(text)]
        assert not texts, (thing, KNOWN.found(texts[0]))


def test_what_holds_a_secret_is_neither_copied_nor_pickled(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """Nor is what it holds. An answer pickles without the hook of its request."""
    met = set()
    for thing in reachable([*holders(turvo, redis_url)]):
        name = type(thing).__name__
        if name in HIDDEN:
            met.add(name)
            assert copy.copy(thing) is thing
            assert copy.deepcopy(thing) is thing
            for package in (pickle, cloudpickle) if name != "Attachment" else ():
                with pytest.raises(TypeError, match=f"^a {name} holds"):
                    package.dumps(thing)
    assert met == HIDDEN


def mistaken() -> Iterator[dict[str, str]]:
    """The environments with a mistake that a process can have."""
    for environ in environments():
        texts = isinstance(environ, dict) and all(
            type(v) is str for v in environ.values()
        )
        if texts and not isinstance(environ, Unreadable):
            with suppress(SettingsError):
                TurvoAuth.from_env(environ)
                continue
            yield environ


def put(environ: Mapping[str, str], patch: pytest.MonkeyPatch) -> None:
    """Make ``environ`` the environment of this process."""
    for name in list(ENVIRON):
        patch.delenv(name, raising=False)
        patch.delenv(f"{name}_FILE", raising=False)
    for name, value in environ.items():
        patch.setenv(name, value)


@pytest.mark.parametrize("cls", [TurvoAuth, TurvoSession])
def test_no_mistake_in_the_environment_of_the_process_does_either(
    cls: type[TurvoAuth | TurvoSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list(mistaken())) > 15
    for environ in mistaken():
        with monkeypatch.context() as patch:
            put(environ, patch)
            with pytest.raises(SettingsError) as caught:
                cls.from_env()
        assert leaks(caught.value) == []


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["login"],
        ["login", "--force"],
        ["forget"],
        ["token"],
        ["get", "/shipments/list"],
        ["get"],
        ["get", "/x", "-p", "no pair"],
        ["get", "/x", "--all", "-p", "start=1"],
        ["no-command"],
    ],
    ids=" ".join,
)
def test_no_command_prints_or_raises_a_secret(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever is wrong with the environment, or with the command line."""
    for environ in mistaken():
        with monkeypatch.context() as patch:
            put(environ, patch)
            try:
                code = main(["--verbose", *command])
            except SystemExit as error:  # of argparse
                assert leaks(error) == []
                code = error.code  # type: ignore[assignment]
        assert code == 2
        assert KNOWN.found("".join(capsys.readouterr())) == {}


def test_a_time_limit_that_ends_while_settings_are_read_comes_out_unchanged() -> None:
    class Vault(dict[str, str]):
        def get(self, *_: object) -> None:
            signal.raise_signal(signal.SIGUSR1)

    def end(*_: object) -> None:
        raise TimeoutError("the job took too long")

    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(TimeoutError, match="the job"):
            TurvoAuth.from_env(Vault())
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture(params=["in a thread", "without threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls with a bound run in a thread of their own; where none can be started, in
    the caller's."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "turvo_session":
            raise RuntimeError("can't start new thread")
        start(thread)

    if request.param == "without threads":
        monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("threads")
def test_an_interrupted_login_shows_no_password() -> None:
    with interrupting_server(1) as port:
        auth = TurvoAuth(
            **{**GOOD, "base_url": f"http://127.0.0.1:{port}"}, token_timeout=(9.0, 9.0)
        )
        with pytest.raises(KeyboardInterrupt) as caught:
            auth.token()
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value) == []


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("call", ["read", "swap", "wait"])
def test_an_interrupted_call_of_redis_shows_no_token_and_no_password(call: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "read": (),
        "swap": (SEEN, Change(SLOT)),
        "wait": (SEEN, 9.0),
    }
    with interrupting_server(1) as port:
        store = RedisStore.from_url(
            f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0", "key"
        )
        with pytest.raises(KeyboardInterrupt) as caught:
            getattr(store, call)(*arguments[call])
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value) == []


def test_the_search_finds_what_can_be_opened() -> None:
    """A search that finds nothing proves nothing."""

    class Slotted:
        __slots__ = ("part",)

        def __init__(self, part: object) -> None:
            self.part = part

    for part in (
        MARK,
        MARK.encode(),
        bytearray(MARK.encode()),
        [MARK],
        (1, {MARK}),
        {1: MARK},
        {MARK: 1},
    ):
        for thing in (
            part,
            Slotted(part),
            [Slotted({"deep": Slotted(part)})],
            redis.ResponseError(part),
            SimpleNamespace(part=part),
        ):
            assert [text for text in opened([thing]) if KNOWN.found(text)]
    assert not [
        text for text in opened([Secret(MARK), lambda: MARK]) if KNOWN.found(text)
    ]
