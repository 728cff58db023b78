"""A TCP proxy in front of Redis that loses, delays or drips what passes through it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import BinaryIO, Literal, Self


class Proxy:
    """A proxy in front of the Redis server at ``port``.

    Clients reach it by TLS if it has a ``tls`` context. It passes one request at a
    time: a client that sends several gets their answers one after the other.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.drip = 0.0
        """Seconds between two bytes of an answer."""
        self.released = threading.Event()
        self.held = threading.Event()
        self._upstream = port
        self._tls = tls
        self._lose: tuple[bytes, int, str] | None = None
        self._hold: bytes | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Its ``REDIS_URL``."""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def lose(
        self, word: bytes, *, nth: int = 1, how: Literal["swallow", "cut"]
    ) -> None:
        """Lose the answer to the ``nth`` request from now that contains ``word``.

        ``swallow``: it never comes. ``cut``: the connection ends instead.
        """
        self._lose = (word, nth, how)

    @property
    def lost(self) -> bool:
        """Whether the answer that ``lose`` asked for has been lost."""
        return self._lose is None

    def hold(self, word: bytes) -> None:
        """Hold the next request with ``word`` back until ``released`` is set.

        ``held`` is set as soon as it has arrived.
        """
        self._hold = word

    def cut(self) -> None:
        """End every connection."""
        for end in list(self._open):
            with suppress(OSError):  # it has ended by itself
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            address = ("127.0.0.1", self._upstream)
            with client, socket.create_connection(address) as server:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {client, server}
                try:
                    self._relay(client, server)
                finally:
                    self._open -= {client, server}
        except OSError:
            return  # either side has hung up

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        asked, answered = client.makefile("rb"), server.makefile("rb")
        while request := _read_whole(asked):
            if self._hold and self._hold in request:
                self._hold = None
                self.held.set()
                self.released.wait()
            server.sendall(request)
            answer = _read_whole(answered)
            if not answer:
                return
            match self._loss(request):
                case "cut":
                    return
                case "swallow":
                    continue
            if not self.drip:
                client.sendall(answer)
                continue
            for byte in answer:
                client.sendall(bytes([byte]))
                time.sleep(self.drip)

    def _loss(self, request: bytes) -> str:
        with self._lock:
            if self._lose is None or self._lose[0] not in request:
                return ""
            word, nth, how = self._lose
            self._lose = (word, nth - 1, how) if nth > 1 else None
            return how if nth == 1 else ""


def _read_whole(stream: BinaryIO) -> bytes:
    """Read one request or answer of RESP 2; return ``b""`` at the end of the stream."""
    line = stream.readline()
    kind, size = line[:1], line[1:].strip()
    if kind == b"$" and int(size) >= 0:
        return line + stream.read(int(size) + 2)
    if kind == b"*" and int(size) >= 0:
        return line + b"".join(_read_whole(stream) for _ in range(int(size)))
    return line
