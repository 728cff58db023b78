"""Every public call with every kind of mistake, with secrets that are marked."""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import signal
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import patch

import redis
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

import turvo_session
from tests.support.leaks import Secrets, frames_of_ours, invent, opened
from turvo_session import (
    Change,
    MemoryStore,
    RedisStore,
    Slot,
    Snapshot,
    Token,
    TurvoAuth,
    TurvoAuthError,
    TurvoSession,
)
from turvo_session.deadline import BoundedCall
from turvo_session.login import (
    Credentials,
    Grant,
    PasswordLogin,
    TlsOptions,
    _TokenRequest,
)
from turvo_session.renewal import Adopt
from turvo_session.sealing import Keyring, Sealing
from turvo_session.secret import Secret
from turvo_session.settings import (
    FILE_VARIABLES,
    PasswordFile,
    Settings,
    _Content,
    _Variables,
)
from turvo_session.testing import FakeTurvo
from turvo_session.tokens import dump
from turvo_session.transport import LoginAdapter

KNOWN = Secrets()
MARK = KNOWN.add("a mark", invent())
API_KEY = KNOWN.add("the API key", invent())
USERNAME = KNOWN.add("the username", invent())
PASSWORD = KNOWN.add("the password", invent())
CLIENT_SECRET = KNOWN.add("the client secret", invent())
REDIS_PASSWORD = KNOWN.add("the Redis password", invent())
RAW_KEY = KNOWN.add("an encryption key", f"{invent()}{invent()}{invent()}"[:32])
FERNET_KEY = KNOWN.add(
    "an encryption key", urlsafe_b64encode(RAW_KEY.encode()).decode()
)
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

TEXTS = ("username", "password", "client_id", "client_secret")
PROXIES = {"https": f"http://user:{MARK}@127.0.0.1:1"}
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
WRONG_KEYS: list[Any] = [
    MARK,
    [MARK],
    [FERNET_KEY, MARK],
    [MARK.encode()],
    [None],
    7,
    {MARK: MARK},
]


class PasswordOf:
    """A callable password that returns something else, or raises with a secret."""

    def __init__(self, answer: Any) -> None:
        self.reveal = Secret(answer).reveal

    def __call__(self) -> Any:
        answer = self.reveal()
        if answer is ValueError:
            raise ValueError(MARK)
        return answer


class Unreadable(dict[str, str]):
    """An environment that fails after some reads, as one that asks a vault may."""

    def __init__(self, reads: int, error: type[BaseException] = RuntimeError) -> None:
        super().__init__(ENVIRON)
        self.reads = reads
        self.error = error

    def get(self, key: str, default: Any = None) -> Any:
        self.reads -= 1
        if self.reads < 0:
            raise self.error("the vault is sealed")
        return super().get(key, default)


def environments() -> Iterator[Any]:
    """Those with a mistake: a variable that is missing, of a wrong type or of a wrong
    form; no mapping at all."""
    for name in ("TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD"):
        yield {key: value for key, value in ENVIRON.items() if key != name}
    for name in {*ENVIRON, "TURVO_CLIENT_ID", "TURVO_TOKEN_KEY"} - {
        "AWS_SECRET_ACCESS_KEY"
    }:
        yield from ({**ENVIRON, name: value} for value in WRONG_TYPES)
    yield {**ENVIRON, "TURVO_API_KEY": f"{API_KEY}\n"}
    yield from ({**ENVIRON, "TURVO_BASE_URL": url} for url in WRONG_URLS)
    yield from ({**ENVIRON, "REDIS_URL": url} for url in WRONG_REDIS_URLS)
    yield {**ENVIRON, "TURVO_TOKEN_ENCRYPTION_KEYS": f"{FERNET_KEY},{MARK}"}
    for name in FILE_VARIABLES:
        without = {key: value for key, value in ENVIRON.items() if key != name}
        for path in (f"/{MARK}", f"{MARK}\n", __file__, *WRONG_TYPES[2:]):
            yield {**without, f"{name}_FILE": path}
        yield {**ENVIRON, f"{name}_FILE": __file__}
    yield from (
        list(ENVIRON.items()),
        tuple(ENVIRON),
        set(ENVIRON.values()),
        str(ENVIRON),
        7,
        *map(Unreadable, range(20)),
        *(Unreadable(reads, KeyboardInterrupt) for reads in range(20)),
    )


