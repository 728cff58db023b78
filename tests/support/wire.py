"""Servers that misbehave on purpose, and what the tests of the wire share.

``Site`` answers whatever a test wants, well made or byte for byte, and keeps what it
was sent. ``log_in`` makes a login at it, ``auth_at`` an auth for it.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hypothesis import HealthCheck, settings
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from tests.support.clock import Clock
from tests.support.threads import until
from turvo_session.failure import Failure
from turvo_session.login import Credentials, Grant, PasswordLogin, TlsOptions
from turvo_session.store import Change, MemoryStore, Slot
from turvo_session.tokens import Token, dump

if TYPE_CHECKING:
    from turvo_session import TurvoAuth

API_KEY = "fake-api-key-0001"
USERNAME = "dispatcher@broker.example"
PASSWORD = "correct horse battery staple"
CLIENT_SECRET = "client-secret-0001"
CREDENTIALS = Credentials(API_KEY, USERNAME, PASSWORD, "publicapi", CLIENT_SECRET)
"""What ``FakeTurvo`` accepts, but for the client secret."""
SECRETS = (API_KEY, PASSWORD, CLIENT_SECRET)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: the machine may be a slow one."""


class Arrived(NamedTuple):
    """A request as it arrived. ``port`` is the client's, so it names the connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


class Reply(NamedTuple):
    """A well-made answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Answer = Reply | Iterable[bytes]
"""A reply, or all that goes over the wire."""


class Site:
    """A server at ``host`` that gives ``answer(request)``.

    That is a ``Reply``, or raw bytes in parts; after those the connection ends.
    """

    def __init__(
        self,
        answer: Callable[[Arrived], Answer] = lambda _: Reply(),
        *,
        host: str = "127.0.0.2",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.arrived: list[Arrived] = []
        self.connections: list[socket.socket] = []
        self.sent = 0
        """Raw bytes that went out."""
        self.hung_up = threading.Event()
        """The client closed the connection before the raw bytes ended."""
        self.stopped = threading.Event()
        self._server = _SiteServer((host, 0), _SiteHandler)
        self._server.site = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Its origin."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}"

    @property
    def token_url(self) -> str:
        """The URL of its token endpoint."""
        return f"{self.url}/v1/oauth/token"

    def silence(self) -> Iterator[bytes]:
        """Return an answer that never begins."""
        self.stopped.wait(30)
        yield b""

    def drip(self, first: bytes, then: bytes = b"x") -> Iterator[bytes]:
        """Return an answer that begins with ``first`` and goes on slowly forever."""
        yield first
        while not self.stopped.wait(0.05):
            yield then


class _SiteServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    site: Site

    def process_request(self, request: Any, client_address: Any) -> None:
        self.site.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not an error of the server."""


class _SiteHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 20
    server: _SiteServer

    def _handle_request(self) -> None:
        site = self.server.site
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        port = self.client_address[1]
        arrived = Arrived(self.command, self.path, headers, body, port)
        site.arrived.append(arrived)
        answer = site.answer(arrived)
        if isinstance(answer, Reply):
            self._send_reply(answer)
            return
        self.close_connection = True
        try:
            for part in answer:
                self.wfile.write(part)
                self.wfile.flush()
                site.sent += len(part)
        except OSError:
            site.hung_up.set()

    def _send_reply(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_CONNECT = _handle_request

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def token_answer(token: str = "token-1", **changed: Any) -> bytes:
    """Return the body of a token response; ``...`` leaves a field out."""
    fields = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": 43198,
        "scope": "trust read write",
        **changed,
    }
    kept = {name: value for name, value in fields.items() if value is not ...}
    return json.dumps(kept).encode()


def ok(body: bytes) -> Reply:
    """Return a 200 with JSON."""
    return Reply(200, body, (("Content-Type", "application/json"),))


def is_secret_free(*things: object) -> bool:
    """Return whether no text of these things has a secret of a login or its answer."""
    hidden = (*SECRETS, "token-1", "wrong:")
    return not [one for one in hidden for thing in things if one in repr(thing)]


def head(status: int = 200, *headers: str) -> bytes:
    """Return the beginning of a raw answer."""
    return "\r\n".join((f"HTTP/1.1 {status} Odd", *headers, "", "")).encode()


TOKEN = ok(token_answer())
"""A good answer of the token endpoint."""


class Script:
    """What a ``Site`` answers: token-1, token-2 and so on to logins.

    All other requests get ``answers`` in turn, and the last one for ever.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.logins = 0
        self._lock = threading.Lock()

    def __call__(self, arrived: Arrived) -> Answer:
        with self._lock:
            if arrived.path.endswith("/oauth/token"):
                self.logins += 1
                return ok(token_answer(f"token-{self.logins}"))
            if len(self.answers) > 1:
                return self.answers.pop(0)
            return self.answers[0]


def log_in(
    token_url: str,
    *,
    attempts: int = 1,
    may_count: int = 2,
    timeouts: tuple[float, float] = (3.05, 10.0),
    credentials: Credentials = CREDENTIALS,
    extend: Callable[[float], None] = lambda _: None,
    **tls: Any,
) -> Grant | Failure:
    """Return what a login at ``token_url`` comes to."""
    login = PasswordLogin(credentials, token_url, timeouts, TlsOptions(**tls))
    return login(attempts=attempts, may_count=may_count, extend=extend)


def timers_end() -> bool:
    """Return whether the timers of all logins end in time."""

    def none_is_left() -> bool:
        names = [thread.name for thread in threading.enumerate()]
        return "turvo_session" not in names

    return bool(until(none_is_left))


def assert_failed(result: Grant | Failure, kind: str, *words: str) -> Failure:
    """Check the kind of a failure, and that its text has ``words`` but no secret."""
    assert isinstance(result, Failure)
    assert result.kind == kind
    assert [word for word in words if word not in result.why] == []
    assert not result.why.endswith(".")
    assert is_secret_free(result)
    assert timers_end()
    return result


class HandMadeTime(Clock):
    """Takes the place of ``time`` in the login, and keeps what a login asks for."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.pauses: list[float] = []
        self.extended: list[float] = []
        self.monotonic = self

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        super().sleep(seconds)

    def log_in(self, *answers: Answer, **options: Any) -> Grant | Failure:
        """Log in with these answers, the last one for all further tries."""
        first = len(self.site.arrived) + 1
        last = len(answers) - 1

        def answer(_: object) -> Answer:
            return answers[min(len(self.site.arrived) - first, last)]

        if answers:
            self.site.answer = answer
        options = {"attempts": 3, "extend": self.extended.append} | options
        return log_in(self.site.token_url, **options)


def auth_at(url: str, **options: Any) -> TurvoAuth:
    """Return an auth for a server that is not a ``FakeTurvo``."""
    from turvo_session import TurvoAuth

    return TurvoAuth(
        base_url=url,
        api_key=API_KEY,
        username=USERNAME,
        password=PASSWORD,
        **options,
    )


def store_with(secret: str) -> MemoryStore:
    """Return a store that holds a token, so that an auth with it does not log in."""
    store, now = MemoryStore(), time.monotonic()
    token = Token(secret, now, 3600.0, 300.0)
    assert store.swap(store.read(), Change(token=Slot(dump(token, now), 3600.0)))
    return store


class Recording(HTTPAdapter):
    """Keeps what ``requests`` gives it to send, each request with its options."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[PreparedRequest, dict[str, Any]]] = []

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        self.calls.append((request, options))
        return super().send(request, **options)


def self_signed(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 with its key, and return the file."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turvo.test")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path
