"""The token in Redis (5 or newer, Valkey, Sentinel, Cluster): a store for processes and machines.

Two scripts (``look.lua`` is shared by both) make reading and swapping atomic; ``XREAD BLOCK`` on a
stream of one entry wakes the waiters. The token's own key holds what existing scripts write and
read there; its companions, in the same hash slot, hold the lease, the last failure and the stream.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit
from weakref import finalize

from .deadline import Overdue, Running
from .errors import SettingsError
from .sealing import Keyring, Sealing
from .secret import Secret
from .store import KEEP, Change, Slot, Snapshot, StoreError

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a command may take, connecting and all, before Redis counts as out of order."""
PROBE = 0.1
"""Seconds that a call waits, while Redis is out of order, for a sign of life."""
PAUSES = (2.0, 60.0)
"""Seconds between two such probes: at first, doubling, and at most."""

_SCRIPTS: dict[str, str] = {}


class RedisStore:
    """Holds the token at ``key``, through ``client`` (``Redis``, a Sentinel's ``master_for``, ``RedisCluster``).

    Trouble of any kind is a ``StoreError`` within a second, and then at once until Redis is back; one who
    waits for another's login notices when that one's lease is over. Give the client timeouts of its own.
    ``encryption_keys``: Fernet keys (extra ``encryption``); the first one writes, all of them read.
    Raises ``SettingsError`` for keys that are none.
    """

    def __init__(
        self, client: Redis | RedisCluster, key: str, *, encryption_keys: Iterable[str] | Keyring = ()
    ) -> None:
        self._client: Secret[Any] = Secret(client)
        del client  # tracebacks show locals
        ring = Keyring(encryption_keys)
        del encryption_keys
        if not hasattr(self._client.reveal(), "execute_command"):
            raise SettingsError("RedisStore takes a client of redis-py; RedisStore.from_url takes a URL")
        self._key = key
        self._keys = [key, *(companion(key, name) for name in ("lease", "failure", "wake"))]
        self._sealing = Sealing(ring, key) if ring.keys else None
        self._resume = -math.inf  # when to look after Redis again; -inf: it is in order
        self._pause = PAUSES[0]

    @classmethod
    def from_url(cls, url: str, key: str, *, encryption_keys: Iterable[str] | Keyring = ()) -> RedisStore:
        """A store at ``redis://``, ``rediss://`` or ``unix://``. Raises ``SettingsError`` for another URL."""
        hidden = Secret(url)
        del url  # tracebacks show locals
        ring = Keyring(encryption_keys)
        del encryption_keys
        client = None
        with suppress(Exception):  # its text can hold a part of the password
            client = Secret(_client(hidden))
        if client is None:
            raise SettingsError(
                "REDIS_URL is no URL such as redis://[user:password@]host:6379/0, rediss://... "
                "or unix:///path, or has an option that redis-py does not know"
            )
        store = cls(client.reveal(), key, encryption_keys=ring)
        # Nobody else can close its connections. Collected with it, in a cycle, they would not always go first.
        finalize(store, client.reveal().connection_pool.disconnect).atexit = False
        return store

    def read(self) -> Snapshot:
        """What is held now."""
        at = time.monotonic()
        return self._eval("read", [], lambda reply: self._snapshot(at, reply))

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` if nothing is different from what was ``seen``."""
        token = change.token
        if self._sealing and token is not None and token is not KEEP:
            token = Slot(self._sealing.seal(token.value), token.left)
        arguments = [seen.version[0]]
        for new in (token, change.lease, change.failure):
            arguments += _to_write(new)
        arguments.append(int(change.wake))
        return self._eval("swap", arguments, lambda reply: bool(reply == 1))

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when woken after ``seen``, or after ``seconds``."""
        block = max(1, math.ceil(seconds * 1000))
        self._do(lambda: self._block(block, seen.version[1]), block / 1000 + PATIENCE)

    def __repr__(self) -> str:
        key = self._key.encode(errors="backslashreplace").decode()  # the environment may be no UTF-8
        return f"<RedisStore {key}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RedisStore holds the Redis password and does not pickle; make one in each process")

    def _eval(self, name: str, arguments: list[Any], meaning: Callable[[Any], T]) -> T:
        """What ``meaning`` makes of the reply, which can hold a token."""
        script = _script(name)

        def call() -> Any:
            client = self._client.reveal()
            return client.execute_command("EVAL", script, 4, *self._keys, *arguments)

        return self._do(lambda: meaning(_twice(call)), PATIENCE)

    def _snapshot(self, at: float, reply: Any) -> Snapshot:
        token, lease, failure = (_slot(reply[i], reply[i + 1]) for i in (0, 2, 4))
        if token and self._sealing:
            token = Slot(self._sealing.open(token.value), token.left)
        return Snapshot(at, token, lease, failure, (reply[6], reply[7]))

    def _block(self, milliseconds: int, version: str) -> None:
        # The client's own timeout per read would end a longer block, so its connection is used.
        pool = _pool(self._client.reveal(), self._key)
        connection = pool.get_connection()
        try:
            connection.send_command("XREAD", "BLOCK", milliseconds, "STREAMS", self._keys[3], version)
            if connection.can_read(timeout=milliseconds / 1000 + PATIENCE):
                connection.read_response()
            else:
                connection.disconnect()
                raise TimeoutError
        finally:
            pool.release(connection)

    def _do(self, call: Callable[[], T], seconds: float) -> T:
        """The breaker: one timeout an outage, then none, and back in order by itself."""
        now = time.monotonic()
        if self._resume > -math.inf:
            if now < self._resume:
                raise StoreError("out of order")
            self._resume, self._pause = now + self._pause, min(2 * self._pause, PAUSES[1])
            seconds = PROBE
        trouble = ""
        try:
            return Running(lambda: self._watched(call)).result(seconds)
        except Overdue:
            trouble = f"no answer within {seconds:.1f} s"
        except Exception as error:  # noqa: BLE001 - redis has its errors in several trees; texts may tell
            trouble = _describe(error)
        if self._resume == -math.inf:
            self._resume = now + self._pause
        raise StoreError(trouble)

    def _watched(self, call: Callable[[], T]) -> T:
        start = time.monotonic()
        result = call()
        if self._resume > -math.inf and time.monotonic() - start < PATIENCE:
            self._resume, self._pause = -math.inf, PAUSES[0]
        return result


def _client(url: Secret[str]) -> Any:
    """A client for ``url``. Raises something if it is none; ``redis`` alone would notice when it connects."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    parts = urlsplit(url.reveal())
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError  # redis would take the number of the database to be 0
    client = Redis.from_url(
        url.reveal(),
        protocol=2,  # servers older than 6 know no HELLO
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE / 2,
        socket_connect_timeout=PATIENCE / 2,
    )
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)  # without connecting
    return client


def companion(key: str, name: str) -> str:
    """The key of the lease, the failure or the stream: in the same hash slot as the token's."""
    _, brace, rest = key.partition("{")
    tagged = brace and rest.find("}") > 0
    return f"{key}:{name}" if tagged else f"{{{key}}}:{name}"


def _slot(value: str | bytes, milliseconds: int) -> Slot | None:
    """A value with its life; none where there is no end to its life, which would bind for ever."""
    raw = value.encode() if isinstance(value, str) else value
    return Slot(raw, milliseconds / 1000) if raw and milliseconds > 0 else None


def _to_write(new: Slot | None) -> tuple[str | memoryview, int]:
    """The two arguments of the script for one value."""
    if new is None:
        return "", 0
    if new is KEEP:
        return "", -1
    # Tracers put the text of each argument into a span, and error trackers that of each
    # variable: the text of a buffer does not show what it holds.
    return memoryview(new.value), max(1, int(new.left * 1000))


def _script(name: str) -> str:
    if name not in _SCRIPTS:
        folder = files(__package__)
        _SCRIPTS[name] = "".join((folder / f"{part}.lua").read_text("ascii") for part in ("look", name))
    return _SCRIPTS[name]


def _pool(client: Any, key: str) -> Any:
    """The pool of connections to the server that has ``key``."""
    if hasattr(client, "get_node_from_key"):
        client = client.get_redis_connection(client.get_node_from_key(key))
    return client.connection_pool


def _twice(call: Callable[[], T]) -> T:
    """Once more after a lost connection or answer: a swap that was applied is then seen to be ours."""
    from redis.exceptions import AuthenticationError, BusyLoadingError, ConnectionError, TimeoutError

    try:
        return call()
    except (AuthenticationError, BusyLoadingError):
        raise
    except (ConnectionError, TimeoutError):
        return call()


def _describe(error: Exception) -> str:
    """The class of an error and, where a Redis server speaks, its first word (OOM, READONLY, NOPERM ...)."""
    word = str(error).split(" ", 1)[0]
    return type(error).__name__ + (f" {word}" if word.isupper() and word.isalpha() else "")
