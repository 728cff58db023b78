"""Whatever is called with whatever mistake: no frame that the exception has passed holds a secret.

Error trackers keep the variables of frames, and open them: lists, tuples, dicts, the attributes of
objects. Here every public constructor, class method and function is called with marked secrets and
with every kind of mistake, and so is the command line; the exception, all that is chained to it, and
every variable of a frame of the package are opened in the same way.
"""

from __future__ import annotations

import inspect
import os
import pickle
import signal
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import requests
from leaks import Secrets, frames_of_ours, invent, opened

import turvo_session
from turvo_session import (
    Change,
    MemoryStore,
    RedisStore,
    SettingsError,
    Slot,
    Snapshot,
    Token,
    TurvoAuth,
    TurvoSession,
)
from turvo_session.__main__ import main
from turvo_session.deadline import Running
from turvo_session.grant import Credentials, Grant, PasswordGrant
from turvo_session.sealing import Keyring, Sealing
from turvo_session.secret import Secret
from turvo_session.settings import Given, Settings
from turvo_session.testing import FakeTurvo

KNOWN = Secrets()
MARK = KNOWN.add("a mark", invent())
API_KEY = KNOWN.add("the API key", invent())
USERNAME = KNOWN.add("the username", invent())
PASSWORD = KNOWN.add("the password", invent())
CLIENT_SECRET = KNOWN.add("the client secret", invent())
REDIS_PASSWORD = KNOWN.add("the Redis password", invent())
RAW_KEY = KNOWN.add("an encryption key", f"{invent()}{invent()}{invent()}"[:32])
FERNET_KEY = KNOWN.add("an encryption key", urlsafe_b64encode(RAW_KEY.encode()).decode())
TOKEN = KNOWN.add("the token", invent())

ENVIRON = {
    "TURVO_BASE_URL": "http://127.0.0.1:1/v1",
    "TURVO_API_KEY": API_KEY,
    "TURVO_USERNAME": USERNAME,
    "TURVO_PASSWORD": PASSWORD,
    "TURVO_CLIENT_SECRET": CLIENT_SECRET,
    "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0",
    "TURVO_TOKEN_ENCRYPTION_KEYS": FERNET_KEY,
    "AWS_SECRET_ACCESS_KEY": MARK,
}
GOOD: dict[str, Any] = {
    "base_url": ENVIRON["TURVO_BASE_URL"],
    "api_key": API_KEY,
    "username": USERNAME,
    "password": PASSWORD,
    "client_secret": CLIENT_SECRET,
}
REDIS_URL = ENVIRON["REDIS_URL"]

WRONG_TYPES = [None, "", MARK.encode(), [MARK], {MARK: MARK}, (MARK, MARK), 7]
WRONG_URLS = [
    MARK,
    f"https://user:{MARK}@turvo.example/v1",
    f"https://turvo.example:{MARK}/v1",
    f"https://turvo.example/v1?api_key={MARK}",
    f"http://turvo.example/{MARK}",
    f"https://[{MARK}/v1",
    f"https://{MARK}.\udcff/v1",
    f"https://turvo.example/{MARK}/oauth/token",
]
WRONG_REDIS_URLS = [
    MARK,
    f"redis://:{MARK}/more@127.0.0.1/0",
    f"http://:{MARK}@127.0.0.1/0",
    f"redis://127.0.0.1:{MARK}/0",
    f"redis://:{MARK}@[::1",
    f"redis://:{MARK}@127.0.0.1/{MARK}",
    f"redis://:{MARK}@127.0.0.1/0?socket_timeout={MARK}",
    f"redis://:{MARK}@127.0.0.1/0?{MARK}={MARK}",
]
WRONG_KEYS: list[Any] = [MARK, [MARK], [FERNET_KEY, MARK], [MARK.encode()], [None], 7, {MARK: MARK}]


class Unreadable(dict[str, str]):
    """An environment that fails after some reads, as one that asks a vault may."""

    def __init__(self, reads: int) -> None:
        super().__init__(ENVIRON)
        self.reads = reads

    def get(self, key: str, default: Any = None) -> Any:
        self.reads -= 1
        if self.reads < 0:
            raise RuntimeError("the vault is sealed")
        return super().get(key, default)


def environments() -> Iterator[Any]:
    """Those with a mistake: a variable that is missing, of a wrong type or of a wrong form; no mapping at all."""
    for name in ("TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD"):
        yield {key: value for key, value in ENVIRON.items() if key != name}
    for name in {*ENVIRON, "TURVO_CLIENT_ID", "TURVO_TOKEN_KEY"} - {"AWS_SECRET_ACCESS_KEY"}:
        yield from ({**ENVIRON, name: value} for value in WRONG_TYPES)
    yield {**ENVIRON, "TURVO_API_KEY": f"{API_KEY}\n"}
    yield from ({**ENVIRON, "TURVO_BASE_URL": url} for url in WRONG_URLS)
    yield from ({**ENVIRON, "REDIS_URL": url} for url in WRONG_REDIS_URLS)
    yield {**ENVIRON, "TURVO_TOKEN_ENCRYPTION_KEYS": f"{FERNET_KEY},{MARK}"}
    yield from (
        list(ENVIRON.items()),
        tuple(ENVIRON),
        set(ENVIRON.values()),
        str(ENVIRON),
        7,
        *map(Unreadable, range(20)),
    )


