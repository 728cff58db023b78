"""A world in which every path is travelled, and what must not come out of it."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import (
    ExitStack,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import redis
import requests

from tests.support.leaks import PACKAGE, Evidence, Secrets, invent
from tests.support.servers import RedisServer
from turvo_session import (
    TurvoAuth,
)
from turvo_session.__main__ import main
from turvo_session.testing import FakeTurvo

T = TypeVar("T")

KNOWN = Secrets()
"""The secrets of all paths: one that reaches another path has gone astray as well."""
HOSTILE = '\x1b]0;owned\x07\x1b[2J\r\nforged: \u202e\x00" (code 7)'
"""What a server may write to take over a terminal, or to forge a line of a log."""


class Turvo(FakeTurvo):
    """A Turvo whose secrets can be told from everything else, quotes and all."""

    def __init__(self, **options: Any) -> None:
        self.username = KNOWN.add("the username", invent("@", "."))
        self.password = KNOWN.add("the password", invent('"', "/ä&", "#%+"))
        self.api_key = KNOWN.add("the API key", invent('"', "+/"))
        self.client_secret = KNOWN.add("the client secret", invent('"\\', "="))
        self.tokens: list[str] = []
        super().__init__(**options)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "TURVO_CLIENT_SECRET": self.client_secret}

    @property
    def echo(self) -> str:
        """All of them, as a server may repeat them in a body."""
        texts = [self.username, self.password, self.api_key, self.client_secret]
        texts += [*self.tokens, self._uuid()]
        said = {"error": self.password, "error_description": " ".join(texts)}
        return json.dumps({**said, "access_token ": texts})

    def _answer(self, method: str, url: str, headers: Any, body: bytes) -> Any:
        answer = super()._answer(method, url, headers, body)
        if answer and b"THE TOKEN" in answer.body:
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            sent = json.dumps(bearer)[1:-1].encode()
            answer = replace(answer, body=answer.body.replace(b"THE TOKEN", sent))
        return answer

    def _token(self, method: str, body: bytes) -> Any:
        asked = json.loads(body)
        assert asked["client_secret"] == self.client_secret
        return super()._token(
            method, json.dumps({**asked, "client_secret": "secret"}).encode()
        )

    def _uuid(self) -> str:
        secret = KNOWN.add("a token", invent("/", '"', "+="))
        self.tokens.append(f"3b_-{secret}")
        return secret


class LockedRedis(RedisServer):
    """A Redis that wants a password."""

    def start(self) -> None:
        super().start()
        self.password = KNOWN.add("the Redis password", invent())
        with self.client() as client:
            client.config_set("requirepass", self.password)


class World:
    """What a path is travelled in, and what was seen on it."""

    def __init__(
        self,
        turvo: Turvo,
        server: LockedRedis,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
    ) -> None:
        self.turvo, self.server, self.folder = turvo, server, folder
        self.monkeypatch = monkeypatch
        self.environ = {**turvo.environ, "REDIS_URL": self.redis_url(server.password)}
        self.evidence = Evidence()
        self.made: list[Any] = []
        self.closing = ExitStack()

    def redis_url(self, password: str, port: int | None = None) -> str:
        quoted = quote(password, safe="")
        return f"redis://:{quoted}@127.0.0.1:{port or self.server.port}/0"

    @property
    def redis(self) -> redis.Redis:
        """For looking into Redis, and for putting things there."""
        client = self.server.client(password=self.server.password)
        return self.closing.enter_context(client)

    @property
    def key(self) -> str:
        """Where the token is."""
        status = TurvoAuth.from_env(self.environ).status()
        return status.store.removeprefix("<RedisStore ")[:-1]

    def auth(self, **overrides: Any) -> TurvoAuth:
        """Make an auth, as another process would have its own."""
        overrides = {"token_timeout": (1.0, 9.0), "on_event": self.hear, **overrides}
        return self.keep(TurvoAuth.from_env(self.environ, **overrides))

    def hear(self, event: object) -> None:
        self.evidence.objects(event)

    def keep(self, thing: T) -> T:
        """Have ``thing``, and all that hangs on it, looked at in the end."""
        self.made.append(thing)
        return thing

    def get(self, auth: TurvoAuth, path: str = "/shipments/list") -> requests.Response:
        with requests.Session() as session:
            session.auth = auth
            self.evidence.say("a session", session)
            response = session.get(self.turvo.base_url + path, timeout=10)
            self.evidence.say("an answer", response)
            return response

    def fails(
        self,
        kind: type[BaseException] | tuple[type[BaseException], ...],
        call: Callable[..., object],
        *args: Any,
        **options: Any,
    ) -> str:
        """Check that the call raises this, take it down, and return its text."""
        with pytest.raises(kind) as caught:
            call(*args, **options)
        self.evidence.error(caught.value)
        return str(caught.value)

    def command(self, *arguments: str, code: int | None = 0) -> str:
        """Run the command line; return its standard output."""
        output, errors = io.StringIO(), io.StringIO()
        with self.monkeypatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            with redirect_stdout(output), redirect_stderr(errors):
                done = main(["--verbose", *arguments])
        assert code in (None, done), errors.getvalue()
        return self.printed(arguments, output.getvalue(), errors.getvalue())

    def process(self, *arguments: str) -> str:
        """Run the command line as a process of its own; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "turvo_session", "--verbose", *arguments],
            env={**os.environ, **self.environ, "PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        return self.printed(arguments, done.stdout.decode(), done.stderr.decode())

    def printed(self, arguments: tuple[str, ...], output: str, errors: str) -> str:
        self.evidence.say(f"the standard error of {arguments}", errors)
        if arguments[0] != "token":
            self.evidence.say(f"the standard output of {arguments}", output)
        return output

    def look_around(self) -> None:
        """Take down what all objects made on the way say of themselves."""
        for auth in [thing for thing in self.made if isinstance(thing, TurvoAuth)]:
            self.made += [auth.status(), auth.stats]
        assert self.evidence.objects(*self.made) >= len(self.made)


# What is stored, and what is shown

TOKEN_KEY = r"turvo:auth_token:\{[0-9a-f]{12}\}"
IS_KEY = re.compile(rf"{TOKEN_KEY}(:(lease|failures|wake))?").fullmatch
FIELDS = {"salt", "records", "attempts", "refill", "doubted", "hold", "believed"}


class Nameless:
    """A client of a Redis that is away, and whose name comes from elsewhere."""

    def __init__(self, kind: str, error: redis.RedisError | None = None) -> None:
        self.error = error or redis.ConnectionError("away")
        names = {HOSTILE * 1000: None}
        self.options: dict[str, Any] = {}
        if kind == "sentinel":
            self.connection_pool = SimpleNamespace(service_name=HOSTILE * 1000)
        elif kind == "cluster":
            self.nodes_manager = SimpleNamespace(startup_nodes=names)
        else:
            self.options[kind] = HOSTILE * 1000

    def get_connection_kwargs(self) -> dict[str, Any]:
        return self.options

    def execute_command(self, *_: object) -> None:
        raise self.error


class Refusing(Nameless):
    """A client of a Redis that says which command of the script it refuses."""

    def execute_command(self, *_: object) -> Any:
        return [b"refused", *3 * [HOSTILE.encode() * 1000]]


def check_what_is_stored(world: World) -> None:
    """Check that Redis holds a token and its expiry, a lease, failures, a wake-up.

    Nothing else is there, and all of it has an end.
    """
    client, texts = world.redis, []
    for raw in client.scan_iter():
        key = raw.decode()
        assert IS_KEY(key), key
        assert client.pttl(raw) > 0, f"{key} is kept for ever"
        if client.type(raw) == b"stream":
            assert key.endswith(":wake")
            assert [fields for _, fields in client.xrange(raw)] == [{b"w": b""}]
            continue
        value = client.get(raw).decode()
        if key.endswith(":lease"):
            assert re.fullmatch("[0-9a-f]+", value)
        elif key.endswith(":failures"):
            assert set(json.loads(value)) <= FIELDS
        elif "TURVO_TOKEN_ENCRYPTION_KEYS" in world.environ:
            assert re.fullmatch("gAAAA[A-Za-z0-9_=-]+", value)
        else:
            fields = json.loads(value)
            assert set(fields) == {"access_token", "expires_at", "buffer"}
            assert fields.pop("access_token") in world.turvo.tokens
            value = str(fields)
        texts += [key, value]
    dump = " ".join(texts)
    assert KNOWN.found(dump) == {}
    assert [digest for digest in cheap_digests(world, dump) if digest in dump] == []


def cheap_digests(world: World, dump: str) -> Iterator[str]:
    """Yield what lets a reader of Redis test passwords as fast as hashes are made."""
    password, user = world.turvo.password, world.turvo.username
    texts = [password, f"{user}:{password}", f"{password}:{user}", f"{user}{password}"]
    salts = {b""}
    for digits in re.findall("[0-9a-f]{16,}", dump):
        salts |= {bytes.fromhex(digits[:n]) for n in (16, 32, 64)}
    for raw in map(str.encode, [*texts, json.dumps([user, password])]):
        for salt in salts:
            for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                for mixed in (salt + raw, raw + salt):
                    digest = hashlib.new(name, mixed).digest()
                    yield from (digest.hex()[:12], b64encode(digest).decode()[:12])
                yield hmac.digest(salt, raw, name).hex()[:12]


def hostile_texts(evidence: Evidence) -> list[str]:
    """Return where a server's text came out raw, or at length."""
    found = []
    for where, text in evidence.texts:
        if isinstance(text, str) and not where.startswith("a log record of urllib3"):
            raw = re.search("[\x1b\x07\u202e\0]|^forged", text, re.MULTILINE)
            long = where.startswith(("a ", "the standard error")) and len(text) > 9000
            if raw or long:
                found.append(f"{where}: {text[:300]!r}")
    return found
