"""How the token request travels: to one URL, in bounded time and size, and unlogged.

``LoginSession`` is the OAuth library's session. It sends the request to the real URL
and follows no redirect, and whatever the library logs holds no secret. ``LoginAdapter``
bounds the answer in time and size.

An exception that somebody else raises in the caller's thread, such as a
``KeyboardInterrupt``, passes through the functions here while a request is under way.
Tracebacks show local variables, so here they hold secrets only inside a ``Secret``.

Only a login imports this module, because the OAuth library is slow to import.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http.client import HTTPException
from typing import Any

from oauthlib.oauth2 import LegacyApplicationClient, OAuth2Error
from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ContentDecodingError
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import HTTPError

from .secret import Secret

LIBRARY_ERRORS = (
    RequestException,
    HTTPError,
    HTTPException,
    OAuth2Error,
    # requests raises a plain one if a certificate file is missing.
    OSError,
    # A header that cannot be encoded, for example with a proxy's password.
    UnicodeError,
)
"""What the libraries raise for a token request."""
ANSWER_CAP = 1 << 20
"""Bytes of an answer that are read, packed or unpacked. Turvo's are a few thousand."""


class LoginSession(OAuth2Session):
    """The OAuth library's session, for one token request to ``token_url``.

    ``fetch_token`` insists on https, so it gets ``https_url``, and ``request`` puts the
    real URL back. That is above the adapter, so mocks and recorders see the real one.
    Plain http is for loopback addresses only; the settings make sure of that.
    """

    def __init__(self, token_url: str, client_id: str, adapter: LoginAdapter) -> None:
        super().__init__(client=LegacyApplicationClient(client_id))
        self.https_url: str = f"https{token_url[token_url.index(':') :]}"
        self.answer: Secret[Response] = Secret(Response())
        self._token_url = token_url
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> Response:
        """Send the request, keep the answer in ``answer``, and return a stand-in.

        The library logs what it sends and what comes back, so it sees neither: this
        bypasses the logging ``OAuth2Session.request``, and the stand-in has no content.
        """
        carried = Secret(options)
        del options
        self.answer = Secret(
            super(OAuth2Session, self).request(
                method, self._token_url, **carried.reveal()
            )
        )
        stand_in = Response()
        stand_in.status_code = self.answer.reveal().status_code
        stand_in.request = PreparedRequest()
        stand_in.request.url = self._token_url
        self.answer.reveal().request = stand_in.request
        return with_content(stand_in, b"")

    def get_redirect_target(self, resp: Response) -> None:
        """Return ``None``: a redirect would take the password to another place."""

    def merge_environment_settings(self, url: Any, *settings: Any) -> Any:
        """Return the options of a request, with the environment's.

        Plain http goes to loopback addresses only, and past every proxy: there the
        password would travel in clear.
        """
        merged = super().merge_environment_settings(url, *settings)
        if url.startswith("http:"):
            merged["proxies"] = {}
        return merged

    @property
    def _client(self) -> Any:
        """The OAuth library's client, which keeps the token in plain attributes."""
        return self._hidden_client.reveal()

    @_client.setter
    def _client(self, client: Any) -> None:
        self._hidden_client = Secret(client)

    @property
    def token(self) -> Any:
        """The token response. The library logs it, so it shows nothing but its keys."""
        return HiddenToken(self._client.token)

    @token.setter
    def token(self, fields: dict[str, Any]) -> None:
        self._client.token = fields
        self._client.populate_token_attributes(fields)


