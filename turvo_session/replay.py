"""Requests that carry the token: where they may go, and how to send one again.

A redirect, a retry hook or a mock can copy a request and send the copy elsewhere. So a
request that gets the token becomes a ``TurvoRequest``. It drops token and key as soon
as its URL is set to another origin.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.cookies import extract_cookies_to_jar
from requests.exceptions import UnrewindableBodyError
from requests.utils import get_netrc_auth, rewind_body
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from .origin import same_origin

if TYPE_CHECKING:
    _RequestBase = PreparedRequest
else:
    _RequestBase = object

KEY_HEADER = "X-API-Key"
"""The header of the API key, spelled as the caches and recorders that redact it do."""
SECRET_HEADERS = ("Authorization", KEY_HEADER)
MOST_KEPT = 1 << 16
"""Bytes of a refused answer that are kept for ``history``."""
MOST_SECONDS = 1.0
"""Seconds for which a refused answer is read."""
MEMORY_SECONDS = 60.0
"""Seconds for which a process remembers what it has learned from a 401."""
MOST_UNCURED = 256
"""Requests that are remembered at once."""

Attach = Callable[[PreparedRequest], object]
"""Puts token, key and response hook on a request."""
_MethodAndPath = tuple[str | None, str]


class OriginGuard(_RequestBase):
    """Keeps token and key of a request at the origin for which they were attached.

    ``requests`` follows a redirect with a copy of the request, and sets the URL of that
    copy. It would leave the key on it, whatever the host.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the URL of another origin removes token and key."""
        if name == "url":
            self._leave_origin_for(value or "")
        super().__setattr__(name, value)

    def _leave_origin_for(self, url: str) -> None:
        before = self.__dict__.get("url")
        if not before or same_origin(url, before):
            return
        for name in SECRET_HEADERS:
            self.headers.pop(name, None)
        self.__dict__.pop("_successor", None)

    def copy(self) -> PreparedRequest:
        """Return a copy that is guarded as well. After a replay it has the new token.

        ``requests`` would let both share their hooks, each of which belongs to a token.
        """
        copied = super().copy()
        copied.__class__ = type(self)
        copied.hooks = dict(self.hooks)
        copied.hooks["response"] = list(self.hooks["response"])
        successor: Attach | None = self.__dict__.get("_successor")
        if successor is not None:
            successor(copied)
        return copied

    def continue_with(self, attach: Attach) -> None:
        """Let later copies carry another token, which ``attach`` puts on them.

        ``requests`` follows a redirect with a copy of the first request, also after a
        replay. The request itself stays as it was sent, for mocks and recorders.
        """
        self.__dict__["_successor"] = attach

    def prepare_auth(self, auth: Any, url: Any = "") -> None:
        """Apply an auth, unless it would replace the token by a netrc entry.

        ``requests`` looks into netrc whenever it follows a redirect.
        """
        if isinstance(auth, tuple) and "Authorization" in self.headers:
            is_from_netrc = auth == get_netrc_auth(self.url or "")
        else:
            is_from_netrc = False
        if is_from_netrc:
            return
        try:
            super().prepare_auth(auth, url)
        except BaseException:
            # Error trackers show the variables of the frames that an exception passes.
            del self
            raise

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # The base names the class: one that was made at run time cannot be imported.
        _, plain_class = type(self).__bases__
        state = dict(self.__dict__)
        state.pop("_successor", None)
        return _new_guarded, (plain_class,), state


class TurvoRequest(OriginGuard, PreparedRequest):
    """A request of ``requests`` that carries the token."""


class _GuardedClasses(dict[type, type]):
    """The guarded subclass of each request class, made when it is first needed.

    That of a guarded class is the class itself.
    """

    def __missing__(self, request_class: type) -> type:
        guarded = request_class
        if not issubclass(request_class, OriginGuard):
            name = f"Turvo{request_class.__name__}"
            guarded = type(name, (OriginGuard, request_class), {})
        self[request_class] = guarded
        return guarded


GUARDED_CLASSES = _GuardedClasses({PreparedRequest: TurvoRequest})


def _new_guarded(plain_class: type) -> Any:
    """Return an empty request, to be filled by ``copy`` or ``pickle``."""
    return object.__new__(GUARDED_CLASSES[plain_class])


def replayable(request: PreparedRequest) -> bool:
    """Return whether the whole body can be sent a second time.

    Text and bytes can, and files that told their position when the request was
    prepared. A generator cannot: it would send an empty body, and get a 200 for it.
    """
    if request.body is None or isinstance(request.body, str | bytes):
        return True
    if not isinstance(request._body_position, int):
        return False
    return hasattr(request.body, "seek")


def rewound(request: PreparedRequest) -> bool:
    """Return whether the body is ready to be sent again; rewind it if it is a file."""
    if not replayable(request):
        return False
    if isinstance(request._body_position, int):
        try:
            rewind_body(request)
        except (UnrewindableBodyError, ValueError):
            # The file cannot seek after all, or was closed meanwhile.
            return False
    return True


def replay(response: Response, attach: Attach, options: dict[str, Any]) -> Response:
    """Send the request of ``response`` again, and return the answer.

    ``attach`` puts the token on the request, whose body must be ``rewound``.
    ``options`` are those of a response hook: timeout, verify, cert, proxies, stream.
    The refused answer goes to ``history`` without token and key, because caches that
    redact headers do so in the last request only. Raises what ``requests`` raises.
    """
    refused = response.request
    request = refused.copy()
    try:
        attach(request)
        if hasattr(refused, "continue_with"):
            refused.continue_with(attach)
        _close_connection(response)
        cookies = request._cookies
        if response.cookies and cookies is not None:
            request.headers.pop("Cookie", None)
            extract_cookies_to_jar(cookies, refused, response.raw)
            request.prepare_cookies(cookies)
        _redact_secrets(response)
        start = time.perf_counter()
        answer: Response = response.connection.send(request, **options)
    except BaseException:
        # Error trackers show the variables of the frames that an exception passes.
        del response, options, refused, request
        raise
    seconds = time.perf_counter() - start
    answer.elapsed = timedelta(seconds=seconds)
    answer.history = [*response.history, response]
    return answer


def _redact_secrets(response: Response) -> None:
    """Take token and key out of a refused answer, in which Turvo repeats the token."""
    bearer = str(response.request.headers.get("Authorization", ""))
    token = bearer.removeprefix("Bearer ").encode()
    if token and response._content:
        response._content = response._content.replace(token, b"***")
    redacted = response.request.copy()
    for name in SECRET_HEADERS:
        redacted.headers[name] = "***"
    response.request = redacted


def _close_connection(response: Response) -> None:
    """Read the beginning of a refused answer, and close its connection.

    A gateway may close the connection after a 401 without saying so. The replay would
    be lost on it.
    """
    if response._content_consumed:
        response.close()
        return
    with ExitStack() as closing:
        connection = _take_socket(response.raw)
        if connection is not None:
            closing.callback(connection.close)
        closing.callback(response.close)
        try:
            response._content = _read_beginning(response.raw, connection)
        except BaseException:
            del response
            raise
    response._content_consumed = True


def _take_socket(raw: Any) -> socket.socket | None:
    """Take the socket away from the connection of an answer.

    At the end of the body urllib3 puts the connection back into its pool. There it
    would be open for a moment, and another thread could send a request on it. Without
    a socket it connects anew.
    """
    connection = getattr(raw, "connection", None)
    if not isinstance(connection, http.client.HTTPConnection):
        return None
    taken: socket.socket | None = connection.sock
    connection.sock = None
    return taken


def _read_beginning(raw: Any, connection: socket.socket | None) -> bytes:
    """Return the beginning of a body, within the bounds of bytes and seconds."""
    if not isinstance(raw, BaseHTTPResponse):
        # The raw answer of a recorder, which holds the whole body.
        return bytes(raw.read(MOST_KEPT))
    from .login import raised_by_signal_handler

    body = io.BytesIO()  # error trackers show bytes, but do not read a file
    left = MOST_KEPT
    end = time.monotonic() + MOST_SECONDS
    signalled = None
    try:
        while left > 0:
            if connection is not None:
                connection.settimeout(max(0.0, end - time.monotonic()))
            count = body.write(raw.read1(left, decode_content=True))
            if not count:
                break
            left -= count
    except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        # The body is slow or broken, or the socket is a double's that is closed, unless
        # a signal handler raised this.
        signalled = raised_by_signal_handler(error)
    if signalled is not None:
        raise signalled
    return body.getvalue()


class UncuredRequests:
    """Remembers for a minute which requests a new token did not cure.

    A forbidden path answers 401 whatever the token. It would use up the logins that a
    revocation needs. Requests count as the same if method and path are.
    """

    def __init__(self) -> None:
        # Replaced as a whole at each change, so that threads need no lock.
        self._ends: dict[_MethodAndPath, float] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no request is remembered."""
        return not self._ends

    def remember(self, request: PreparedRequest) -> None:
        """Remember a request, and drop the oldest one if there are too many."""
        ends = self._other_ends(request)
        while len(ends) >= MOST_UNCURED:
            oldest = next(iter(ends))
            del ends[oldest]
        name = _method_and_path(request)
        ends[name] = time.monotonic() + MEMORY_SECONDS
        self._ends = ends

    def forget(self, request: PreparedRequest) -> None:
        """Forget a request, because it had another answer than 401."""
        self._ends = self._other_ends(request)

    def forget_all(self) -> None:
        """Forget all requests."""
        self._ends = {}

    def __contains__(self, request: PreparedRequest) -> bool:
        name = _method_and_path(request)
        return time.monotonic() < self._ends.get(name, 0.0)

    def _other_ends(self, request: PreparedRequest) -> dict[_MethodAndPath, float]:
        """Return the other requests that are still remembered."""
        now = time.monotonic()
        this = _method_and_path(request)
        return {
            name: end for name, end in self._ends.items() if name != this and now < end
        }


