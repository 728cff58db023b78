"""Trouble with Redis in words: where, what is wrong, and what to check.

An explanation is found by the first word of what the server said (NOPERM, OOM ...), by
a phrase in it, by the name of the exception's class, or by the system's error that led
to it, in this order.

Nothing here depends on the classes of one client library: redis-py, valkey-py and
fakeredis raise errors of the same names, and the texts are those of the servers.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .text import quoted

_ADDRESS = (
    "the host, the port and the scheme: rediss:// if the port speaks TLS, else redis://"
)
_PASSWORD = "check the user and the password in REDIS_URL"
_CLIENT_PACKAGES = ("redis", "valkey", "fakeredis", "hiredis")


class Explanation(NamedTuple):
    """What is wrong (after "Redis at host:port ...") and what to check."""

    what: str
    check: str


class CommandRefused(Exception):
    """A script reports that Redis has refused one of its commands."""

    def __init__(self, command: str, key: str, reply: str) -> None:
        super().__init__(reply)
        self.command = command
        self.key = key


class NonsenseReply(Exception):
    """The reply is not what Redis answers to the command."""


class ReplyTooLong(Exception):
    """The reply is longer than Redis can answer to the command."""


_NONSENSE = Explanation(
    "answered {command} with something that Redis never answers",
    "check that REDIS_URL names a Redis server and not another service",
)
_SILENT = Explanation(
    "did not answer {command} in time", f"check that it runs, and {_ADDRESS}"
)

_BY_CAUSE: tuple[tuple[type[Exception], Explanation], ...] = (
    (
        ConnectionRefusedError,
        Explanation(
            "refused the connection", "check that it runs, the host and the port"
        ),
    ),
    (
        socket.gaierror,
        Explanation(
            "was not found: its name has no address", "check the host in REDIS_URL"
        ),
    ),
    (
        ssl.SSLCertVerificationError,
        Explanation(
            "has a certificate that is not trusted ({reason})",
            "name its CA by ?ssl_ca_certs=/path/to/ca.pem in REDIS_URL",
        ),
    ),
    (
        ssl.SSLError,
        Explanation("failed to agree on TLS ({reason})", f"check {_ADDRESS}"),
    ),
    (
        FileNotFoundError,
        Explanation(
            "cannot be reached: a file is missing",
            "check the paths of the socket and of the certificates in REDIS_URL",
        ),
    ),
    (
        PermissionError,
        Explanation(
            "cannot be reached: permission denied",
            "check who may use its socket and read the certificates",
        ),
    ),
    (ConnectionError, Explanation("closed the connection", f"check {_ADDRESS}")),
    (TimeoutError, _SILENT),
    (
        CommandRefused,
        Explanation("refused {command} on {key}: {reply}", "check its log"),
    ),
    (NonsenseReply, _NONSENSE),
    (ReplyTooLong, _NONSENSE),
)
_OTHER_NAME = Explanation(
    "has a certificate for another host name",
    "use the name of the certificate in REDIS_URL",
)
_OTHER_NAME_CODES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH

_BY_CODE = {
    "NOPERM": Explanation(
        "does not allow {command} on {key}",
        "check the user's ACL (the README lists the commands and keys)",
    ),
    "NOAUTH": Explanation("wants a password", _PASSWORD),
    "WRONGPASS": Explanation("does not accept the user or the password", _PASSWORD),
    "NOPASS": Explanation("was given a password and has none", _PASSWORD),
    "READONLY": Explanation(
        "is a read-only replica", "name the primary in REDIS_URL, or use Sentinel"
    ),
    "OOM": Explanation("is out of memory", "raise its maxmemory or free some of it"),
    "LOADING": Explanation("is still loading its data", "wait until it has started"),
    "MISCONF": Explanation(
        "cannot save its data and takes no writes", "check its log and its disk"
    ),
    "NOREPLICAS": Explanation(
        "has too few replicas to take writes", "check its replicas"
    ),
    "MASTERDOWN": Explanation("is a replica without its primary", "check its primary"),
    "BUSY": Explanation("is busy with a script", "end that script with SCRIPT KILL"),
    "CLUSTERDOWN": Explanation("is a cluster that is down", "check CLUSTER INFO"),
    "MOVED": Explanation(
        "is a node of a cluster that does not hold {key}",
        "hand a redis.cluster.RedisCluster to RedisStore",
    ),
    "CROSSSLOT": Explanation(
        "is a cluster that holds the keys on several nodes",
        "use a TURVO_TOKEN_KEY without braces, or with one {tag}",
    ),
    "UNKNOWN": Explanation(
        "does not know the command {command}",
        "check whether it is renamed or disabled there; Redis 5 or newer is needed",
    ),
    "TOO_OLD": Explanation(
        "is older than version 6 and does not know the client's RESP3",
        "give the client protocol=2",
    ),
    "DATABASE": Explanation(
        "has no database of that number", "check the end of REDIS_URL"
    ),
    "CLIENTS": Explanation("has too many clients", "raise its maxclients"),
    "POOL": Explanation(
        "was not asked: the client's pool has no free connection",
        "raise its max_connections",
    ),
    "SENTINEL": Explanation(
        "has no master that a sentinel knows",
        "check its name, and that the sentinels run",
    ),
    "CLOSED": Explanation("closed the connection", f"check {_ADDRESS}"),
    "NONSENSE": _NONSENSE,
    "SILENT": _SILENT,
}
_CODES_BY_TEXT = {
    "command `HELLO`": "TOO_OLD",
    "unknown command": "UNKNOWN",
    "Unknown command": "UNKNOWN",
    "Unknown Redis command": "UNKNOWN",
    "can't run this command": "NOPERM",
    "can't access at least one": "NOPERM",
    "ermissions to ": "NOPERM",
    "DB index is out of range": "DATABASE",
    "Authentication required": "NOAUTH",
    "HELLO must be called with": "NOAUTH",
    "without any password": "NOPASS",
    "no password is set": "NOPASS",
    "max number of clients": "CLIENTS",
    "Too many connections": "POOL",
    "No connection available": "POOL",
    "closed by server": "CLOSED",
    r"\x15\x03": "CLOSED",  # an alert of TLS, which redis-py shows as a protocol error
}
_CODES_BY_NAME = {
    "AuthenticationError": "WRONGPASS",
    "AuthorizationError": "WRONGPASS",
    "AskError": "MOVED",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "InvalidResponse": "NONSENSE",
    "MasterNotFoundError": "SENTINEL",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TimeoutError": "SILENT",
}

_PLACE_IN_SCRIPT = re.compile(r"\A@user_script: ?\d+: -?")


def describe_error(
    error: Exception,
    server: str,
    command: str,
    key: str,
    sent: Iterable[memoryview | int] = (),
) -> str:
    """Return in words what ``error`` says about ``command`` on ``key``.

    A reply that repeats one of the values ``sent`` with the command is not shown.
    """
    if isinstance(error, CommandRefused):
        command, key = error.command, error.key
    explanation = _explanation_of(error)
    reply = quoted(_reply_in(error))
    if any(_repeats_value(reply, value) for value in sent):
        reply = "its text repeats the command and is not shown"
    what = explanation.what.format(
        command=command, key=key, reason=_tls_reason(error), reply=reply
    )
    return _server_sentence(server, what, explanation.check)


def describe_silence(server: str, command: str, seconds: float) -> str:
    """Return in words that ``command`` had no answer within ``seconds``."""
    what = f"did not answer {command} within {seconds:.1f} s"
    return _server_sentence(server, what, _SILENT.check)


def is_client_error(error: BaseException) -> bool:
    """Return whether a client library has raised ``error``, or the system below it.

    Its class tells, or the function that raised it: a parser that meets nonsense
    raises ``ValueError``, as a signal handler of the caller's may do as well.
    """
    trace = error.__traceback__
    raised_in = ""
    while trace is not None:
        raised_in = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return _is_client_module(type(error).__module__) or _is_client_module(raised_in)


def is_lost_connection(error: Exception) -> bool:
    """Return whether ``error`` tells of a lost connection or a lost answer only.

    Wrong passwords and a server that is still loading are ``ConnectionError`` by
    inheritance. Asking again would not help there.
    """
    return type(error).__name__ in ("ConnectionError", "TimeoutError")


def _is_client_module(module: str) -> bool:
    """Return whether a module belongs to a client library, or to our part of it."""
    package = module.partition(".")[0]
    return package in _CLIENT_PACKAGES or module.startswith(__package__ + ".redis_")


def _explanation_of(error: Exception) -> Explanation:
    """Return the explanation of ``error``, of what led to it, or a general one."""
    code = _explanation_code(error)
    if code:
        return _BY_CODE[code]
    for cause in _chain_of_causes(error):
        if getattr(cause, "verify_code", 0) in _OTHER_NAME_CODES:
            return _OTHER_NAME
        for kind, explanation in _BY_CAUSE:
            if isinstance(cause, kind):
                return explanation
    if type(error).__name__ == "ResponseError":
        return Explanation("refused {command}: {reply}", "check its log")
    if _is_client_module(type(error).__module__):
        return Explanation("could not be asked {command}: {reply}", "check the client")
    return _NONSENSE


def _explanation_code(error: Exception) -> str:
    """Return which row of ``_BY_CODE`` the class or the text of ``error`` names."""
    text = _reply_in(error)[:500]
    first_word = text.partition(" ")[0]
    if first_word in _BY_CODE:
        return first_word
    for fragment, code in _CODES_BY_TEXT.items():
        if fragment in text:
            return code
    return _CODES_BY_NAME.get(type(error).__name__, "")


def _reply_in(error: Exception) -> str:
    """Return what the server said, without the place that Redis before 7.0 puts first.

    Such as ``@user_script: 12: -OOM command not allowed ...``.
    """
    return _PLACE_IN_SCRIPT.sub("", str(error))


def _chain_of_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _tls_reason(error: Exception) -> str:
    """Return why TLS has failed, in the words of OpenSSL."""
    for cause in _chain_of_causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, ssl.SSLError):
            return str(cause.reason)
    return ""


def _repeats_value(reply: str, value: memoryview | int) -> bool:
    """Return whether 12 characters in a row of ``value`` are in ``reply``."""
    if isinstance(value, int):
        return False
    text = bytes(value).decode("ascii", "replace")
    return any(reply[i : i + 12] in text for i in range(len(reply) - 11))


def _server_sentence(server: str, what: str, check: str) -> str:
    """Return one sentence without a full stop, as part of a line of the log."""
    return f"Redis at {server} {what}; {check}"
