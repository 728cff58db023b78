"""The login: credentials in, a ``Grant`` or a ``Failure`` out (RFC 6749 section 4.3).

The OAuth library makes the token request, in the caller's thread. One compliance hook
turns its form into the JSON that Turvo wants. The other one judges the answer strictly,
status first, and leaves the library a clean token response.

No exception of the libraries below leaves this module, because their texts and frames
hold the password. An exception that somebody else raises in the caller's thread, such
as ``KeyboardInterrupt`` or the time limit of a job queue, comes out at once and
unchanged.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import SystemRandom
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import requests
from requests import exceptions as requests_errors
from urllib3 import exceptions as urllib3_errors
from urllib3.util import Retry

from . import tokens
from .errors import SettingsError, TurvoAuthError
from .failure import (
    FOREIGN,
    LONGEST_RETRY_AFTER,
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Failure,
)
from .secret import Hidden, Secret

if TYPE_CHECKING:
    import tenacity

LOGIN_SECONDS = 30.0
"""Seconds for all tries of one login together."""
FIRST_PAUSE = 0.5
"""Seconds before the second try, less up to a half at random; then they double."""
LONGEST_PAUSE = 10.0
"""The longest ``Retry-After`` in seconds that a login waits for by itself."""
UNKNOWN_LIFE = 3600.0
"""Seconds that a token lives if the answer does not say so (RFC 6749 section 5.1)."""

# OWASP's Password Storage Cheat Sheet (2024) lists this set of scrypt as equal to
# N=2**17, p=1. It takes 16 MB of memory and about 0.2 s. The other set takes 128 MB,
# which would end a process in a small container. FIPS 140 allows no scrypt, but PBKDF2,
# with the number of iterations that the same page asks for.
SLOW_HASHES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("scrypt", {"n": 2**14, "r": 8, "p": 5, "dklen": 32}),
    ("pbkdf2_hmac", {"hash_name": "sha256", "iterations": 600_000}),
)

DEFAULT_PORTS = {"http": 80, "https": 443}
UNAVAILABLE_STATUSES = (408, 425, 429, 502, 503)
REJECTED_STATUSES = (400, 401, 403, 422, 423)
COUNTED = (UNANSWERED, FOREIGN, REJECTED)
"""Kinds of failures that Turvo may count as wrong passwords."""
UNAVAILABLE_ERRORS = ("server_error", "temporarily_unavailable")
OAUTH_ERRORS = (
    "access_denied",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
)
"""The OAuth codes that a message repeats. Any other text could be a secret."""


class Credentials(Hidden):
    """What a login sends to Turvo, each value in a ``Secret``.

    ``password`` is a string, or a callable that returns one and is called at every
    login.
    """

    __slots__ = ("api_key", "client_id", "client_secret", "password", "username")

    def __init__(
        self,
        api_key: str,
        username: str,
        password: str | Callable[[], str],
        client_id: str,
        client_secret: str,
    ) -> None:
        self.api_key: Secret[str] = Secret(api_key)
        self.username: Secret[str] = Secret(username)
        self.password: Secret[Any] = Secret(password)
        self.client_id: Secret[str] = Secret(client_id)
        self.client_secret: Secret[str] = Secret(client_secret)

    def current_password(self) -> Secret[str]:
        """Return the password; if it is a callable, what that returns now.

        Raises ``SettingsError`` if the callable raises or returns anything but a
        password. A ``TurvoAuthError`` of the callable passes unchanged.
        """
        password = self.password
        if isinstance(password.reveal(), str):
            return password
        answer: Secret[Any] = Secret(None)
        problem = ""
        try:
            answer = Secret(password.reveal()())
        except TurvoAuthError:
            raise
        except Exception as error:
            if raised_by_signal_handler(error):
                raise
            problem = f"raised {type(error).__name__}"
        if not problem and not _is_password(answer.reveal()):
            problem = (
                "must return a non-empty string, without blanks at its ends, that "
                "UTF-8 can encode"
            )
        if problem:
            # Outside the except block: its exception may hold a secret.
            kind = type(password.reveal()).__name__
            name = getattr(password.reveal(), "__qualname__", kind)
            raise SettingsError(f"password: the callable {name} {problem}")
        return answer


def _is_password(value: object) -> bool:
    """Return whether ``value`` can be a password. The settings ask for the same."""
    if not isinstance(value, str) or not value or value != value.strip():
        return False
    # Bytes of a file or an environment that are not UTF-8 become lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in value)


class TlsOptions(Hidden):
    """How the token request is secured and routed, as in ``requests``. Frozen.

    ``verify``: ``True``, ``False``, or the path of a bundle of CA certificates.
    ``cert``: the path of a client certificate, or a pair with that of its key.
    ``proxies``: proxy URLs by scheme, which can hold a password.
    """

    __slots__ = ("_options",)

    _options: Secret[dict[str, Any]]

    def __init__(
        self,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        options = {"verify": verify, "cert": cert, "proxies": dict(proxies or {})}
        object.__setattr__(self, "_options", Secret(options))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("TlsOptions cannot be changed")

    def for_request(self) -> dict[str, Any]:
        """Return the options as arguments of a request."""
        options = self._options.reveal()
        # requests adds the proxies of the environment to the dict that it gets.
        return {**options, "proxies": dict(options["proxies"])}


class Grant(Hidden):
    """What a login gave: ``access_token``, and ``expires_in``, its life in seconds.

    ``sent`` and ``received`` are the monotonic moments before the request and after the
    answer. The life counts from ``sent``, unless the token is one that Turvo had given
    before.
    """

    __slots__ = ("_secret", "expires_in", "received", "sent")

    def __init__(
        self, access_token: str, expires_in: float, sent: float, received: float
    ) -> None:
        self._secret = Secret(access_token)
        self.expires_in: float = expires_in
        self.sent: float = sent
        self.received: float = received

    @property
    def access_token(self) -> str:
        """The secret itself, as Turvo gave it."""
        return self._secret.reveal()


class PasswordLogin(Hidden):
    """Logs in at ``token_url``.

    ``timeouts``: seconds to connect and to wait for data. ``attempt_seconds``: their
    sum, at most 30, is the longest time of one try. Only the look-up of a name, and of
    its addresses one by one, has limits of its own; a try that is late because of them
    sends nothing. ``url_hash``: 12 hex digits that name the endpoint in records of
    failures.
    """

    __slots__ = (
        "_credentials",
        "_last_proof",
        "_timeouts",
        "_tls",
        "_token_url",
        "attempt_seconds",
        "url_hash",
    )

    def __init__(
        self,
        credentials: Credentials,
        token_url: str,
        timeouts: tuple[float, float],
        tls: TlsOptions | None = None,
    ) -> None:
        self._credentials = credentials
        self._token_url = token_url
        self._timeouts = timeouts
        self._tls = tls or TlsOptions()
        self._last_proof: Secret[tuple[str, ...]] = Secret(())
        self.attempt_seconds: float = min(sum(timeouts), LOGIN_SECONDS)
        self.url_hash: str = hashlib.sha256(token_url.encode()).hexdigest()[:12]

    def __call__(
        self, *, attempts: int, may_count: int, extend: Callable[[float], None]
    ) -> Grant | Failure:
        """Log in, in at most ``attempts`` tries and 30 s.

        Turvo may count a try as a wrong password if the request was sent and the answer
        is not what it should be. After ``may_count`` of those there is no further try.
        ``extend(seconds)`` is called before every pause and every further try. Raises
        ``SettingsError`` if a callable password gives none.
        """
        return _Tries(self, attempts, may_count, extend).outcome()

    def proof(self, salt: str) -> str:
        """Return a salted hash of the credentials, in hex, for ``salt`` in hex.

        Processes with the same credentials recognize each other's records by it. It
        covers the API key, which is in no store, so whoever reads the store cannot test
        passwords against it. Returns ``""``, which must match nothing, for a salt that
        is not hex, and where OpenSSL has neither scrypt nor PBKDF2.
        """
        credentials = self._credentials
        password = credentials.current_password()
        asked = Secret((salt, password.reveal()))
        known = self._last_proof
        if known.reveal()[:2] != asked.reveal():
            fields = [
                credentials.client_id,
                credentials.username,
                password,
                credentials.client_secret,
                credentials.api_key,
            ]
            made = _salted_hash(salt, self._token_url, fields)
            known = self._last_proof = Secret((*asked.reveal(), made))
        return known.reveal()[2]


class _Tries:
    """One login: its tries, and what Turvo may have counted of them."""

    def __init__(
        self,
        login: PasswordLogin,
        attempts: int,
        may_count: int,
        extend: Callable[[float], None],
    ) -> None:
        self._login = login
        self._password = login._credentials.current_password()
        self._attempts = attempts
        self._may_count = may_count
        self._extend = extend
        self._counted = 0
        self._start = time.monotonic()

    def outcome(self) -> Grant | Failure:
        """Try until there is a token, or no further try may help."""
        import tenacity  # costs a third of `import requests`, and is needed twice a day

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(_is_worth_another_try),
            stop=self._is_over,
            wait=_PauseBetweenTries(tenacity.wait_exponential(multiplier=FIRST_PAUSE)),
            sleep=time.sleep,
            before=self._extend_for_try,
            before_sleep=self._extend_for_pause,
            retry_error_callback=_last_outcome,
        )
        outcome = retrying(self._try_once)
        if isinstance(outcome, Failure):
            return outcome._replace(attempts=self._counted)
        return outcome

    def _try_once(self) -> Grant | Failure:
        """Make one token request, in the time that is left, and count it if need be."""
        # Only a process that was suspended in the pause before has less than a second.
        seconds = min(self._login.attempt_seconds, max(1.0, self._seconds_left()))
        outcome = _TokenRequest(self._login, seconds).outcome(self._password)
        if isinstance(outcome, Failure) and outcome.kind in COUNTED:
            self._counted += 1
        return outcome

    def _seconds_left(self) -> float:
        return LOGIN_SECONDS - (time.monotonic() - self._start)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        """Return whether there may be no further try, or no time for one."""
        if state.attempt_number >= self._attempts or self._counted >= self._may_count:
            return True
        return state.upcoming_sleep + 1.0 > self._seconds_left()

    def _extend_for_try(self, state: tenacity.RetryCallState) -> None:
        """Extend the lease by a whole try. The first one is covered already."""
        if state.attempt_number > 1:
            self._extend(self._login.attempt_seconds)

    def _extend_for_pause(self, state: tenacity.RetryCallState) -> None:
        """Extend the lease by a pause."""
        self._extend(state.upcoming_sleep)


def _is_worth_another_try(outcome: Grant | Failure) -> bool:
    """Return whether the next try may succeed where this one failed, and soon."""
    if isinstance(outcome, Grant) or outcome.kind in (REJECTED, FOREIGN):
        return False
    return (outcome.retry_after or 0.0) <= LONGEST_PAUSE


def _last_outcome(state: tenacity.RetryCallState) -> Any:
    """Return what the last try came to."""
    assert state.outcome is not None  # there was a try
    return state.outcome.result()


class _PauseBetweenTries:
    """Pauses as long as the server asks for; else for ``backoff`` less a random part.

    Without the random part, the processes of a fleet would all come back at once.
    """

    def __init__(self, backoff: Callable[[tenacity.RetryCallState], float]) -> None:
        self._backoff = backoff
        # Not the shared generator: a script may have seeded it for results of its own.
        self._random = SystemRandom()

    def __call__(self, state: tenacity.RetryCallState) -> float:
        failure = _last_outcome(state)
        if failure.retry_after is not None:
            return float(failure.retry_after)
        return self._backoff(state) * self._random.uniform(0.5, 1.0)


class _TokenRequest(Hidden):
    """One token request, from its session to what came of it within ``seconds``."""

    __slots__ = ("_adapter", "_grant", "_login", "_seconds", "_sent", "_session")

    def __init__(self, login: PasswordLogin, seconds: float) -> None:
        from .transport import LoginAdapter, LoginSession

        self._login = login
        self._seconds = seconds
        self._adapter = LoginAdapter(seconds)
        self._session = LoginSession(
            login._token_url, login._credentials.client_id.reveal(), self._adapter
        )
        register = self._session.register_compliance_hook
        register("access_token_request", _as_json)  # type: ignore[call-overload]
        register("access_token_response", self._judge)
        self._sent = time.monotonic()
        self._grant: Grant

    def outcome(self, password: Secret[str]) -> Grant | Failure:
        """Send the request, and return what came of it."""
        from .transport import LIBRARY_ERRORS

        with self._session:
            self._adapter.time_limit.start()
            try:
                return self._fetch(password)
            except _NoToken as no_token:
                return no_token.failure
            except LIBRARY_ERRORS as error:
                signalled = raised_by_signal_handler(error)
                failure = self._explain(error)
        # Outside the except block: the library's exception holds the request.
        if signalled is not None:
            raise signalled
        return failure

    def _fetch(self, password: Secret[str]) -> Grant:
        """Return the token that the OAuth library fetches, with its times."""
        from .transport import quiet_oauth_library

        credentials = self._login._credentials
        with quiet_oauth_library():
            token = self._session.fetch_token(
                self._session.https_url,
                username=credentials.username.reveal(),
                password=password.reveal(),
                client_secret=credentials.client_secret.reveal(),
                include_client_id=True,
                scope="read+trust+write",
                type="business",
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "x-api-key": credentials.api_key.reveal(),
                },
                timeout=tuple(min(self._seconds, one) for one in self._login._timeouts),
                **self._login._tls.for_request(),
            )
        judged = self._grant
        return Grant(
            token["access_token"], judged.expires_in, judged.sent, judged.received
        )

    def _judge(self, stand_in: requests.Response) -> requests.Response:
        """Leave the OAuth library a clean token response, or raise ``_NoToken``."""
        from .transport import with_content

        verdict = judge(
            self._login._token_url,
            self._session.answer.reveal(),
            sent=self._sent,
            received=time.monotonic(),
        )
        if isinstance(verdict, Failure):
            raise _NoToken(verdict)
        self._grant = verdict
        return with_content(stand_in, _token_response(verdict))

    def _explain(self, error: Exception) -> Failure:
        """Return the failure that an exception of the libraries stands for."""
        url = self._login._token_url
        seconds = f"{self._seconds:.1f} s"
        is_over = self._adapter.time_limit.is_over
        if not _may_have_been_sent(error, self._adapter.connected):
            if is_over:
                return Failure(UNREACHABLE, f"no connection for {url} in {seconds}")
            return Failure(UNREACHABLE, _why_unreachable(error, url))
        if is_over:
            return Failure(UNANSWERED, f"POST {url} did not finish within {seconds}")
        names = _names_of(error)
        return Failure(UNANSWERED, f"POST {url} gave no whole answer ({names})")


def _token_response(grant: Grant) -> bytes:
    """Return the token response that the OAuth library expects."""
    fields = {"access_token": grant.access_token, "token_type": "Bearer"}
    return json.dumps(fields).encode()


class _NoToken(Exception):
    """The answer to a token request is not a token."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


