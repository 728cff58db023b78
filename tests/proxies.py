"""A TCP proxy between a client and Redis, which loses, holds back or drips what passes through it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import BinaryIO, Literal, Self


class Proxy:
    """In front of the Redis server at ``port``; a proxy with a ``tls`` context is itself reached by TLS.

    A request at a time: a client that sends several at once gets their answers one after the other.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.drip = 0.0
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
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def lose(self, word: bytes, *, nth: int = 1, how: Literal["swallow", "cut"]) -> None:
        """Lose the answer to the ``nth`` request from now that holds ``word``.

        ``swallow``: it never comes; ``cut``: the connection ends in its place.
        """
        self._lose = (word, nth, how)

    @property
    def lost(self) -> bool:
        """Whether the answer that was to be lost is."""
        return self._lose is None

    def hold(self, word: bytes) -> None:
        """Keep the next request with ``word`` back (``held`` tells) until ``released`` is set."""
        self._hold = word

    def cut(self) -> None:
        """End every connection."""
        for end in list(self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                pass

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
            with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {client, server}
                try:
                    self._relay(client, server)
                finally:
                    self._open -= {client, server}
        except OSError:  # either side has hung up
            pass

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        asked, answered = client.makefile("rb"), server.makefile("rb")
        while request := _whole(asked):
            if self._hold and self._hold in request:
                self._hold = None
                self.held.set()
                self.released.wait()
            server.sendall(request)
            answer = _whole(answered)
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
            for i in range(len(answer)):
                client.sendall(answer[i : i + 1])
                time.sleep(self.drip)

    def _loss(self, request: bytes) -> str:
        with self._lock:
            if self._lose is None or self._lose[0] not in request:
                return ""
            word, nth, how = self._lose
            self._lose = (word, nth - 1, how) if nth > 1 else None
            return how if nth == 1 else ""


def _whole(stream: BinaryIO) -> bytes:
    """One request or answer, whole, as RESP 2 spells it; empty at the end of the stream."""
    line = stream.readline()
    kind, size = line[:1], line[1:].strip()
    if kind == b"$" and int(size) >= 0:
        return line + stream.read(int(size) + 2)
    if kind == b"*" and int(size) >= 0:
        return line + b"".join(_whole(stream) for _ in range(int(size)))
    return line