def overrides() -> Iterator[dict[str, Any]]:
    """Arguments with a mistake: of a wrong type, a secret in the place of another one,
    one that is unknown."""
    for name in inspect.signature(TurvoAuth).parameters:
        yield from ({name: value} for value in WRONG_TYPES)
        yield {name: 7 if name in TEXTS else MARK}
    yield from ({"base_url": url} for url in WRONG_URLS)
    yield {"expiry_buffer": -1.0}
    yield {"expiry_buffer": 10**400}
    yield {"token_timeout": (MARK, 1.0)}
    yield from ({"password": PasswordOf(wrong)} for wrong in (*WRONG_TYPES, ValueError))
    yield {"verify": f"/{MARK}"}
    yield {"cert": (f"/{MARK}", MARK)}
    yield {"proxies": {"https": MARK, MARK: 7}}
    yield {"proxies": PROXIES, "expiry_buffer": -1.0}
    yield {"pasword": MARK}
    yield {"expiry_buffer": -1.0, "store": RedisStore.from_url(REDIS_URL, "key")}
    yield {"store": RedisStore.from_url(REDIS_URL, "key")}  # it seals nothing


def clients() -> Iterator[Any]:
    """Clients, and what is taken for one."""
    yield from (
        redis.Redis.from_url(REDIS_URL),
        REDIS_URL,
        redis.ConnectionPool.from_url(REDIS_URL),
        None,
    )


