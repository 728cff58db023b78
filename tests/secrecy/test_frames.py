"""No mistake in a call puts a secret into a frame that the exception passes.

Error trackers keep the variables of frames, and open them: lists, tuples, dicts, the
attributes of objects. Here every public constructor, class method and function is
called with marked secrets and with every kind of mistake, and so is the command line;
the exception, all that is chained to it, and every variable of a frame of the package
are opened in the same way.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

import turvo_session
from tests.support.leaks import frames_of_ours, opened
from tests.support.mistakes import (
    API_KEY,
    CALLS,
    CLIENT_SECRET,
    ENVIRON,
    FERNET_KEY,
    GOOD,
    KNOWN,
    MARK,
    OTHERS,
    PASSWORD,
    PROXIES,
    REDIS_PASSWORD,
    REDIS_URL,
    SEEN,
    SLOT,
    TOKEN,
    USERNAME,
    Unreadable,
    environments,
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
from turvo_session.deadline import BoundedCall
from turvo_session.login import Credentials, Grant, PasswordLogin, TlsOptions
from turvo_session.sealing import Keyring, Sealing
from turvo_session.secret import Secret
from turvo_session.settings import Settings
from turvo_session.testing import FakeTurvo


def leaks(error: BaseException) -> list[str]:
    """The secrets in an exception, in what is chained to it, and in the variables of
    our frames that it has passed."""
    found = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None:
            todo += [one.__cause__, one.__context__]
            found += [
                f"{name} in a {type(one).__name__}"
                for text in opened([one.args, vars(one), str(one)])
                for name in KNOWN.found(text)
            ]
    for frame in frames_of_ours(error):
        for variable, value in frame.f_locals.items():
            module = Path(frame.f_code.co_filename).stem
            where = f"{variable} of {module}.{frame.f_code.co_qualname}()"
            found += [
                f"{name} in {where}"
                for text in opened([value])
                for name in KNOWN.found(text)
            ]
    return found


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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked into
            raised += 1
            found |= {f"{type(error).__name__}: {leak}" for leak in leaks(error)}
    assert raised
    assert found == set()


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


@contextmanager
def interrupting_server(reads: int) -> Iterator[int]:
    """A server that answers nothing, and presses Ctrl-C when it has read so many
    requests; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = []

        def serve() -> None:
            for _ in range(reads):
                connections.append(listener.accept()[0])
                connections[-1].recv(1 << 16)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()
            signal.signal(signal.SIGINT, before)
            for connection in connections:
                connection.close()


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


def holders(turvo: FakeTurvo, redis_url: str) -> Iterator[object]:
    """What holds a secret, alone and after it was used."""
    turvo.username, turvo.password, turvo.api_key = USERNAME, PASSWORD, API_KEY
    environ = {
        **turvo.environ,
        "REDIS_URL": redis_url,
        "TURVO_TOKEN_ENCRYPTION_KEYS": FERNET_KEY,
    }
    for auth in (
        TurvoAuth.from_env(environ),
        TurvoAuth.from_env(environ),
        TurvoAuth.from_env(turvo.environ),
    ):
        request = requests.Request("GET", f"{turvo.base_url}/shipments/list").prepare()
        KNOWN.add("a token", auth.token().access_token)
        yield from (auth, TurvoSession(auth), auth.token(), auth.status(), auth.stats)
        yield from auth(request).hooks["response"]
        yield from auth._source._levels
        yield [level.store.read() for level in auth._source._levels]
        turvo.revoke()
        assert requests.get(request.url or "", auth=auth, timeout=9).ok
        yield auth
    credentials = Credentials(API_KEY, USERNAME, PASSWORD, MARK, CLIENT_SECRET)
    login = PasswordLogin(credentials, turvo.base_url, (1.0, 1.0))
    assert login.proof("00" * 16)
    yield from (credentials, login)
    yield from (
        Grant(TOKEN, 1.0, 0.0, 0.0),
        Settings(**GOOD),
        TlsOptions(proxies=PROXIES),
    )
    yield from (Keyring([FERNET_KEY]), Sealing(Keyring([FERNET_KEY]), "key"))
    call = BoundedCall(lambda: TOKEN, lambda error: True)
    assert call.finish_within(9.0)
    assert call.value == TOKEN
    yield RedisStore.from_url(REDIS_URL, "key", encryption_keys=[FERNET_KEY])


def test_what_holds_a_secret_cannot_be_opened(turvo: FakeTurvo, redis_url: str) -> None:
    """By what follows containers and the attributes of objects, however deep."""
    for thing in holders(turvo, redis_url):
        texts = [text for text in opened([thing]) if KNOWN.found(text)]
        assert not texts, (thing, KNOWN.found(texts[0]))


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
            SimpleNamespace(part=part),
        ):
            assert [text for text in opened([thing]) if KNOWN.found(text)]
    assert not [
        text for text in opened([Secret(MARK), lambda: MARK]) if KNOWN.found(text)
    ]