def _as_json(url: str, headers: Any, options: dict[str, Any]) -> tuple[Any, ...]:
    """Send as JSON what the OAuth library would send as a form."""
    return url, headers, {"json": options["data"], "allow_redirects": False}


def judge(
    token_url: str, answer: requests.Response, *, sent: float, received: float
) -> Grant | Failure:
    """Return what an answer of the token endpoint means, by its status first.

    ``sent`` and ``received`` are for the ``Grant``. RFC 6749 sections 5.1 and 5.2, RFC
    9110 section 10.2.3, and Turvo's envelope. The text of a failure repeats nothing of
    the answer but its status and the error codes of OAuth.
    """
    status = answer.status_code
    answered = f"POST {token_url} answered {status}"
    retry_after = parse_retry_after(answer.headers.get("Retry-After"))
    if status in UNAVAILABLE_STATUSES:
        return Failure(UNAVAILABLE, answered, retry_after=retry_after)
    if status >= 500:
        return Failure(UNANSWERED, answered)
    fields = tokens.parse_object(answer.content)
    problem = _token_problem(fields)
    if status == 200 and not problem:
        return Grant(fields["access_token"], _token_life(fields), sent, received)
    if _reports_error(status, fields, answer.content):
        if fields.get("error") in UNAVAILABLE_ERRORS:
            text = f"{answered} {fields['error']}"
            return Failure(UNAVAILABLE, text, retry_after=retry_after)
        return Failure(REJECTED, answered + _rejection_detail(status, fields))
    if status == 200:
        return Failure(FOREIGN, f"{answered} {problem}")
    if 300 <= status < 400:
        return Failure(FOREIGN, f"{answered}, a redirect, which is not followed")
    return Failure(FOREIGN, answered)


