"""The examples at work: as processes, or a poller in this process.

Around them are a Turvo that can hold requests back, a webhook, and Redis.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import poller
import redis
from poller import CLAIM_SECONDS

from tests.support.clock import Clock
from turvo_session import TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PATH_SECRET = "hook-secret-4711"


def wait_until(true: Callable[[], object], what: str) -> None:
    """Return as soon as it is true; fail after half a minute."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.01)


class Program:
    """An example that was started. Its output is in files."""

    def __init__(
        self,
        folder: Path,
        environ: dict[str, str],
        *command: str,
        through: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self.out_file, self.err_file = folder / "out", folder / "err"
        self.secrets = [
            *(text for name, text in environ.items() if text and "PASSW" in name),
            *(text for name, text in environ.items() if text and "API_KEY" in name),
            *(PATH_SECRET, "3b_-"),
        ]
        with self.out_file.open("ab") as out, self.err_file.open("wb") as err:
            self.process = subprocess.Popen(
                [*through, sys.executable, str(EXAMPLES / command[0]), *command[1:]],
                env={**os.environ, **environ},
                **{
                    "stdout": out,
                    "stderr": err,
                    "stdin": subprocess.DEVNULL,
                    **options,
                },
            )

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        return self.err_file.read_text()

    @property
    def ids(self) -> list[int]:
        """The shipments in the JSON lines on stdout, which must all be whole."""
        return sorted(json.loads(line)["id"] for line in self.out.splitlines())

    @property
    def printed_ids(self) -> list[int]:
        """Return the shipments on stdout, one a line, with other text after each."""
        return sorted(int(line.split()[0]) for line in self.out.splitlines())

    def wait_for(self, text: str) -> None:
        """Wait until it says this on stderr."""
        wait_until(lambda: text in self.err, f"{text!r} on stderr")

    def end(self, number: int = 0) -> int:
        """Send a signal, if any; return the exit code. It has told no secret."""
        if number:
            self.process.send_signal(number)
        code = self.process.wait(20)
        told = self.out + self.err
        assert [secret for secret in self.secrets if secret in told] == []
        assert "Traceback" not in told
        assert "\x1b" not in told
        return code

    def kill(self) -> None:
        """End it, if it has not ended yet."""
        self.process.kill()
        self.process.wait()


class HeldTurvo(FakeTurvo):
    """A Turvo whose clock stands still, and that can hold requests back.

    Requests whose path holds ``hold`` wait for ``go``. ``delay(path)`` returns how many
    seconds an answer takes.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(shipments=100, clock=self.clock)
        self.hold = "nothing"
        self.delay: Callable[[str], float] = lambda path: 0.0
        self.held, self.go = threading.Event(), threading.Event()

    def _answer(self, method: str, url: str, *request: Any) -> Any:
        if self.hold in url:
            self.held.set()
            self.go.wait(60)
        time.sleep(self.delay(url))
        return super()._answer(method, url, *request)

    def __exit__(self, *error: object) -> None:
        self.go.set()
        super().__exit__(*error)

    def en_route(self) -> list[int]:
        """Return the ids of the shipments that are en route."""
        with TurvoSession(TurvoAuth.from_env(self.environ)) as session:
            filters = {"status[eq]": "2105"}
            rows = session.records("/shipments/list", "shipments", filters)
            return sorted(row["id"] for row in rows)


class Webhook(ThreadingHTTPServer):
    """Takes batches, and answers with the status that ``judge(body, ids)`` returns.

    While ``go`` is not set it does not answer. What follows the status never ends: it
    is ``chunk`` again and again. If the status is 0, the status line never ends.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.chunk, self.bytes_sent = b"2", 0
        self.judge: Callable[[bytes, list[int]], int] = lambda body, ids: 200
        self.arrived, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", port), _WebhookHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/{PATH_SECRET}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.ended.set()
        self.shutdown()
        self.server_close()

    def taken(self) -> list[int]:
        """Return all shipments that it has taken, as often as it has."""
        return sorted(shipment_id for batch in self.batches for shipment_id in batch)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is not an error of the server."""


class _WebhookHandler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ids = [shipment["id"] for shipment in json.loads(body)["shipments"]]
        status = self.server.judge(body, ids)
        if status == 200:
            self.server.batches.append(ids)
        self.server.arrived.set()
        self.server.go.wait(60)
        self.wfile.write(b"HTTP/1.1 ")
        if status == 302:
            self.wfile.write(b"302 Login\r\nContent-Length: 0\r\n")
            self.wfile.write(b"Location: /login\r\n\r\n")
            return
        if status:
            self.wfile.write(b"%d Odd\r\n\r\n" % status)
        while not self.server.ended.wait(0.02):
            self.server.bytes_sent += self.wfile.write(self.server.chunk)

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 Login page\r\nContent-Length: 0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class Polls(logging.Handler):
    """A poller in this process. It keeps what was logged."""

    def __init__(
        self, turvo: FakeTurvo, webhook: Webhook, redis_url: str, **options: int
    ) -> None:
        super().__init__()
        self.webhook = webhook
        self.lines: list[str] = []
        session = TurvoSession(TurvoAuth.from_env(turvo.environ), retries=0)
        self.poller = poller.Poller(session, redis_url, webhook.url, **options)
        poller.log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def poll(self) -> tuple[bool, list[int]]:
        """Return whether all is done, and which shipments the webhook has taken."""
        self.lines.clear()
        self.webhook.batches.clear()
        return self.poller.poll(), self.webhook.taken()

    @property
    def said(self) -> str:
        """What the last poll has said."""
        return "\n".join(self.lines)

    def close(self) -> None:
        """Close its connections."""
        super().close()
        poller.log.removeHandler(self)
        self.poller.pool.shutdown(wait=False)
        self.poller.session.close()
        self.poller.redis.close()


class World(ExitStack):
    """All that a test of the examples needs; what it has started ends with it."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        super().__init__()
        self.folder, self.redis_url = folder, redis_url
        self.turvo = self.enter_context(HeldTurvo())
        self.webhook = self.enter_context(Webhook())
        self.redis: Any = self.enter_context(redis.Redis.from_url(redis_url))
        self.en_route = self.turvo.en_route()
        assert len(self.en_route) > 24

    def start(self, script: str, *arguments: str, **options: Any) -> Program:
        """Start an example. ``environ`` changes its settings."""
        changes = options.pop("environ", {})
        environ = {**self.turvo.environ, "REDIS_URL": self.redis_url, **changes}
        program = Program(self.folder, environ, script, *arguments, **options)
        self.callback(program.kill)
        return program

    def polls(self, redis_url: str = "", **options: int) -> Polls:
        """Make a poller in this process; ``options`` are those of ``Poller``."""
        redis_url = redis_url or self.redis_url
        made = Polls(self.turvo, self.webhook, redis_url, **options)
        self.callback(made.close)
        return made

    def details_read(self) -> int:
        """Return how many answers about a single shipment Turvo has given."""
        return sum("/shipments/9" in seen.path for seen in self.turvo.requests)

    def keys(self, prefix: str = "turvo") -> dict[int, int]:
        """Return the shipments that Redis has a key for, and the seconds it lives."""
        found = self.redis.keys(f"{prefix}:in_transit:*")
        return {int(key.rpartition(b":")[2]): self.redis.ttl(key) for key in found}

    def are_marked(self) -> bool:
        """Tell whether all shipments have a mark, which lives longer than a claim."""
        keys = self.keys()
        return sorted(keys) == self.en_route and min(keys.values()) > CLAIM_SECONDS