def overrides() -> Iterator[dict[str, Any]]:
    """Arguments with a mistake: of a wrong type, a secret in the place of another one, one that is unknown."""
    for name in inspect.signature(TurvoAuth).parameters:
        if name != "on_event":
            yield from ({name: value} for value in WRONG_TYPES)
            yield {name: MARK if name not in ("username", "password", "client_id", "client_secret") else 7}
    yield from ({"base_url": url} for url in WRONG_URLS)
    yield {"expiry_buffer": -1.0}
    yield {"expiry_buffer": 10**400}
    yield {"token_timeout": (MARK, 1.0)}
    yield {"pasword": MARK}
    yield {"expiry_buffer": -1.0, "store": RedisStore.from_url(REDIS_URL, "key")}
    yield {"store": RedisStore.from_url(REDIS_URL, "key")}  # it seals nothing


def clients() -> Iterator[Any]:
    """Clients, and what is taken for one."""
    yield from (redis.Redis.from_url(REDIS_URL), REDIS_URL, redis.ConnectionPool.from_url(REDIS_URL), None)


class Told:
    """A client whose server answers as it likes."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def execute_command(self, *_: Any) -> Any:
        return self.reply


REPLIES: list[Any] = [
    MARK.encode(),
    [MARK.encode()],
    [MARK.encode(), MARK.encode(), None, 0, None, 0, MARK, MARK],
    [MARK.encode(), 1, 7, MARK, None, 0],
    {MARK: MARK},
]
SLOT = Slot(f'{{"access_token": "{TOKEN}"}}'.encode(), 60.0)
SEEN = Snapshot(0.0, SLOT, None, None, ("", "0-0"))
WRONG_SLOTS: list[Any] = [MARK, MARK.encode(), (MARK.encode(), 1.0), {"value": MARK}]


def auth_calls() -> Iterator[Callable[[], object]]:
    for wrong in overrides():
        yield lambda wrong=wrong: TurvoAuth(**{**GOOD, **wrong})
    for name in GOOD:
        yield lambda name=name: TurvoAuth(**{key: value for key, value in GOOD.items() if key != name})
    yield lambda: TurvoAuth(*GOOD.values())  # type: ignore[misc]


def auth_from_env_calls() -> Iterator[Callable[[], object]]:
    for environ in environments():
        yield lambda environ=environ: TurvoAuth.from_env(environ)
        yield lambda environ=environ: TurvoAuth.from_env(environ, expiry_buffer=-1.0, password=PASSWORD)
    for wrong in overrides():
        yield lambda wrong=wrong: TurvoAuth.from_env(ENVIRON, **wrong)
        yield lambda wrong=wrong: TurvoAuth.from_env({}, **wrong)


def session_calls() -> Iterator[Callable[[], object]]:
    auth = TurvoAuth.from_env(ENVIRON)
    yield lambda: TurvoSession(auth, MARK)  # type: ignore[misc]
    yield lambda: TurvoSession(auth, retries=MARK)  # type: ignore[arg-type]
    yield lambda: TurvoSession(auth, pasword=MARK)  # type: ignore[call-arg]
    yield lambda: next(TurvoSession(auth).records("/shipments/list", "shipments", {"start": "soon"}))


def session_from_env_calls() -> Iterator[Callable[[], object]]:
    for environ in environments():
        yield lambda environ=environ: TurvoSession.from_env(environ)
        yield lambda environ=environ: TurvoSession.from_env(environ, timeout=5)
    yield lambda: TurvoSession.from_env(ENVIRON, pasword=MARK)
    yield lambda: TurvoSession.from_env(ENVIRON, retries=[MARK])


def redis_store_calls() -> Iterator[Callable[[], object]]:
    for client in clients():
        yield from (
            lambda client=client, keys=keys: RedisStore(client, "key", encryption_keys=keys)
            for keys in ((), *WRONG_KEYS)
        )
        yield from (
            lambda client=client, key=key: RedisStore(client, key, encryption_keys=[FERNET_KEY])
            for key in (None, b"key", 7)
        )
    for reply in REPLIES:
        for keys in ((), (FERNET_KEY,)):
            store = RedisStore(Told(reply), "key", encryption_keys=keys)  # type: ignore[arg-type]
            yield store.read
            yield lambda store=store: store.swap(SEEN, Change(SLOT))
            yield lambda store=store: store.wait(SEEN, 1.0)
    store = RedisStore.from_url(REDIS_URL, "key")
    yield lambda: store.swap(None, Change(SLOT))  # type: ignore[arg-type]
    yield lambda: store.swap(SEEN, (SLOT, None, None))  # type: ignore[arg-type]
    yield lambda: store.swap(SEEN, Change(Slot(MARK, 1.0)))  # type: ignore[arg-type]
    yield lambda: store.swap(SEEN, Change(Slot(MARK.encode(), MARK)))  # type: ignore[arg-type]


def redis_store_from_url_calls() -> Iterator[Callable[[], object]]:
    for url in (*WRONG_REDIS_URLS, *WRONG_TYPES):
        yield lambda url=url: RedisStore.from_url(url, "key")
        yield lambda url=url: RedisStore.from_url(url, "key", encryption_keys=[FERNET_KEY])
    for keys in WRONG_KEYS:
        yield lambda keys=keys: RedisStore.from_url(REDIS_URL, "key", encryption_keys=keys)
    yield lambda: RedisStore.from_url(REDIS_URL, None, encryption_keys=[FERNET_KEY])  # type: ignore[arg-type]
    yield lambda: RedisStore.from_url(REDIS_URL, 7)  # type: ignore[arg-type]


def memory_store_calls() -> Iterator[Callable[[], object]]:
    store = MemoryStore()
    assert store.swap(store.read(), Change(SLOT, SLOT, SLOT))
    yield lambda: store.swap(None, Change(SLOT))  # type: ignore[arg-type]
    yield lambda: store.swap(store.read(), None)  # type: ignore[arg-type]
    yield lambda: store.swap(store.read(), Change(Slot(MARK.encode(), MARK)))  # type: ignore[arg-type]
    yield lambda: store.wait(None, 1.0)  # type: ignore[arg-type]
    yield MemoryStore(clock=lambda: MARK).read  # type: ignore[arg-type, return-value]
    held = MemoryStore()
    assert held.swap(held.read(), Change(SLOT))
    held._clock = lambda: None  # type: ignore[assignment, return-value]
    yield held.read


def token_calls() -> Iterator[Callable[[], object]]:
    for secret in (*WRONG_TYPES, f"{TOKEN}\udcff"):
        token = lambda secret=secret: Token(secret, 0.0, 1.0, 0.0)
        yield lambda token=token: token().fingerprint
        yield lambda token=token: repr(token())
    for times in ((None, 1.0, 0.0), (0.0, MARK, 0.0), (0.0, 1.0, [MARK])):
        yield lambda times=times: Token(TOKEN, *times)
    yield lambda: Token(0.0, TOKEN, 1.0, 0.0)  # type: ignore[arg-type]
    yield lambda: pickle.dumps(Token(TOKEN, 0.0, 1.0, 0.0))
    yield lambda: setattr(Token(TOKEN, 0.0, 1.0, 0.0), "access_token", MARK)
    yield lambda: vars(Token(TOKEN, 0.0, 1.0, 0.0))


def value_calls(cls: Callable[..., object], good: Mapping[str, Any]) -> Iterator[Callable[[], object]]:
    value = cls(**good)
    yield lambda: setattr(value, "wake", MARK)
    for name in {"value", "left", "token", "lease", "failure"} & set(good):
        yield lambda name=name: setattr(value, name, MARK)
        for wrong in WRONG_SLOTS:
            yield lambda name=name, wrong=wrong: repr(cls(**{**good, name: wrong}))
            yield lambda name=name, wrong=wrong: hash(cls(**{**good, name: wrong}))


def other_calls(cls: Callable[..., object]) -> Iterator[Callable[[], object]]:
    yield lambda: cls(*9 * [MARK])
    yield lambda: cls(MARK, unknown=MARK)


CALLS: dict[str, Iterator[Callable[[], object]]] = {
    "TurvoAuth": auth_calls(),
    "TurvoAuth.from_env": auth_from_env_calls(),
    "TurvoSession": session_calls(),
    "TurvoSession.from_env": session_from_env_calls(),
    "RedisStore": redis_store_calls(),
    "RedisStore.from_url": redis_store_from_url_calls(),
    "MemoryStore": memory_store_calls(),
    "Token": token_calls(),
    "Slot": value_calls(Slot, {"value": TOKEN.encode(), "left": 1.0}),
    "Snapshot": value_calls(
        Snapshot, {"at": 0.0, "token": SLOT, "lease": SLOT, "failure": SLOT, "version": (1, 1)}
    ),
    "Change": value_calls(Change, {"token": SLOT, "lease": SLOT, "failure": SLOT, "wake": True}),
}
OTHERS = [
    name
    for name in turvo_session.__all__
    if name not in CALLS and not issubclass(getattr(turvo_session, name), Exception)
]


def leaks(error: BaseException) -> list[str]:
    """The secrets in an exception, in what is chained to it, and in the variables of our frames that it has passed."""
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
            where = f"{variable} of {Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}()"
            found += [f"{name} in {where}" for text in opened([value]) for name in KNOWN.found(text)]
    return found


def test_the_table_is_of_all_that_is_public() -> None:
    """Every class, every class method; the one function is ``main``."""
    names = set(turvo_session.__all__)
    for name in turvo_session.__all__:
        members = vars(getattr(turvo_session, name))
        names |= {f"{name}.{member}" for member, value in members.items() if isinstance(value, classmethod)}
    errors = {
        name for name in names if "." not in name and issubclass(getattr(turvo_session, name), Exception)
    }
    assert names - errors == {*CALLS, *OTHERS}


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_no_mistake_puts_a_secret_into_a_traceback(name: str) -> None:
    """The frames of this file hold the secrets, being the caller's; those of the package hold none."""
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
        if type(environ) is dict and all(isinstance(value, str) for value in environ.values()):
            with suppress(SettingsError):
                TurvoAuth.from_env(environ)
                continue
            yield environ


