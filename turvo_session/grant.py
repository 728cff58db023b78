"""Credentials to token: the one token request (RFC 6749 section 4.3).

It goes through ``requests_oauthlib.OAuth2Session`` and its two compliance hooks: on the way out
the form becomes the JSON that Turvo wants, on the way back the answer is judged here, strictly,
before oauthlib sees it. What comes of it is a value, a ``Grant`` or a ``Failure``: no exception of
the libraries below, whose texts and frames hold the password, leaves this module.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from hashlib import scrypt
from hmac import compare_digest
from os import urandom
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from . import tokens
from .deadline import Overdue, Running
from .failure import INVALID, REJECTED, RETRY_AFTER_CAP, THROTTLED, UNAVAILABLE, Failure
from .secret import Hidden, Secret
from .value import Value

if TYPE_CHECKING:
    import tenacity

BUDGET = 30.0
"""Seconds for all attempts of one login together."""
ANSWER_CAP = 1 << 20
"""Bytes of an answer that are read: Turvo's are a few thousand."""
UNKNOWN_LIFE = 3600.0
"""Seconds that a token is taken to live if the answer does not tell; RFC 6749 section 5.1 lets it."""
PATIENT_WITH = 10.0
"""The longest ``Retry-After``, in seconds, that a login waits for by itself."""


class Grant(Value, Hidden):
    """What a login gave: the secret, its life in seconds, and when it was sent and received."""

    __slots__ = ("_access_token", "expires_in", "received", "sent")
    __match_args__ = ("access_token", "expires_in", "sent", "received")

    def __init__(self, access_token: str, expires_in: float, sent: float, received: float) -> None:
        self._access_token: Secret[str] = Secret(access_token)
        self.expires_in: Final[float] = expires_in
        self.sent: Final[float] = sent
        self.received: Final[float] = received

    @property
    def access_token(self) -> str:
        """The secret."""
        return self._access_token.reveal()

    def __repr__(self) -> str:
        return f"<Grant {tokens.fingerprint(self.access_token)}>"


class Credentials(Hidden):
    """Who we are at Turvo."""

    __slots__ = ("_known", "api_key", "client_id", "client_secret", "password", "username")

    def __init__(
        self, api_key: str, username: str, password: str, client_id: str, client_secret: str
    ) -> None:
        self.api_key: Secret[str] = Secret(api_key)
        self.username: Secret[str] = Secret(username)
        self.password: Secret[str] = Secret(password)
        self.client_id: Secret[str] = Secret(client_id)
        self.client_secret: Secret[str] = Secret(client_secret)
        self._known: tuple[str, bool] = ("", False)

    def proof(self) -> str:
        """Something by which processes with the same credentials know that it is of theirs.

        scrypt with a random salt over all of them, the ``x-api-key`` too, which is in no store:
        whoever reads the store can test a password against it only slowly, and only with the key.
        """
        return self._proof(urandom(16))

    def match(self, proof: str) -> bool:
        """Whether ``proof`` was made from these credentials."""
        if self._known[0] != proof:
            try:
                salt = bytes.fromhex(proof[:32])
            except ValueError:
                return False
            made = self._proof(salt)
            self._known = (proof, made != "" and compare_digest(proof, made))
        return self._known[1]

    def _proof(self, salt: bytes) -> str:
        try:
            return salt.hex() + scrypt(self._whole(), salt=salt, n=1 << 14, r=8, p=1, dklen=32).hex()
        except ValueError:  # pragma: no cover - in a process of its own, by tests/test_processes.py
            return ""  # an OpenSSL without it (FIPS): each process then knows of its own rejection only

    def _whole(self) -> bytes:
        return json.dumps([getattr(self, name).reveal() for name in self.__slots__[1:]]).encode()


