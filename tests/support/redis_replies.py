"""Replies of a Redis that make no sense, and a server that gives one of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

OLD_ERROR = b"@user_script: 12: -OOM command not allowed"
GOOD = b"*7\r\n" + 3 * b"$0\r\n\r\n:-2\r\n" + b"$3\r\n0-0\r\n"
"""What an empty server replies to a read of the store."""
REPLIES = {
    "nil": b"$-1\r\n",
    "a number": b":7\r\n",
    "a status": b"+QUEUED\r\n",
    "too few": b"*1\r\n:1\r\n",
    "life of text": GOOD.replace(b":-2", b"$2\r\n-2"),
    "life for ever": GOOD.replace(b"$0\r\n\r\n:-2", b"$1\r\nx\r\n:" + b"9" * 400, 1),
    "value of a number": GOOD.replace(b"$0\r\n\r\n", b":5\r\n", 1),
    "value of two lines": GOOD.replace(b"$0\r\n\r\n", b"$3\r\na\nb\r\n", 1),
    "id of text": GOOD.replace(b"0-0", b"a-b"),
    "escapes": b"-\x1b[31mEVIL\x07 \xff hello\r\n",
    "one word": b"-" + b"A" * (1 << 20) + b" x\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "alert of TLS": b"\x15\x03\x01\x00\x02\x02F\r\n",
    "nested": b"*1\r\n" * 5000 + b":1\r\n",
    "negative": b"$-5\r\n",
    "errors": b"*7\r\n" + b"-ERR x\r\n" * 7,
    "refusal of numbers": b"*4\r\n" + b":1\r\n" * 4,
    "of an old server": b"*4\r\n%b$42\r\n%b\r\n" % (b"$3\r\nSET\r\n" * 3, OLD_ERROR),
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "hello": b"-NOAUTH HELLO must be called with the client authenticated\r\n",
    "too old": b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n",
    "moved": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "asked": b"-ASK 3999 127.0.0.1:6381\r\n",
    "misconf": b"-MISCONF Redis is configured to save RDB snapshots\r\n",
    "replicas": b"-NOREPLICAS Not enough good replicas to write\r\n",
    "no primary": b"-MASTERDOWN Link with MASTER is down\r\n",
    "busy": b"-BUSY Redis is busy running a script\r\n",
    "cluster down": b"-CLUSTERDOWN The cluster is down\r\n",
    "clients": b"-ERR max number of clients reached\r\n",
    "endless": b"$4000000000\r\n" + b"x" * (1 << 21),
    "never whole": b"*2147483647\r\n",
}
WORDS = {
    "escapes": 'refused EVAL: "[31mEVIL',
    "alert of TLS": "; check ",
    "negative": "answer",
    "refusal of numbers": "refused 1 on 1",
    "of an old server": "is out of memory; raise",
    "loading": "is still loading its data; wait",
    "hello": "wants a password; check",
    "too old": "does not know the client's RESP3; give",
    "moved": "is a node of a cluster that does not hold turvo:auth_token; hand a",
    "asked": "is a node of a cluster that does not hold turvo:auth_token; hand a",
    "misconf": "cannot save its data and takes no writes; check",
    "replicas": "has too few replicas",
    "no primary": "is a replica without its primary",
    "busy": "is busy with a script; end that",
    "cluster down": "is a cluster that is down",
    "clients": "has too many clients; raise",
    "never whole": "did not answer",
}
"""What is said of some of them; parsers differ in what they make of the others."""


@contextmanager
def servers_that_reply() -> Iterator[Callable[[bytes], str]]:
    """Yield a function that runs a server with one reply, and returns its URL."""
    with ExitStack() as stack:

        def run(reply: bytes) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=_serve, args=(listener, reply), daemon=True).start()
            return f"redis://127.0.0.1:{listener.getsockname()[1]}"

        yield run


def _serve(listener: socket.socket, reply: bytes) -> None:
    """Serve one client after the other."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        _answer(connection, reply)


def _answer(connection: socket.socket, reply: bytes) -> None:
    with connection:
        try:
            while asked := connection.recv(1 << 16):
                connection.sendall(b"+OK\r\n" * asked.count(b"CLIENT"))
                if b"EVAL" in asked or asked.startswith(b"\x16"):
                    connection.sendall(reply)
        except OSError:  # the client has hung up
            return