class HiddenToken(dict[str, Any]):
    """A token response whose values come out by key, and in no other way."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(dict.fromkeys(fields, "hidden"))
        self._fields = Secret(fields)

    def __getitem__(self, name: str) -> Any:
        return self._fields.reveal()[name]


def with_content(response: Response, content: bytes) -> Response:
    """Return ``response`` with this content in place of its own."""
    response._content = content
    response._content_consumed = True
    response.encoding = "utf-8"
    return response


class LoginAdapter(HTTPAdapter):
    """Sends one request, reads at most 1 MiB of the answer, and can be cut off.

    ``connected``: whether there was a connection, so that the request may have been
    sent. ``None`` if a mock answered in place of this adapter.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.connected: bool | None = None
        self._pools: list[Any] = []
        self.time_limit: TimeLimit = TimeLimit(seconds)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return a pool whose connections can be cut off."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._tracked_class(pool.ConnectionCls)
        self._pools.append(pool)
        self.connected = False
        return pool

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Return the response, with its content read."""
        response = Secret(super().build_response(req, resp))
        del req
        return with_content(response.reveal(), self._read_content(resp))

    def close(self) -> None:
        """Close every connection, and end the time limit."""
        self.time_limit.finish()
        for pool in self._pools:
            pool.close()  # the pool manager would leave that to the garbage collector
        super().close()

    def _tracked_class(self, connection_class: type[Any]) -> type[Any]:
        # It has to be a subclass: recorders such as vcrpy ask with isinstance.
        adapter = self

        class TrackedConnection(connection_class):  # type: ignore[misc]
            # A script that debugs sets this to 1 on the base class, and http.client
            # then prints whatever it sends, the password as well.
            debuglevel = 0

            def _new_conn(self) -> Any:
                opened = super()._new_conn()
                adapter.time_limit.watch_socket(opened)
                return opened

            def _tunnel(self) -> None:
                super()._tunnel()
                # A proxy's answer that is cut off looks like one that is complete. TLS
                # would begin, fail, and in Python 3.11 leave its socket open.
                adapter.time_limit.raise_if_over()

            def connect(self, *args: Any, **options: Any) -> None:
                super().connect(*args, **options)
                adapter.connected = True

        return TrackedConnection

    def _read_content(self, raw: Any) -> bytes:
        """Return the body of a response, unpacked, up to the cap."""
        body = io.BytesIO()
        left = ANSWER_CAP
        raw.decode_content = False
        try:
            # read1 returns what has arrived; read would wait for the whole.
            while count := body.write(raw.read1(left)):
                left -= count
                if not self.time_limit.has_thread:
                    self.time_limit.raise_if_over()
            if not _has_length(raw.headers):
                self.time_limit.raise_if_over()
        finally:
            raw.close()
        encoding = raw.headers.get("Content-Encoding", "").lower()
        if encoding not in ("gzip", "deflate"):
            return body.getvalue()
        # The request asks for no encoding, but some gateways pack every answer.
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            return unpacker.decompress(body.getvalue(), ANSWER_CAP)
        except zlib.error as error:
            raise ContentDecodingError(error) from error


def _has_length(headers: Any) -> bool:
    """Return whether a body that ends too early is an error by itself."""
    return "Content-Length" in headers or "Transfer-Encoding" in headers


class TimeLimit:
    """Cuts connections off when their time is over.

    Timeouts of ``requests`` are for each read, and a server that sends a byte a second
    keeps within them forever. So a thread waits beside the request. Where none can be
    started (``has_thread``), ``raise_if_over`` has to be called between reads.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._is_cut = False
        self._end = time.monotonic() + seconds
        self._finished = threading.Event()
        self._sockets: list[Any] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch the clock; ``finish`` has to be called in any case."""
        try:
            # An isolated sub-interpreter allows no daemon thread.
            thread = threading.Thread(
                target=self._wait_and_cut, name="turvo_session", daemon=True
            )
            thread.start()
            self._thread = thread
        except RuntimeError:
            return

    def finish(self) -> None:
        """Stop to watch the clock, and close the duplicates of the sockets."""
        self._finished.set()
        if self._thread is not None:
            # It could otherwise shut a descriptor down that another socket has got.
            self._thread.join()
        while self._sockets:
            self._sockets.pop().close()

    @property
    def has_thread(self) -> bool:
        """Whether a thread watches the clock."""
        return self._thread is not None

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        if self.has_thread:
            return self._is_cut
        return time.monotonic() > self._end

    def raise_if_over(self) -> None:
        """Raise ``TimeoutError`` if the time is over."""
        if self.is_over:
            raise TimeoutError(f"not finished within {self.seconds:.1f} s")

    def watch_socket(self, opened: Any) -> None:
        """Cut this socket off when the time is over. Raises if it is over already.

        A password that is sent after the login has failed could be one too many.
        """
        # TLS takes the file descriptor over, which leaves this socket object useless. A
        # duplicate reaches the same connection. The socket of a mock may return none.
        duplicate = opened.dup()
        if duplicate is not None:
            self._sockets.append(duplicate)
        # Not before: the thread may have looked at the sockets in between.
        if self.is_over:
            opened.close()
            self.raise_if_over()

    def cut(self) -> None:
        """End every connection, and let no other one begin."""
        self._is_cut = True
        for one in self._sockets:
            with suppress(OSError):  # the server may have ended it
                one.shutdown(socket.SHUT_RDWR)

    def _wait_and_cut(self) -> None:
        # In parts: while this process is suspended or starved only one of them passes,
        # and an answer that has arrived meanwhile is still read.
        for _ in range(10):
            if self._finished.wait(self.seconds / 10):
                return
        self.cut()


_is_logging_in: ContextVar[bool] = ContextVar("turvo_session_login", default=False)


def _is_for_others(record: logging.LogRecord) -> bool:
    """Return whether a record of the OAuth library is not about a login here."""
    return not _is_logging_in.get()


@contextmanager
def quiet_oauth_library() -> Iterator[None]:
    """Keep what the OAuth library logs in this context from every handler.

    Records of other threads and of other users of the library are not affected.
    """
    logging.getLogger("requests_oauthlib.oauth2_session").addFilter(_is_for_others)
    mark = _is_logging_in.set(True)
    try:
        yield
    finally:
        _is_logging_in.reset(mark)