def _token_problem(fields: dict[str, Any]) -> str:
    """Return why ``fields`` are not a token response, or ``""`` if they are one."""
    if not tokens.usable(fields.get("access_token")):
        return "without a usable access_token"
    if str(fields.get("token_type") or "Bearer").lower() != "bearer":
        return "with a token_type other than Bearer"
    if math.isnan(_token_life(fields)):
        return "with an expires_in that is not a number of seconds"
    return ""


def _token_life(fields: dict[str, Any]) -> float:
    """Return the seconds that a token lives, or NaN if ``expires_in`` is not valid."""
    if fields.get("expires_in") is None:
        return UNKNOWN_LIFE
    seconds = tokens.parse_seconds(fields["expires_in"])
    return math.nan if seconds is None else min(seconds, tokens.LONGEST_LIFE)


def _reports_error(status: int, fields: dict[str, Any], content: bytes) -> bool:
    """Return whether an answer is a JSON object that reports an error."""
    if status == 200:
        return bool(fields.get("error")) or fields.get("Status") == "ERROR"
    is_object = bool(fields) or b"".join(content.split()) == b"{}"
    return is_object and status in REJECTED_STATUSES


def _rejection_detail(status: int, fields: dict[str, Any]) -> str:
    """Return what to add to the status in the text about a rejection."""
    code = fields.get("error")
    if isinstance(code, str) and code in OAUTH_ERRORS:
        return f" {code}"
    if status == 403 and "message" in fields and code is None:
        return ", as an API gateway does if TURVO_API_KEY is wrong"
    if status == 200:
        return " with an error in it"
    return ""


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, at most 15 minutes.

    The header holds seconds or a date. Returns ``None`` if it holds neither.
    """
    if value is None:
        return None
    try:
        seconds = float(Retry().parse_retry_after(value))
    except (urllib3_errors.InvalidHeader, ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_RETRY_AFTER)


def raised_by_signal_handler(error: BaseException) -> BaseException | None:
    """Return the exception in ``error`` that a signal handler raised, if there is one.

    A job queue that raises its time limit from a signal handler interrupts whatever
    runs. If the limit is a ``TimeoutError``, urllib3 takes it for the socket's and
    wraps it; without this function, the login would try again.
    """
    handlers = set(_codes_of_signal_handlers())
    for one in _chained(error):
        # urllib3 gives its own errors the tracebacks of what they wrap.
        if not isinstance(one, urllib3_errors.HTTPError):
            for frame, _ in traceback.walk_tb(one.__traceback__):
                if frame.f_code in handlers:
                    return one
    return None


def _codes_of_signal_handlers() -> Iterator[CodeType]:
    """Yield the code of every signal handler of this process, as frames refer to it."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler):
            for function in (handler, type(handler).__call__):
                if hasattr(function, "__code__"):
                    yield function.__code__