class Told:
    """A client whose server answers as it likes."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def execute_command(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    eval = xread = execute_command


REPLIES: list[Any] = [
    MARK.encode(),
    [MARK.encode()],
    [MARK.encode(), MARK.encode(), None, 0, None, 0, MARK, MARK],
    [MARK.encode(), 1, 7, MARK, None, 0],
    redis.ResponseError(f"unknown command, with args beginning with: {TOKEN}"),
    {MARK: MARK},
]
SLOT = Slot(f'{{"access_token": "{TOKEN}"}}'.encode(), 60.0)
SEEN = Snapshot(
    0.0, SLOT, None, None, Secret(SimpleNamespace(values=(b"",) * 3, wake_id=b"0-0"))
)
WRONG_SLOTS: list[Any] = [MARK, MARK.encode(), (MARK.encode(), 1.0), {"value": MARK}]


def auth_calls() -> Iterator[Callable[[], object]]:
    for wrong in overrides():
        yield lambda wrong=wrong: TurvoAuth(**{**GOOD, **wrong})
    for name in GOOD:
        yield lambda name=name: TurvoAuth(
            **{key: value for key, value in GOOD.items() if key != name}
        )
    yield lambda: TurvoAuth(*GOOD.values())  # type: ignore[misc]
    yield lambda: TurvoAuth(MARK, **GOOD)  # type: ignore[misc]
    for wrong in overrides():
        if callable(wrong.get("password")):
            auth = TurvoAuth(**{**GOOD, **wrong})
            yield auth.token
            yield auth.login
    for tls in ({"proxies": PROXIES}, {"verify": __file__}, {"cert": __file__}):
        auth = TurvoAuth(**{**GOOD, "base_url": "https://127.0.0.1:1"}, **tls)
        yield partial(log_in_without_pauses, auth)
    yield interrupted_proof
    yield interrupted_answer
    yield from calls_without_a_token()
    for session in (requests.Session(), TurvoSession(TurvoAuth(**GOOD))):
        yield from interrupted_requests(session)


def log_in_without_pauses(auth: TurvoAuth) -> None:
    """Try to log in, several times at once."""
    with patch("turvo_session.login.FIRST_PAUSE", 0.0):
        auth.login(force=True)


def interrupted_proof() -> None:
    """Hash the credentials, until somebody presses Ctrl-C."""
    credentials = Credentials(API_KEY, USERNAME, PASSWORD, MARK, CLIENT_SECRET)
    login = PasswordLogin(credentials, GOOD["base_url"], (1.0, 1.0))
    with patch.object(hashlib, "scrypt", side_effect=KeyboardInterrupt):
        login.proof("00" * 16)


def interrupted_answer() -> None:
    """Read the answer to a login, until somebody presses Ctrl-C."""
    sent = requests.Request("POST", GOOD["base_url"], json={"password": PASSWORD})
    answer = HTTPResponse(Interrupting(), status=200, preload_content=False)
    with closing(LoginAdapter(9.0)) as adapter:
        adapter.build_response(sent.prepare(), answer)


def calls_without_a_token() -> Iterator[Callable[[], object]]:
    """Of an auth that cannot log in, with a request that carried a token before."""
    auth = TurvoAuth(**{**GOOD, "password": PasswordOf(ValueError)})
    carrying = requests.Request("GET", f"{GOOD['base_url']}/x").prepare()
    TurvoAuth(**GOOD, store=holding())(carrying)
    yield lambda: auth(carrying)
    yield lambda: auth.put_on_directly(carrying)
    yield lambda: carrying.prepare_auth(auth)


class Interrupting:
    """A body, the second part of which never comes."""

    def __init__(self) -> None:
        self.parts = [TOKEN.encode()]
        self.headers: dict[str, str] = {}

    def read(self, *_: object) -> bytes:
        if not self.parts:
            raise KeyboardInterrupt
        return self.parts.pop()

    read1 = read

    def close(self) -> None:
        """Do nothing."""


class Answering(BaseAdapter):
    """Gives one answer after the other: statuses, and errors that it raises.

    The body repeats the token, as Turvo's may.
    """

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = [*answers]

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        answer = self.answers.pop(0)
        if not isinstance(answer, int | HTTPResponse):
            raise answer
        response = requests.Response()
        response.request, response.url = request, request.url or ""
        response.connection = self  # type: ignore[attr-defined]
        response.raw = answer
        response.status_code = getattr(answer, "status", answer)
        if isinstance(answer, int):
            response._content = f'{{"Status": "{TOKEN}"}}'.encode()
            response._content_consumed = True  # type: ignore[attr-defined]
            response.raw = HTTPResponse()
        return response

    def close(self) -> None:
        """Do nothing."""


class Interruptible(MemoryStore):
    """A store that can be used until ``is_interrupted``."""

    is_interrupted = False

    def read(self) -> Snapshot:
        if self.is_interrupted:
            raise KeyboardInterrupt
        return super().read()


def holding() -> Interruptible:
    """Return a store that holds a token."""
    store = Interruptible()
    assert store.swap(store.read(), Change(stored(TOKEN)))
    return store


def stored(secret: str) -> Slot:
    """Return a token as a store holds it."""
    now = time.monotonic()
    return Slot(dump(Token(secret, now, 3600.0, 300.0), now), 3600.0)


def interrupted_requests(session: requests.Session) -> Iterator[Callable[[], object]]:
    """Requests that end in the middle: the login, the replay, the answer, the store."""
    cut_off = HTTPResponse(Interrupting(), status=401, preload_content=False)
    for answers in (
        (KeyboardInterrupt(),),
        (requests.ConnectionError("the network is down"),),
        (200, 401, KeyboardInterrupt()),
        (200, 401, requests.ConnectionError("the network is down")),
        (200, 401, 401),  # and no login
        (cut_off,),
    ):
        yield lambda answers=answers: travel(session, answers)
    yield lambda: travel(session, (200,), is_interrupted=True)


def travel(
    session: requests.Session, answers: tuple[Any, ...], *, is_interrupted: bool = False
) -> NoReturn:
    """Send requests until one of them raises."""
    store = holding()
    wrong = {**GOOD, "password": PasswordOf(ValueError), "proxies": PROXIES}
    if type(session) is requests.Session:
        session.proxies = {"all": f"http://user:{MARK}@127.0.0.1:1"}
    auth = session.auth = TurvoAuth(**wrong, store=store)
    session.mount("http://", Answering(*answers))
    auth._attach_token(Adopt(auth.token(), doubted=True))
    assert store.swap(store.read(), Change(stored(MARK)))  # for the first replay
    store.is_interrupted = is_interrupted
    while True:
        session.get(f"{auth.base_url}/x")


def auth_from_env_calls() -> Iterator[Callable[[], object]]:
    for environ in environments():
        yield lambda environ=environ: TurvoAuth.from_env(environ)
        yield lambda environ=environ: TurvoAuth.from_env(
            environ, expiry_buffer=-1.0, password=PASSWORD
        )
    for wrong in overrides():
        yield lambda wrong=wrong: TurvoAuth.from_env(ENVIRON, **wrong)
        yield lambda wrong=wrong: TurvoAuth.from_env({}, **wrong)


def session_calls() -> Iterator[Callable[[], object]]:
    auth = TurvoAuth.from_env(ENVIRON)
    for wrong in (*WRONG_TYPES, MARK, GOOD):
        yield lambda wrong=wrong: TurvoSession(wrong)
    yield lambda: TurvoSession(auth, MARK)  # type: ignore[misc]
    yield lambda: TurvoSession(auth, retries=MARK)  # type: ignore[arg-type]
    yield lambda: TurvoSession(auth, pasword=MARK)  # type: ignore[call-arg]
    session = TurvoSession(auth)
    query = {"start": "soon"}
    yield lambda: next(session.records("/shipments/list", "shipments", query))
    yield lambda: session.details("/shipments")
    yield lambda: session.post("/shipments", json=[1])
    told = TurvoSession(TurvoAuth(**GOOD, store=holding()))
    told.mount("http://", Answering(200, 500))
    for _ in told.get_adapter("http://").answers:
        yield lambda: told.details("/shipments")


def session_from_env_calls() -> Iterator[Callable[[], object]]:
    for environ in environments():
        yield lambda environ=environ: TurvoSession.from_env(environ)
        yield lambda environ=environ: TurvoSession.from_env(environ, timeout=5)
    yield lambda: TurvoSession.from_env(ENVIRON, pasword=MARK)
    yield lambda: TurvoSession.from_env(ENVIRON, retries=[MARK])


def redis_store_calls() -> Iterator[Callable[[], object]]:
    for client in clients():
        yield from (
            lambda client=client, keys=keys: RedisStore(
                client, "key", encryption_keys=keys
            )
            for keys in ((), *WRONG_KEYS)
        )
        yield from (
            lambda client=client, key=key: RedisStore(
                client, key, encryption_keys=[FERNET_KEY]
            )
            for key in (None, b"key", 7)
        )
    for reply in REPLIES:
        for keys in ((), (FERNET_KEY,)):
            client: Any = Told(reply)
            store = RedisStore(client, "key", encryption_keys=keys)
            yield store.read
            yield lambda store=store: store.swap(SEEN, Change(SLOT))
            yield lambda store=store: store.wait(SEEN, 1.0)
    store = RedisStore.from_url(REDIS_URL, "key")
    yield lambda: store.swap(None, Change(SLOT))  # type: ignore[arg-type]
    yield lambda: store.swap(SEEN, (SLOT, None, None))  # type: ignore[arg-type]
    yield lambda: store.swap(SEEN, Change(Slot(MARK, 1.0)))  # type: ignore[arg-type]


def redis_store_from_url_calls() -> Iterator[Callable[[], object]]:
    for url in (*WRONG_REDIS_URLS, *WRONG_TYPES):
        yield lambda url=url: RedisStore.from_url(url, "key")
        yield lambda url=url: RedisStore.from_url(
            url, "key", encryption_keys=[FERNET_KEY]
        )
    for keys in WRONG_KEYS:
        yield lambda keys=keys: RedisStore.from_url(
            REDIS_URL, "key", encryption_keys=keys
        )
    wrong_key: Any = None
    yield lambda: RedisStore.from_url(REDIS_URL, wrong_key, encryption_keys=[MARK])
    yield lambda: RedisStore.from_url(REDIS_URL, 7)  # type: ignore[arg-type]


def memory_store_calls() -> Iterator[Callable[[], object]]:
    store = MemoryStore()
    assert store.swap(store.read(), Change(SLOT, SLOT, SLOT))
    yield lambda: store.swap(None, Change(SLOT))  # type: ignore[arg-type]
    yield lambda: store.swap(store.read(), None)  # type: ignore[arg-type]
    yield lambda: store.wait(None, 1.0)  # type: ignore[arg-type]
    yield MemoryStore(clock=lambda: MARK).read  # type: ignore[arg-type, return-value]
    held = MemoryStore()
    assert held.swap(held.read(), Change(SLOT))
    held._clock = lambda: None  # type: ignore[assignment, return-value]
    yield held.read


def token_calls() -> Iterator[Callable[[], object]]:
    for secret in (*WRONG_TYPES, f"{TOKEN}\udcff"):
        yield lambda secret=secret: repr(Token(secret, 0.0, 1.0, 0.0))
    for times in ((None, 1.0, 0.0), (0.0, MARK, 0.0), (0.0, 1.0, [MARK])):
        yield lambda times=times: Token(TOKEN, *times)
    yield lambda: Token(0.0, TOKEN, 1.0, 0.0)  # type: ignore[arg-type]
    yield lambda: pickle.dumps(Token(TOKEN, 0.0, 1.0, 0.0))
    yield lambda: setattr(Token(TOKEN, 0.0, 1.0, 0.0), "access_token", MARK)
    yield lambda: vars(Token(TOKEN, 0.0, 1.0, 0.0))


def value_calls(
    cls: Callable[..., object], good: Mapping[str, Any]
) -> Iterator[Callable[[], object]]:
    yield from other_calls(cls)
    for name in {"value", "left", "token", "lease", "failure"} & set(good):
        for wrong in WRONG_SLOTS:
            yield lambda name=name, wrong=wrong: repr(cls(**{**good, name: wrong}))


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
        Snapshot,
        {"at": 0.0, "token": SLOT, "lease": SLOT, "failure": SLOT, "version": (1, 1)},
    ),
    "Change": value_calls(
        Change, {"token": SLOT, "lease": SLOT, "failure": SLOT, "wake": True}
    ),
}
OTHERS = [
    name
    for name in turvo_session.__all__
    if name not in CALLS and not issubclass(getattr(turvo_session, name), Exception)
]


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
                for text in opened([one.args, _own_attributes(one), str(one)])
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


def _own_attributes(error: BaseException) -> dict[str, object]:
    """Return the attributes of an exception, without the request of ``requests``.

    Every exception of ``requests`` holds that, and the README says so.
    """
    return {
        name: value
        for name, value in vars(error).items()
        if isinstance(error, TurvoAuthError) or name not in ("request", "response")
    }


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
        TurvoAuth.from_env({**turvo.environ, "REDIS_URL": redis_url}),
    ):
        request = requests.Request("GET", f"{turvo.base_url}/shipments/list").prepare()
        KNOWN.add("a token", auth.token().access_token)
        yield from (auth, TurvoSession(auth), auth.token(), auth.status(), auth.stats)
        yield from auth(request).hooks["response"]
        yield from auth._source._levels
        yield [level.store.read() for level in auth._source._levels]
        turvo.revoke()
        answer = requests.get(request.url or "", auth=auth, timeout=9)
        assert (answer.status_code, len(answer.history)) == (200, 1)
        yield from (auth, answer.history)
    yield Credentials(API_KEY, USERNAME, PASSWORD, MARK, CLIENT_SECRET)
    credentials = Credentials(API_KEY, USERNAME, PASSWORD, "publicapi", "secret")
    login = PasswordLogin(credentials, f"{turvo.base_url}/oauth/token", (1.0, 1.0))
    assert login.proof("00" * 16)
    request = _TokenRequest(login, 9.0)
    grant = request.outcome(Secret(PASSWORD))
    assert isinstance(grant, Grant), grant
    KNOWN.add("a token", grant.access_token)
    yield from (credentials, login, request, grant)
    yield from (_Variables(ENVIRON), _Content(MARK))
    yield PasswordFile("TURVO_PASSWORD_FILE", __file__)
    yield from (SLOT, SEEN, Change(SLOT), BoundedCall(str, bool))
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


HIDDEN = {
    *("Attachment", "BoundedCall", "Change", "Credentials", "Grant", "Keyring"),
    *("PasswordFile", "PasswordLogin", "RedisStore", "Sealing", "Secret", "Settings"),
    *("SharedClient", "Slot", "Snapshot", "TlsOptions", "Token"),
    *("_Content", "_TokenRequest", "_Variables"),
}
"""The classes of which there are neither copies nor pickles."""