def put(environ: Mapping[str, str], patch: pytest.MonkeyPatch) -> None:
    """Make ``environ`` the environment of this process."""
    for name in ENVIRON:
        patch.delenv(name, raising=False)
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
        *(["status"], ["status", "--json"], ["forget"], ["token"], ["get", "/shipments/list"], ["get"]),
        *(["get", "/x", "-p", "no pair"], ["get", "/x", "--all", "-p", "start=1"], ["no-command"]),
    ],
    ids=" ".join,
)
def test_no_command_prints_or_raises_a_secret(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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


@contextmanager
def interrupting_server(reads: int) -> Iterator[int]:
    """A server that answers nothing, and presses Ctrl-C when it has read so many requests; its port."""
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
    """Calls with a bound run in a thread of their own; where none can be started, in the caller's."""
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
        auth = TurvoAuth(**{**GOOD, "base_url": f"http://127.0.0.1:{port}"}, token_timeout=(9.0, 9.0))
        with pytest.raises(KeyboardInterrupt) as caught:
            auth.token()
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value) == []


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("call", ["read", "swap", "wait"])
def test_an_interrupted_call_of_redis_shows_no_token_and_no_password(call: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {"read": (), "swap": (SEEN, Change(SLOT)), "wait": (SEEN, 9.0)}
    with interrupting_server(1) as port:
        store = RedisStore.from_url(f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0", "key")
        with pytest.raises(KeyboardInterrupt) as caught:
            getattr(store, call)(*arguments[call])
    assert list(frames_of_ours(caught.value))
    assert leaks(caught.value) == []


def holders(turvo: FakeTurvo, redis_url: str) -> Iterator[object]:
    """What holds a secret, alone and after it was used."""
    turvo.username, turvo.password, turvo.api_key = USERNAME, PASSWORD, API_KEY
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_ENCRYPTION_KEYS": FERNET_KEY}
    for auth in (TurvoAuth.from_env(environ), TurvoAuth.from_env(environ), TurvoAuth.from_env(turvo.environ)):
        request = requests.Request("GET", f"{turvo.base_url}/shipments/list").prepare()
        KNOWN.add("a token", auth.token().access_token)
        yield from (auth, TurvoSession(auth), auth.token(), auth.status(), auth.stats)
        yield from auth(request).hooks["response"]
        yield from auth._source._levels
        yield [level.read() for level in auth._source._levels]
        turvo.revoke()
        assert requests.get(request.url or "", auth=auth, timeout=9).ok
        yield auth
    credentials = Credentials(API_KEY, USERNAME, PASSWORD, MARK, CLIENT_SECRET)
    assert credentials.match(credentials.proof())
    yield from (credentials, PasswordGrant(credentials, turvo.base_url, (1.0, 1.0)))
    yield from (Grant(TOKEN, 1.0, 0.0, 0.0), Settings(**GOOD), Given(dict(GOOD), []))
    yield from (Keyring([FERNET_KEY]), Sealing(Keyring([FERNET_KEY]), "key"))
    running = Running(lambda: TOKEN)
    assert running.result(9.0) == TOKEN
    yield running
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

    for part in (MARK, MARK.encode(), bytearray(MARK.encode()), [MARK], (1, {MARK}), {1: MARK}, {MARK: 1}):
        for thing in (part, Slotted(part), [Slotted({"deep": Slotted(part)})], SimpleNamespace(part=part)):
            assert [text for text in opened([thing]) if KNOWN.found(text)]
    assert not [text for text in opened([Secret(MARK), lambda: MARK]) if KNOWN.found(text)]