class PasswordGrant:
    """The login. ``timeout``: seconds to connect and to read; their sum, and 30 s, bound a whole attempt."""

    def __init__(
        self,
        credentials: Credentials,
        token_url: str,
        timeout: tuple[float, float],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._token_url = token_url
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock

    @property
    def attempt(self) -> float:
        """Seconds that one attempt takes at most."""
        return min(self._timeout[0] + self._timeout[1], BUDGET)

    def __call__(self, attempts: int, extend: Callable[[float], None]) -> Grant | Failure:
        """Log in, in at most ``attempts`` attempts and 30 s.

        Transient failures are tried again, rejected credentials never. ``extend(seconds)`` is
        called before every further pause and attempt with the seconds that it may take.
        """
        import tenacity  # costs a third of `import requests`, and is needed twice a day

        start = self._clock()

        def left() -> float:
            return BUDGET - (self._clock() - start)

        def attempt() -> Grant | Failure:
            # No time is left only to one that was stopped in the pause before, whose lease was extended.
            return self._attempt(min(self.attempt, max(1.0, left())))

        def before_sleep(state: tenacity.RetryCallState) -> None:
            extend(state.upcoming_sleep)

        def before(state: tenacity.RetryCallState) -> None:
            if state.attempt_number > 1:
                extend(self.attempt)

        result: Grant | Failure = tenacity.Retrying(
            sleep=self._sleep,
            stop=lambda state: state.attempt_number >= attempts or state.upcoming_sleep + 1 > left(),
            wait=_pause,
            retry=tenacity.retry_if_result(_worth_another),
            before=before,
            before_sleep=before_sleep,
            retry_error_callback=_last_result,
        )(attempt)
        if isinstance(result, Failure) and result.kind == REJECTED:
            return result._replace(proof=self._credentials.proof())
        return result

    def ours(self, proof: str) -> bool:
        """Whether a rejection speaks of these credentials."""
        return self._credentials.match(proof)

    def _attempt(self, seconds: float) -> Grant | Failure:
        adapter = _Guarded(self._token_url)
        request = Running(lambda: self._request(adapter))
        try:
            return request.result(seconds)
        except Overdue:
            adapter.cut()
        return Failure(UNAVAILABLE, f"POST {self._token_url} did not finish within {seconds:.1f} s")

    def _request(self, adapter: _Guarded) -> Grant | Failure:
        from oauthlib.oauth2 import LegacyApplicationClient
        from requests_oauthlib import OAuth2Session

        found: list[Grant | Failure] = []
        sent = self._clock()

        def to_turvo(url: Any, headers: Any, _: Any) -> tuple[Any, Any, Any]:
            return url, headers, {"json": self._body(), "allow_redirects": False}

        def from_turvo(response: requests.Response) -> requests.Response:
            found.append(judge(self._token_url, response, sent=sent, received=self._clock()))
            response._content = b'{"access_token": "judged", "token_type": "Bearer"}'
            return response

        with OAuth2Session(client=LegacyApplicationClient(self._credentials.client_id.reveal())) as session:
            session.mount("https://", adapter)
            session.register_compliance_hook("access_token_request", to_turvo)  # type: ignore[call-overload]
            session.register_compliance_hook("access_token_response", from_turvo)
            try:
                with _unlogged:
                    session.fetch_token(
                        "https" + self._token_url[self._token_url.index(":") :],
                        username="",
                        password="",
                        auth=_no_auth,
                        headers={
                            "Accept": "application/json",
                            "x-api-key": self._credentials.api_key.reveal(),
                        },
                        timeout=self._timeout,
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, its text and frames hold the password
                found.append(Failure(UNAVAILABLE, f"POST {self._token_url} failed: {_names(error)}"))
        return found[0]

    def _body(self) -> dict[str, str]:
        return {
            "grant_type": "password",
            "client_id": self._credentials.client_id.reveal(),
            "client_secret": self._credentials.client_secret.reveal(),
            "username": self._credentials.username.reveal(),
            "password": self._credentials.password.reveal(),
            "scope": "read+trust+write",
            "type": "business",
        }


def judge(token_url: str, response: requests.Response, *, sent: float, received: float) -> Grant | Failure:
    """What the answer of the token endpoint means. RFC 6749 sections 5.1 and 5.2; RFC 9110 section 10.2.3."""
    status, retry_after = response.status_code, response.headers.get("Retry-After")
    answered = f"POST {token_url} answered {status}"
    fields = tokens.parse(response.content)
    if status == 200:
        return _granted(answered, fields, sent, received)
    if status == 400 or status in (401, 403, 423):
        code = fields.get("error")
        known = code in ("invalid_grant", "invalid_client", "invalid_request", "unauthorized_client")
        return Failure(REJECTED, f"{answered} {code}" if known else answered)
    if status == 429:
        return Failure(THROTTLED, answered, retry_after=_seconds(retry_after))
    if status in (408, 425) or status >= 500:
        return Failure(UNAVAILABLE, answered, retry_after=_seconds(retry_after))
    return Failure(INVALID, answered + (", a redirect, which is not followed" if 300 <= status < 400 else ""))


def _granted(answered: str, fields: dict[str, Any], sent: float, received: float) -> Grant | Failure:
    secret, kind, life = (fields.get(key) for key in ("access_token", "token_type", "expires_in"))
    if not isinstance(secret, str) or not tokens.usable(secret):
        return Failure(INVALID, f"{answered} without a usable access_token")
    if kind is not None and (not isinstance(kind, str) or kind.lower() != "bearer"):
        return Failure(INVALID, f"{answered} with a token_type other than Bearer")
    seconds = UNKNOWN_LIFE if life is None else tokens.number(life)
    if seconds is None:
        return Failure(INVALID, f"{answered} with an expires_in that is no number of seconds")
    return Grant(secret, min(seconds, tokens.LONGEST_LIFE), sent, received)


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        seconds = Retry().parse_retry_after(retry_after)
    except (InvalidHeader, ValueError, OverflowError):
        return None
    return min(float(seconds), RETRY_AFTER_CAP)


def _worth_another(result: Grant | Failure) -> bool:
    return isinstance(result, Failure) and result.transient and (result.retry_after or 0.0) <= PATIENT_WITH


def _pause(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else 0.5 s, doubling, of which a random half is left out."""
    result = state.outcome and state.outcome.result()
    if isinstance(result, Failure) and result.retry_after is not None:
        return result.retry_after
    return float(0.5 * 2 ** (state.attempt_number - 1) * (0.5 + urandom(1)[0] / 512))


def _last_result(state: tenacity.RetryCallState) -> Any:
    return state.outcome and state.outcome.result()


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request  # neither a Basic header with the client secret, nor netrc


def _names(error: Exception) -> str:
    """The name of an error and, where ``requests`` wraps one of urllib3, of its reason."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return type(error).__name__ + (f" ({type(reason).__name__})" if reason else "")


def _bounded(response: requests.Response) -> bytes:
    """No more of the body than ``ANSWER_CAP``, unpacked or not: a few bytes can become as many as one likes."""
    body = b""
    while part := response.raw.read(ANSWER_CAP - len(body), decode_content=False):
        body += part
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "deflate"):  # though not asked for
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, ANSWER_CAP)
    return body


class _Guarded(HTTPAdapter):
    """Reads no more of an answer than ``ANSWER_CAP``, lets nobody follow a ``Location``, can be cut off."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        # The OAuth library insists on https. Plain http is for loopback addresses alone, which is seen
        # to where the settings are read.
        request.url = self._url
        request.headers["Accept-Encoding"] = "identity"
        if self._url.startswith("http:"):
            options["proxies"] = {}  # loopback: to a proxy the password would travel in clear
        response = super().send(request, **{**options, "stream": True})
        response.headers.pop("Location", None)
        response._content = _bounded(response)
        response._content_consumed = True
        response.encoding = "utf-8"  # else `.text`, which the OAuth library reads, guesses at length
        response.close()
        return response

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool, made to tell the sockets that it opens."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        make = pool.ConnectionCls

        def tracked(*args: Any, **options: Any) -> Any:
            connection = make(*args, **options)
            connect = connection.connect

            def connect_and_tell() -> None:
                connect()
                self._sockets.append(connection.sock)
                if self._is_cut:  # meanwhile: a password that is sent now may be one too many
                    raise ConnectionAbortedError

            connection.connect = connect_and_tell
            return connection

        pool.ConnectionCls = tracked
        return pool

    def cut(self) -> None:
        """End whatever still reads from the server, or is about to write to it."""
        self._is_cut = True
        for sock in self._sockets:
            with suppress(OSError):  # it may have ended by itself
                sock.shutdown(socket.SHUT_RDWR)


class _Unlogged(logging.Filter):
    """Keeps the OAuth library's DEBUG records of our logins from every handler: they hold the password."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self._here, "on", False)

    def __enter__(self) -> None:
        logging.getLogger("requests_oauthlib.oauth2_session").addFilter(self)  # twice is once
        self._here.on = True

    def __exit__(self, *_: object) -> None:
        self._here.on = False


_unlogged = _Unlogged()
