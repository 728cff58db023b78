"""Every public call with every kind of mistake, with secrets that are marked."""

from __future__ import annotations

import inspect
import pickle
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import redis

import turvo_session
from tests.support.leaks import Secrets, invent
from turvo_session import (
    Change,
    MemoryStore,
    RedisStore,
    Slot,
    Snapshot,
    Token,
    TurvoAuth,
    TurvoSession,
)
from turvo_session.secret import Secret
from turvo_session.settings import FILE_VARIABLES

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

    def __init__(self, reads: int) -> None:
        super().__init__(ENVIRON)
        self.reads = reads

    def get(self, key: str, default: Any = None) -> Any:
        self.reads -= 1
        if self.reads < 0:
            raise RuntimeError("the vault is sealed")
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
    )


def overrides() -> Iterator[dict[str, Any]]:
    """Arguments with a mistake: of a wrong type, a secret in the place of another one,
    one that is unknown."""
    for name in inspect.signature(TurvoAuth).parameters:
        if name != "on_event":
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

    def eval(self, *_: Any) -> Any:
        return self.reply

    def execute_command(self, *_: Any) -> Any:
        return self.reply

    def xread(self, *_: Any, **__: Any) -> Any:
        return self.reply


REPLIES: list[Any] = [
    MARK.encode(),
    [MARK.encode()],
    [MARK.encode(), MARK.encode(), None, 0, None, 0, MARK, MARK],
    [MARK.encode(), 1, 7, MARK, None, 0],
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
    for wrong in overrides():
        if callable(wrong.get("password")):
            auth = TurvoAuth(**{**GOOD, **wrong})
            yield auth.token
            yield auth.login
    for tls in ({"proxies": PROXIES}, {"verify": __file__}, {"cert": __file__}):
        auth = TurvoAuth(**{**GOOD, "base_url": "https://127.0.0.1:1"}, **tls)
        yield lambda auth=auth: auth.login(force=True)


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
    yield lambda: TurvoSession(auth, MARK)  # type: ignore[misc]
    yield lambda: TurvoSession(auth, retries=MARK)  # type: ignore[arg-type]
    yield lambda: TurvoSession(auth, pasword=MARK)  # type: ignore[call-arg]
    session = TurvoSession(auth)
    query = {"start": "soon"}
    yield lambda: next(session.records("/shipments/list", "shipments", query))
    yield lambda: session.details("/shipments")
    yield lambda: session.post("/shipments", json=[1])


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
