"""What the tests of the wire share: servers that misbehave on purpose, and whatever tells what was sent."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from hypothesis import HealthCheck, settings
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from turvo_session import Change, MemoryStore, Slot, Token, TurvoAuth
from turvo_session.failure import Failure
from turvo_session.grant import Credentials, Grant, PasswordGrant
from turvo_session.testing import FakeTurvo
from turvo_session.tokens import dump

CREDENTIALS = Credentials(
    FakeTurvo.api_key, FakeTurvo.username, FakeTurvo.password, "publicapi", "client-secret-0001"
)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: the machine may be a slow one."""
SECRETS = (FakeTurvo.api_key, FakeTurvo.password, "client-secret-0001")


class Arrived(NamedTuple):
    """A request as it came over the wire; ``port`` is the client's, one a connection."""

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


Answer = Reply | Iterable[bytes]  # or all that goes over the wire, byte for byte


class Site:
    """A server at ``host`` that gives ``answer(arrived)``: a ``Reply``, or raw bytes, for ever if they do not end."""

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
        self._server = _Server((host, 0), _Handler)
        self._server.site = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):  # ended already
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Its origin."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}"

    def silence(self) -> Iterator[bytes]:
        """Nothing, for ever."""
        self.stopped.wait(30)
        yield b""

    def drip(self, first: bytes, then: bytes = b"x") -> Iterator[bytes]:
        """``first`` at once, and ``then`` again and again, slowly, for ever."""
        yield first
        while not self.stopped.wait(0.05):
            yield then


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    site: Site

    def process_request(self, request: Any, client_address: Any) -> None:
        self.site.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 20
    server: _Server

    def _handle(self) -> None:
        site = self.server.site
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        arrived = Arrived(self.command, self.path, headers, body, self.client_address[1])
        site.arrived.append(arrived)
        answer = site.answer(arrived)
        if isinstance(answer, Reply):
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            self.wfile.flush()
            return
        self.close_connection = True
        try:
            for part in answer:
                self.wfile.write(part)
                self.wfile.flush()
                site.sent += len(part)
        except OSError:
            site.hung_up.set()

    do_GET = do_POST = do_PUT = do_CONNECT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def token_answer(token: str = "token-1", **changed: Any) -> bytes:
    """The body of a good answer of the token endpoint, with fields ``changed``; ``...`` leaves one out."""
    fields = {"access_token": token, "token_type": "Bearer", "expires_in": 43198, "scope": "trust read write"}
    return json.dumps({k: v for k, v in (fields | changed).items() if v is not ...}).encode()


def ok(body: bytes) -> Reply:
    """A 200 with JSON."""
    return Reply(200, body, (("Content-Type", "application/json"),))


def head(status: int = 200, *headers: str) -> bytes:
    """The beginning of a raw answer."""
    return "\r\n".join((f"HTTP/1.1 {status} Odd", *headers, "", "")).encode()


class Script:
    """What a ``Site`` answers: token-1, token-2 ... to logins, and to all else ``answers`` in turn, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.logins = 0
        self._lock = threading.Lock()

    def __call__(self, arrived: Arrived) -> Answer:
        with self._lock:
            if arrived.path.endswith("/oauth/token"):
                self.logins += 1
                return ok(token_answer(f"token-{self.logins}"))
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def log_in(
    url: str, *, attempts: int = 1, timeout: tuple[float, float] = (3.05, 10.0), **more: Any
) -> Grant | Failure:
    """What a login at ``url`` (of the token endpoint) comes to."""
    return PasswordGrant(CREDENTIALS, url, timeout, **more)(attempts, lambda seconds: None)


def auth_at(url: str, **options: Any) -> TurvoAuth:
    """An auth for a server that is no ``FakeTurvo``."""
    return TurvoAuth(
        base_url=url,
        api_key=FakeTurvo.api_key,
        username=FakeTurvo.username,
        password=FakeTurvo.password,
        **options,
    )


def store_with(secret: str) -> MemoryStore:
    """A store that holds a token already: an auth with it does not log in."""
    store, now = MemoryStore(), time.monotonic()
    token = Token(secret, now, 3600.0, 300.0)
    assert store.swap(store.read(), Change(token=Slot(dump(token, now), 3600.0)))
    return store


class Recording(HTTPAdapter):
    """Keeps what ``requests`` gave it to send, each with its options."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[PreparedRequest, dict[str, Any]]] = []

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        self.calls.append((request, options))
        return super().send(request, **options)


def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def at_once(calls: Iterable[Callable[[], Any]], seconds: float = 30.0) -> list[Any]:
    """What the calls return, each made in a thread of its own, all started at the same moment."""
    calls = list(calls)
    results: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], Any]) -> None:
        gate.wait(seconds)
        try:
            results[index] = call()
        except Exception as error:  # noqa: BLE001 - for the test to look at
            results[index] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "a call did not come back"
    return results
