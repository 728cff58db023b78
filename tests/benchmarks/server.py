"""A bare-bones API with a token endpoint, in a process of its own, so that the client
is what is measured.

Any POST is a token request and any login is good. A GET is answered with 200 if its
bearer token is one that was given out and not revoked, else with 401. ``/control/...``
moves the levers.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import requests


def environ() -> dict[str, str]:
    """The environment of a process of ours, in which ``python -m tests.benchmarks...``
    works."""
    path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


class Api:
    """The server as the benchmark sees it; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.server"],
            env=environ(),
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,  # its end tells the server to go
            text=True,
        )
        assert self._process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"
        self._session = requests.Session()
        self._session.trust_env = False
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._process.communicate()

    def control(self, **levers: Any) -> dict[str, int]:
        """Set ``login_seconds`` or ``token_life``, ``revoke``, or ``reset`` the counts.

        Returns the counts before that.
        """
        counts: dict[str, int] = self._session.post(
            f"{self.base_url}/control", json=levers
        ).json()
        return counts


class _State:
    def __init__(self) -> None:
        self.login_seconds, self.token_life = 0.0, 43199.0
        self.tokens: set[bytes] = set()
        self.given = 0
        self.reset()

    def reset(self) -> None:
        self.logins = self.refused = self.served = 0

    def control(self, levers: dict[str, Any]) -> dict[str, int]:
        counts = {"logins": self.logins, "refused": self.refused, "served": self.served}
        self.login_seconds = levers.get("login_seconds", self.login_seconds)
        self.token_life = levers.get("token_life", self.token_life)
        if levers.get("revoke"):
            self.tokens.clear()
        if levers.get("reset"):
            self.reset()
        return counts

    def log_in(self) -> dict[str, Any]:
        self.logins += 1
        self.given += 1
        token = f"3b_-{self.given:032x}"
        self.tokens.add(token.encode())
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.token_life,
        }

    def serve(self, head: bytes) -> int:
        _, _, rest = head.partition(b"uthorization: Bearer ")
        good = rest.partition(b"\r\n")[0] in self.tokens
        self.served += good
        self.refused += not good
        return 200 if good else 401


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._got = b""
        if not head.startswith(b"POST "):
            self._answer({}, self._state.serve(head))
        elif b"/control " in head:
            self._answer(self._state.control(json.loads(body)))
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(
                self._state.login_seconds, lambda: self._answer(self._state.log_in())
            )

    def _answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        kind = b"Content-Type: application/json"
        head = b"HTTP/1.1 %d X\r\n%s\r\nContent-Length: %d" % (status, kind, len(body))
        self._transport.write(b"%s\r\n\r\n%s" % (head, body))


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0] or 0)


async def _serve() -> None:
    state, loop = _State(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(state), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
