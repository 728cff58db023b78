"""The HTTP server under ``FakeTurvo``: reads a request, hands it on, writes the answer.

It listens on 127.0.0.1 only, with a thread per connection. A request that makes no
sense gets an error as its answer, so that a test sees what went wrong instead of a
lost connection.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .api import Answer, error_answer

LARGEST_BODY = 64 * 1024 * 1024
"""The longest body, in bytes, that is read into memory."""

RequestHandler = Callable[[str, str, dict[str, str], bytes], Answer | None]


class UnreadableRequest(Exception):
    """A request whose body cannot be read; the text says why."""


class LocalServer(ThreadingHTTPServer):
    """A server on this machine that answers with what ``answer_request`` returns.

    ``answer_request(method, url, headers, body)`` returns ``None`` if the connection
    must be closed without an answer. Port 0 is any free port.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, answer_request: RequestHandler) -> None:
        self.answer_request = answer_request
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _ConnectionHandler)
        self._thread = threading.Thread(
            target=self.serve_forever,
            args=(0.01,),
            name="FakeTurvo",
            daemon=True,
        )
        self._thread.start()

    def stop_listening(self) -> None:
        """Free the port and close every connection, idle ones included."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            super().shutdown_request(connection)
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection, then serve it in a thread."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has ended by itself."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that hangs up: tests do that on purpose."""


class _ConnectionHandler(BaseHTTPRequestHandler):
    """One connection, with any number of requests on it.

    The names of its methods are those that ``http.server`` looks for.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: LocalServer

    def _answer_request(self) -> None:
        """Read a request, write its answer."""
        answer = self._find_answer()
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = _answer_request
    do_DELETE = do_HEAD = do_OPTIONS = _answer_request

    def _find_answer(self) -> Answer | None:
        """Return the answer to this request; whatever fails on the way becomes one."""
        try:
            body = self._read_body()
        except UnreadableRequest as error:
            # What follows on this connection could be the rest of the body.
            self.close_connection = True
            return error_answer(400, f"Invalid request: {error}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            return self.server.answer_request(self.command, self.path, headers, body)
        except Exception as error:  # noqa: BLE001 - the client gets to see it
            return error_answer(
                500, f"FakeTurvo failed: {type(error).__name__}: {error}"
            )

    def _read_body(self) -> bytes:
        """Return the body, or raise ``UnreadableRequest``."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(_parse_size(length, 10))

    def _read_chunks(self) -> bytes:
        """Return a body that is sent in chunks, each with its size in front."""
        body = b""
        while True:
            line = self.rfile.readline().decode("latin-1")
            size = _parse_size(line.partition(";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: ``FakeTurvo.requests`` has what arrived."""


def _parse_size(text: str, base: int) -> int:
    """Return the number of bytes that a header or a chunk announces."""
    try:
        size = int(text.strip(), base)
    except ValueError:
        raise UnreadableRequest("the length of the body must be a number") from None
    if not 0 <= size <= LARGEST_BODY:
        limit = f"0 to {LARGEST_BODY} bytes"
        raise UnreadableRequest(f"the length of the body must be {limit}")
    return size
