"""The client of ``redis-py`` behind a ``RedisStore``: made from a URL, or handed in.

Commands are left to the client. This module knows what the client itself does not
promise: that no reply is endless, that a forked child never meets a lock of its
parent, and for how long a blocking read may keep one of the client's connections.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from typing import Any
from urllib.parse import parse_qs, urlsplit
from weakref import finalize

from .errors import SettingsError
from .redis_trouble import ReplyTooLong
from .secret import Hidden, Secret
from .text import printable

LONGEST_REPLY = 1 << 20
"""Bytes of a reply at most. Ours are three values of up to 64 KB."""
CONNECT_TIMEOUT = 1.5
"""Seconds to connect, and between two reads of a TLS handshake."""
SMALL_POOL = 10
"""A pool of fewer connections than this has none to spare for a blocking read."""

_UNKNOWN_TIMEOUT = 2.0
_SHORTEST_BLOCK = 0.05

_reply_due: ContextVar[float] = ContextVar("turvo_session_reply_due", default=math.inf)


def expect_reply_within(seconds: float) -> None:
    """Bound the time of the replies that the current context waits for from now on.

    Holds for clients made by ``client_from_url``, instead of their timeout per read.
    """
    _reply_due.set(time.monotonic() + seconds)


class SharedClient(Hidden):
    """A client that all threads of a process use, and a forked child replaces.

    ``server`` names the server without the password. ``longest_block`` is how many
    seconds a blocking read may take; 0 if it must not block. ``owned`` says that
    nobody else uses the client, so its connections are closed with this object.
    """

    def __init__(
        self,
        client: Any,
        remake: Callable[[Any], Any],
        *,
        longest_block: float,
        owned: bool,
    ) -> None:
        self.server: str = _server_name(client)
        self.longest_block: float = longest_block
        self._remake = remake
        self._owned = owned
        self._use_from_now_on(client)

    def of_this_process(self) -> Any:
        """Return the client of this process."""
        if os.getpid() != self._process:
            # redis-py does not renew the locks of its pool in a child. One that a
            # thread of the parent held at the fork is never released here.
            inherited = self._client.reveal()
            self._use_from_now_on(self._remake(inherited))
            if self._client.reveal() is not inherited:
                # It would wait for that lock when it is collected.
                inherited.auto_close_connection_pool = False
        return self._client.reveal()

    def _use_from_now_on(self, client: Any) -> None:
        """Take over ``client``."""
        self._client = Secret(client)
        self._process = os.getpid()
        if self._owned:
            # Nobody else can close its connections. If the client did so itself, a
            # collector that clears both in one cycle might come to them first.
            client.auto_close_connection_pool = False
            closing = finalize(self, _disconnect, client.connection_pool, os.getpid())
            closing.atexit = False


def client_from_url(url: Secret[str]) -> SharedClient:
    """Return a client for ``redis://``, ``rediss://`` or ``unix://``; do not connect.

    Raises ``SettingsError``, which never shows the URL, if it is not one of these.
    """
    value = url.reveal()
    is_text = isinstance(value, str)
    has_blank = is_text and re.search(r"\s", value)
    del value
    if not is_text:
        raise SettingsError("REDIS_URL must be a string")
    if has_blank:
        raise SettingsError("REDIS_URL must not hold a blank or a line end")
    from redis import RedisError

    client = None
    # Its errors may quote a part of the password, so they must not be a context.
    with suppress(RedisError, TypeError, ValueError):
        client = _make_client(url.reveal())
    if client is None:
        raise SettingsError(
            "REDIS_URL must be a URL such as redis://[user:password@]host:6379/0, "
            "rediss://... or unix:///path, and its options those of redis-py"
        )
    return SharedClient(
        client,
        lambda _: _make_client(url.reveal()),
        longest_block=_longest_block(client, is_bounded=True),
        owned=True,
    )


def share_client(client: Secret[Any]) -> SharedClient:
    """Return a client that was handed in, to be shared by threads and forked children.

    Raises ``SettingsError`` if it is not a client whose calls block.
    """
    if isinstance(client.reveal(), SharedClient):
        shared: SharedClient = client.reveal()
        return shared
    mistake = _describe_mistake(client.reveal())
    if mistake:
        raise SettingsError(
            f"RedisStore takes a client such as redis.Redis(...){mistake}"
        )
    hasty = _without_retries(client.reveal())
    return SharedClient(
        hasty,
        _with_new_pool,
        longest_block=_longest_block(hasty, is_bounded=False),
        owned=hasty is not client.reveal(),
    )


def _describe_mistake(client: Any) -> str:
    """Return what is wrong with a client, as the end of a sentence; "" if nothing."""
    kinds = {kind.__name__ for kind in type(client).__mro__}
    modules = " ".join(kind.__module__ for kind in type(client).__mro__)
    execute = getattr(client, "execute_command", None)
    if isinstance(client, type):
        return ", not the class itself"
    if ".asyncio" in modules or inspect.iscoroutinefunction(execute):
        return ", not one of redis.asyncio"
    if kinds & {"Pipeline", "ClusterPipeline"}:
        return ", not a pipeline"
    if kinds & {"PubSub", "ClusterPubSub", "Monitor"}:
        return ", not what its pubsub() or monitor() returns"
    if "Sentinel" in kinds:
        return " or sentinel.master_for(...), not a Sentinel"
    if execute is None:
        return "; RedisStore.from_url takes a URL"
    return ""


class BoundedSocket:
    """A socket that gives up on a reply that is too long, or that is overdue.

    A timeout per read bounds neither: a server can send a byte now and then, or
    gigabytes, for ever. Everything else is left to the socket that is ``connected``.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = 0
        self._timeout = connected.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        """Set the timeout per read that holds where no reply is expected."""
        self._timeout = seconds
        self._socket.settimeout(seconds)

    def sendall(self, *arguments: Any) -> None:
        """Send a command: what is received from now on is its reply."""
        self._received = 0
        self._socket.sendall(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        """Receive a part of the reply."""
        self._limit_next_read()
        received = self._socket.recv(*arguments)
        self._count_received(len(received))
        return received

    def recv_into(self, *arguments: Any) -> int:
        """Receive a part of the reply into a buffer."""
        self._limit_next_read()
        received = self._socket.recv_into(*arguments)
        self._count_received(received)
        return received

    def _limit_next_read(self) -> None:
        """Let the next read take no longer than until the reply is due."""
        due = _reply_due.get()
        if self._timeout == 0 or due == math.inf:
            return
        # The shortest timeout, since 0 would mean not to wait for the next read either.
        self._socket.settimeout(max(0.001, due - time.monotonic()))

    def _count_received(self, received: int) -> None:
        """Raise ``ReplyTooLong`` if no reply to our commands is that long."""
        self._received += received
        if self._received > LONGEST_REPLY:
            raise ReplyTooLong


def _make_client(url: str) -> Any:
    """Return a client for ``url``. Raises any exception if there can be none."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError  # redis would take the number of the database to be 0
    options: dict[str, Any] = {}
    if parse_qs(parts.query).get("ssl_cert_reqs") == ["none"]:
        options["ssl_check_hostname"] = False  # redis before 6.3 refuses the two
    client = Redis.from_url(
        url,
        protocol=2,  # servers older than 6 know no HELLO
        retry=Retry(NoBackoff(), 0),
        socket_timeout=CONNECT_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        redis_connect_func=_greet_server,
        **options,
    )
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)  # redis checks them only here
    return client


def _greet_server(connection: Any) -> None:
    """Log in to a server that has just been connected to, as redis-py does."""
    if isinstance(connection._sock, socket.socket):
        connection._sock = BoundedSocket(connection._sock)
    connection.on_connect()


def _without_retries(client: Any) -> Any:
    """Return a client like ``client`` that reports the first error it meets.

    ``redis.Redis(...)`` tries again by itself for seconds. Meanwhile a Redis that
    refuses connections could not be told from one that is silent. The client of a
    blocking pool is used as it is: somebody has limited its connections.
    """
    pool: Any = getattr(client, "connection_pool", None)
    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", [])
    is_limited = type(pool).__name__ == "BlockingConnectionPool"
    if is_limited or not any(map(_retries, [client, *sentinels])):
        return client
    return _with_new_pool(client)


def _retries(client: Any) -> bool:
    retry = _connection_options(client).get("retry")
    return retry is not None and retry.get_retries() != 0


def _with_new_pool(client: Any) -> Any:
    """Return a client like ``client`` with a pool of its own, if that can be made.

    It does not try again by itself: see ``_without_retries``.
    """
    pool: Any = getattr(client, "connection_pool", None)
    make_pool = _POOL_MAKERS.get(type(pool).__name__)
    if make_pool is None:
        return client
    try:
        return type(client)(connection_pool=make_pool(pool))
    except Exception:  # noqa: BLE001 - a class of somebody else's
        return client


def _options_of(pool: Any) -> dict[str, Any]:
    return {
        **pool.connection_kwargs,
        "connection_class": pool.connection_class,
        "max_connections": pool.max_connections,
        "retry": None,
    }


def _like_pool(pool: Any) -> Any:
    return type(pool)(**_options_of(pool))


def _like_blocking_pool(pool: Any) -> Any:
    return type(pool)(timeout=pool.timeout, **_options_of(pool))


def _like_sentinel_pool(pool: Any) -> Any:
    """Return a pool for the same service. Its sentinels are asked by new clients."""
    sentinels = copy(pool.sentinel_manager)
    sentinels.sentinels = [_with_new_pool(one) for one in sentinels.sentinels]
    options = _options_of(pool)
    del options[
        "connection_pool"
    ]  # a pool tells its connections here where they belong
    return type(pool)(
        pool.service_name,
        sentinels,
        is_master=pool.is_master,
        check_connection=pool.check_connection,
        **options,
    )


_POOL_MAKERS: dict[str, Callable[[Any], Any]] = {
    "ConnectionPool": _like_pool,
    "BlockingConnectionPool": _like_blocking_pool,
    "SentinelConnectionPool": _like_sentinel_pool,
}


def _disconnect(pool: Any, process: int) -> None:
    """Close the connections of a pool that was made in this ``process``."""
    # In a forked child its locks may be held for ever.
    if os.getpid() == process:
        pool.disconnect()


def _connection_options(client: Any) -> Mapping[str, Any]:
    """Return the options of the connections of a client of any library."""
    read_options: Callable[[], Mapping[str, Any]]
    read_options = getattr(client, "get_connection_kwargs", dict)
    return read_options()


def _server_name(client: Any) -> str:
    """Return where the server of ``client`` is: a host and a port, or a path."""
    pool = getattr(client, "connection_pool", None)
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"the Sentinel service {printable(service)}"
    nodes = getattr(getattr(client, "nodes_manager", None), "startup_nodes", None)
    if nodes:
        return f"the cluster of {printable(', '.join(sorted(nodes)))}"
    options = _connection_options(client)
    if "path" in options:
        return printable(options["path"])
    return printable(f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _longest_block(client: Any, *, is_bounded: bool) -> float:
    """Return for how many seconds a read may block; 0 if it must not.

    It ends well before the client's own timeout per read, which would drop the
    connection, unless its replies are bounded without that timeout.
    """
    options = _connection_options(client)
    pool = getattr(client, "connection_pool", None)
    connections = getattr(pool, "max_connections", options.get("max_connections"))
    if isinstance(connections, int) and connections < SMALL_POOL:
        return 0.0
    if getattr(client, "connection", None) is not None:
        return 0.0  # it has this one connection for all threads
    timeout = options.get("socket_timeout", _UNKNOWN_TIMEOUT)
    if is_bounded or timeout is None:
        return math.inf
    longest = timeout / 2
    return longest if longest >= _SHORTEST_BLOCK else 0.0