def _method_and_path(request: PreparedRequest) -> _MethodAndPath:
    path = urlsplit(request.url or "").path
    return request.method, path


class FalseAlarms:
    """Tells a revoked token from a server that refuses good tokens now and then.

    One server behind a load balancer can be out of step with the others. A login seems
    to cure its 401s, because another server answers the replay. So a token that is
    refused within a minute after the last one was replaced is sent once more. If it is
    accepted then, the alarm was false, and for a minute no refused token is replaced
    that was good before.
    """

    def __init__(self) -> None:
        self._possible_until = 0.0
        self._likely_until = 0.0

    def note_replaced(self) -> None:
        """Note that a token was replaced because of a 401."""
        self._possible_until = time.monotonic() + MEMORY_SECONDS

    def note_false(self) -> None:
        """Note that a refused token was accepted when it was sent again."""
        self._likely_until = time.monotonic() + MEMORY_SECONDS

    def note_true(self) -> None:
        """Note that a token was refused however often it was sent."""
        self._likely_until = 0.0

    @property
    def are_possible(self) -> bool:
        """Whether the next 401 may be a false alarm."""
        return time.monotonic() < self._possible_until or self.are_likely

    @property
    def are_likely(self) -> bool:
        """Whether the next 401 is probably a false alarm."""
        return time.monotonic() < self._likely_until