def _chained(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and the ones that it wraps, the outermost first.

    Contexts do not count: they lead to what the caller happened to be handling.
    """
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and not any(one is other for other in seen):
            seen.append(one)
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__]
            yield one


def _may_have_been_sent(error: Exception, connected: bool | None) -> bool:
    """Return whether the server may have got the request.

    ``connected`` is ``None`` if a mock raised the error: then only its class can tell.
    """
    if connected is None:
        return not isinstance(error, _RAISED_BEFORE_SENDING)
    return connected


def _why_unreachable(error: Exception, token_url: str) -> str:
    """Return why there was no connection, in words that say what to check."""
    url = urlsplit(token_url)
    host = f"{url.hostname}:{url.port or DEFAULT_PORTS[url.scheme]}"
    wrapped = list(_chained(error))
    for kinds, words in _REASONS:
        for one in wrapped:
            if isinstance(one, kinds):
                detail = getattr(one, "verify_message", type(one).__name__)
                return words.format(host=host, detail=detail.rstrip("."))
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return "a file of `verify`, `cert` or REQUESTS_CA_BUNDLE cannot be read"
    for one in reversed(wrapped):
        if isinstance(one, OSError) and one.errno:
            return f"no connection to {host} ({os.strerror(one.errno)})"
    return f"no connection to {host} ({_names_of(error)})"


def _names_of(error: Exception) -> str:
    """Return the names of an exception and of the one at its root."""
    names = [type(one).__name__ for one in _chained(error)]
    return " of ".join(dict.fromkeys((names[0], names[-1])))


def _salted_hash(salt: str, token_url: str, fields: list[Secret[str]]) -> str:
    """Return a slow hash of all fields in hex, or ``""`` if OpenSSL makes none."""
    for name, options in SLOW_HASHES:
        try:
            hashed: bytes = getattr(hashlib, name)(
                password=json.dumps(
                    [token_url, *(field.reveal() for field in fields)]
                ).encode(),
                salt=bytes.fromhex(salt),
                **options,
            )
        except (AttributeError, ValueError):
            continue
        return hashed.hex()
    return ""


_RAISED_BEFORE_SENDING = (
    requests_errors.ConnectTimeout,
    requests_errors.ProxyError,
    requests_errors.SSLError,
    requests_errors.InvalidURL,
    requests_errors.InvalidSchema,
    requests_errors.InvalidHeader,
    UnicodeError,
)
_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (requests_errors.InvalidSchema,),
        "a SOCKS proxy needs the package PySocks; check HTTPS_PROXY and `proxies`",
    ),
    (
        (
            requests_errors.InvalidProxyURL,
            requests_errors.ProxyError,
            urllib3_errors.ProxyError,
        ),
        "the proxy did not connect to {host}; check HTTPS_PROXY and `proxies`",
    ),
    (
        (ssl.SSLCertVerificationError,),
        "the certificate of {host} is not trusted ({detail}); REQUESTS_CA_BUNDLE or "
        "`verify` can name the authorities",
    ),
    (
        (ssl.SSLError, requests_errors.SSLError),
        "TLS with {host} failed ({detail}); check `verify`, `cert` and the proxy",
    ),
    ((socket.gaierror,), "the name of the host {host} was not found"),
    (
        (requests_errors.Timeout,),
        "no connection to {host} within the connect timeout",
    ),
)
"""What a message says of the libraries' exceptions; the first line that fits counts."""
