"""No secret gets out: every path is travelled once, and all that it let out and stored is searched.

To add a path, write a function of a ``World`` and put ``@path`` on it. It has to see to it that
the path was really travelled; what is let out on it is none of its business.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import replace
from hashlib import scrypt
from types import FunctionType
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import redis
import requests
from leaks import PACKAGE, Evidence, Secrets, Tape, invent
from servers import RedisServer, free_port

from turvo_session import (
    CredentialsRejected,
    InvalidTokenResponse,
    RedisStore,
    SettingsError,
    StoreError,
    Token,
    TokenEndpointUnavailable,
    TurvoAuth,
    TurvoResponseError,
    TurvoSession,
)
from turvo_session.grant import Credentials, Grant, PasswordGrant
from turvo_session.redis_store import companion
from turvo_session.renewal import Adopt, Ask, Got, Lead
from turvo_session.sealing import Keyring, Sealing
from turvo_session.settings import NAMES as SETTINGS
from turvo_session.settings import Given, Settings
from turvo_session.store import Change, Slot, Snapshot
from turvo_session.testing import FakeTurvo

T = TypeVar("T")

KNOWN = Secrets()  # of all paths: one that reaches another path has gone astray indeed


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
        """All of them, as a server repeats them in a body."""
        texts = [self.username, self.password, self.api_key, self.client_secret, *self.tokens, self._uuid()]
        return json.dumps({"error": texts[1], "error_description": " ".join(texts), "access_token ": texts})

    def _answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Any:
        answer = super()._answer(method, url, headers, body)
        if answer and b"THE TOKEN" in answer.body:
            sent = json.dumps(headers.get("authorization", "").removeprefix("Bearer "))[1:-1]
            answer = replace(answer, body=answer.body.replace(b"THE TOKEN", sent.encode()))
        return answer

    def _uuid(self) -> str:
        secret = KNOWN.add("a token", invent("/", '"', "+="))
        self.tokens.append(f"3b_-{secret}")
        return secret

    def _token(self, method: str, body: bytes) -> Any:
        asked = json.loads(body)
        assert asked["client_secret"] == self.client_secret
        return super()._token(method, json.dumps({**asked, "client_secret": "secret"}).encode())


class LockedRedis(RedisServer):
    """A Redis that wants a password."""

    def start(self) -> None:
        super().start()
        self.password = KNOWN.add("the Redis password", invent())
        with self.client() as client:
            client.config_set("requirepass", self.password)


class World:
    """What a path is travelled in, and what was seen on it."""

    def __init__(self, turvo: Turvo, server: LockedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turvo = turvo
        self.server = server
        self.monkeypatch = monkeypatch
        self.redis_password = server.password
        self.environ = {**turvo.environ, "REDIS_URL": self.redis_url(self.redis_password)}
        self.evidence = Evidence()
        self.made: list[Any] = []
        self.closing = ExitStack()

    def redis_url(self, password: str, host: str = "", path: str = "/0") -> str:
        return f"redis://:{quote(password, safe='')}@{host or f'127.0.0.1:{self.server.port}'}{path}"

    @property
    def redis(self) -> redis.Redis:
        """For looking into Redis, and for putting things there."""
        return self.closing.enter_context(self.server.client(password=self.redis_password))

    @property
    def key(self) -> str:
        """Where the token is."""
        return TurvoAuth.from_env(self.environ).status().store.removeprefix("<RedisStore ")[:-1]

    def auth(self, **overrides: Any) -> TurvoAuth:
        """An auth, as another process would have its own."""
        overrides = {"token_timeout": (1.0, 9.0), "on_event": self.hear, **overrides}
        return self.keep(TurvoAuth.from_env(self.environ, **overrides))

    def hear(self, event: object) -> None:
        self.evidence.objects(event)

    def keep(self, thing: T) -> T:
        """Have ``thing``, and all that hangs on it, looked at in the end."""
        self.made.append(thing)
        return thing

    def get(self, auth: TurvoAuth, path: str = "/shipments/list", **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.auth = auth
            self.evidence.say("a session", session)
            response = session.get(self.turvo.base_url + path, **{"timeout": 10, **options})
            self.evidence.say("an answer", response)
            return response

    def fails(
        self,
        kind: type[BaseException] | tuple[type[BaseException], ...],
        call: Callable[..., object],
        *args: Any,
        **options: Any,
    ) -> None:
        """The call raises this, which is taken down."""
        try:
            call(*args, **options)
        except kind as error:
            self.evidence.error(error)
        else:
            raise AssertionError(f"nothing was raised in place of {kind}")

    def command(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run the command line; its standard output."""
        from turvo_session.__main__ import main

        output, errors = io.StringIO(), io.StringIO()
        with self.monkeypatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
            for name, value in {**self.environ, **environ}.items():
                patch.setenv(name, value)
            assert main(["--verbose", *arguments]) == code, errors.getvalue()
        return self.printed(arguments, output.getvalue(), errors.getvalue())

    def process(self, *arguments: str) -> str:
        """Run the command line as a process of its own; its standard output."""
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


Travel = Callable[[World], None]
PATHS: dict[str, Travel] = {}


def path(travel: Travel) -> Travel:
    """Adds a path to the table."""
    PATHS[travel.__name__] = travel
    return travel


# The good ones


@path
def first_login(world: World) -> None:
    assert world.get(world.auth()).ok
    assert world.turvo.logins == 1


@path
def login_without_redis(world: World) -> None:
    del world.environ["REDIS_URL"]
    auth = world.auth()
    assert world.get(auth).ok
    world.keep(auth.token())
    with world.keep(TurvoSession(auth)) as session:
        assert len(list(session.records("/shipments/list", "shipments"))) == 60


@path
def made_from_arguments(world: World) -> None:
    environ = world.environ
    auth = TurvoAuth(
        base_url=environ["TURVO_BASE_URL"],
        api_key=environ["TURVO_API_KEY"],
        username=environ["TURVO_USERNAME"],
        password=environ["TURVO_PASSWORD"],
        client_secret=environ["TURVO_CLIENT_SECRET"],
        store=RedisStore.from_url(environ["REDIS_URL"], "turvo:auth_token"),
    )
    assert world.get(world.keep(auth)).ok


@path
def made_from_the_environment(world: World) -> None:
    for name, value in world.environ.items():
        world.monkeypatch.setenv(name, value)
    with world.keep(TurvoSession(world.keep(TurvoAuth.from_env()))) as session:
        response = session.get("/shipments/list")
        for thing in (session.auth, session, response.request.hooks):
            pickled = pickle.dumps(thing)
            world.evidence.say("a pickle", pickled)
            world.keep(pickle.loads(pickled))
    assert pickle.loads(pickle.dumps(response)).json() == response.json()


@path
def second_process_adopts(world: World) -> None:
    assert world.get(world.auth()).ok
    other = world.auth()
    assert world.get(other).ok
    assert other.stats.adopted == 1


@path
def waiting_for_a_login(world: World) -> None:
    world.turvo.login_seconds = 0.3
    auths = [world.auth() for _ in range(4)]
    threads = [threading.Thread(target=world.get, args=(auth,)) for auth in auths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.turvo.logins == 1
    assert sum(auth.stats.waits for auth in auths) >= 1


def _put_due_token(world: World) -> None:
    token = f"3b_-{world.turvo._uuid()}"
    world.turvo._tokens[token] = time.monotonic() + 600
    value = {"access_token": token, "expires_at": "2020-01-01T00:00:00+00:00", "buffer": 3600}
    world.redis.set(world.key, json.dumps(value), ex=600)


@path
def due_renewal(world: World) -> None:
    _put_due_token(world)
    assert world.get(world.auth()).ok
    assert world.turvo.logins == 1


@path
def due_renewal_fails(world: World) -> None:
    _put_due_token(world)
    world.turvo.fail_next(500, where="token", body=world.turvo.echo)
    auth = world.auth()
    assert world.get(auth).ok
    assert "answered 500" in (auth.status().failure or "")


@path
def replay_after_a_401(world: World) -> None:
    auth = world.auth()
    for _ in range(2):
        assert world.get(auth).ok
        world.turvo.revoke()
    assert auth.stats.replays == 1


@path
def forget(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    auth.forget()
    assert auth.status().state == "none"


@path
def sealed(world: World) -> None:
    from cryptography.fernet import Fernet

    for _ in range(2):
        keys = [KNOWN.add("an encryption key", Fernet.generate_key().decode()) for _ in range(2)]
        world.environ["TURVO_TOKEN_ENCRYPTION_KEYS"] = ",".join(keys)
        assert world.get(world.auth()).ok
        assert world.get(world.auth()).ok
    assert world.turvo.logins == 2  # the second pair cannot read what the first has sealed


@path
def listener_raises(world: World) -> None:
    def listen(event: object) -> None:
        raise ValueError(world.turvo.echo)

    auth = world.auth(on_event=listen)
    world.made.remove(auth)  # its copies and the like would only be those of `listen`
    assert world.get(auth).ok


# The token endpoint in all its moods


def _answers(status: int, kind: type[Exception], headers: dict[str, str], body: str) -> Travel:
    def travel(world: World) -> None:
        turvo = world.turvo
        text = body if body == "<html>" else json.dumps({**json.loads(turvo.echo), **json.loads(body)})
        world.turvo.fail_next(
            status,
            where="token",
            times=9,
            body=turvo.echo + text if body == "<html>" else text,
            headers=[(name, value.replace("ECHO", quote(turvo.echo))) for name, value in headers.items()],
        )
        for _ in range(2):  # the second time the failure is known
            world.fails(kind, world.get, world.auth())
        turvo.heal()
        assert turvo.logins == 0

    return travel


_NOW = {"Retry-After": "0"}  # else it takes time
_REJECTED, _AWAY, _INVALID = CredentialsRejected, TokenEndpointUnavailable, InvalidTokenResponse
for _status, _kind, _headers, _body in [
    (400, _REJECTED, {}, '{"error": "invalid_grant"}'),
    (400, _REJECTED, {}, "{}"),
    (400, _REJECTED, {}, "<html>"),
    (401, _REJECTED, {"WWW-Authenticate": "Bearer ECHO"}, '{"error": "invalid_client"}'),
    (403, _REJECTED, {}, '{"message": "Forbidden"}'),
    (423, _REJECTED, {}, "{}"),
    (404, _INVALID, {}, "<html>"),
    (302, _INVALID, {"Location": "http://127.0.0.1:9/?ECHO"}, "{}"),
    (307, _INVALID, {"Location": "/elsewhere"}, "{}"),
    (408, _AWAY, _NOW, "{}"),
    (429, _AWAY, {"Retry-After": "100"}, "{}"),
    (429, _AWAY, {"Retry-After": "ECHO"}, "{}"),
    (500, _AWAY, _NOW, '{"access_token": "abc"}'),
    (503, _AWAY, _NOW, "<html>"),
    (200, _INVALID, {}, "{}"),
    (200, _INVALID, {}, "<html>"),
    (200, _INVALID, {}, '{"access_token": "a token in\\r\\ntwo lines"}'),
    (200, _INVALID, {}, '{"access_token": "abc", "token_type": "mac"}'),
    (200, _INVALID, {}, '{"access_token": "abc", "expires_in": "soon"}'),
]:
    PATHS[f"token_endpoint_{_status}_{_body}_{_headers}"] = _answers(_status, _kind, _headers, _body)


@path
def wrong_password(world: World) -> None:
    world.environ["TURVO_PASSWORD"] = KNOWN.add("the password", invent("/", "+"))
    for _ in range(2):
        world.fails(CredentialsRejected, world.get, world.auth())
    assert world.turvo.token_requests == 1
    assert world.auth().status().failure
    world.environ |= world.turvo.environ
    assert world.get(world.auth()).ok


@path
def token_endpoint_hangs_up(world: World) -> None:
    world.turvo.drop_next(where="token", times=9)
    world.fails(TokenEndpointUnavailable, world.get, world.auth())


@path
def token_endpoint_is_down(world: World) -> None:
    world.environ["TURVO_TOKEN_KEY"] = "turvo:auth_token"
    _put_due_token(world)  # so that it is tried once only
    world.environ["TURVO_BASE_URL"] = f"http://127.0.0.1:{free_port()}"
    auth = world.auth()
    assert auth.token()
    assert "NewConnectionError" in (auth.status().failure or "")


@path
def token_endpoint_is_slow(world: World) -> None:
    _put_due_token(world)  # so that it is tried once only
    world.turvo.login_seconds = 5
    auth = world.auth(token_timeout=(0.2, 0.1))
    assert world.get(auth).ok
    assert "did not finish" in (auth.status().failure or "") or "ReadTimeout" in (auth.status().failure or "")


@path
def interrupted_login(world: World) -> None:
    world.turvo.login_seconds = 30
    # A process in the background of a shell is born deaf to it.
    world.closing.callback(
        signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)
    )

    def interrupt() -> None:
        while not world.turvo.token_requests:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    world.fails(KeyboardInterrupt, world.get, world.auth())
    thread.join()


# Answers of the API


@path
def login_again_is_rejected(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.revoke()
    world.turvo.fail_next(400, where="token", body=world.turvo.echo)
    world.fails(CredentialsRejected, world.get, auth)
    world.fails(CredentialsRejected, world.get, auth)


@path
def login_again_fails(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.revoke()
    world.turvo.fail_next(503, where="token", times=3, body=world.turvo.echo, headers=[("Retry-After", "0")])
    world.fails(TokenEndpointUnavailable, world.get, auth)


@path
def a_401_that_no_login_cures(world: World) -> None:
    auth = world.auth()
    world.turvo.fail_next(401, times=9, body=world.turvo.echo)
    for _ in range(3):
        assert world.get(auth).status_code == 401
    with world.keep(TurvoSession(auth)) as session:
        rows = session.records("/shipments/list", "shipments")
        world.fails(requests.HTTPError, next, rows)
    assert world.turvo.logins == 2


@path
def replay_is_cut_off(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.fail_next(401, body=world.turvo.echo)
    world.turvo.drop_next()
    world.fails(requests.ConnectionError, world.get, auth)


@path
def the_401_is_cut_off(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.fail_next(401, body=world.turvo.echo, headers=[("Content-Length", "9999")])
    try:
        world.get(auth, timeout=0.2)
    except Exception as error:  # noqa: BLE001 - whether it should be healed is not asked here
        world.evidence.error(error)
    assert auth.stats.replays + auth.stats.logins >= 1


@path
def body_that_cannot_be_replayed(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.revoke()
    response = requests.post(world.turvo.base_url + "/shipments", data=iter([b"a"]), auth=auth, timeout=10)
    assert response.status_code == 401


@path
def api_is_down(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.drop_next()
    world.fails(requests.ConnectionError, world.get, auth)


_ENVELOPES = {
    "error": (500, {"Status": "ERROR", "details": {"errorMessage": "THE TOKEN", "errorCode": "THE TOKEN"}}),
    "unauthorized": (
        401,
        {"Status": "ERROR", "details": {"errorMessage": "expired: THE TOKEN", "errorCode": 401}},
    ),
    "error_in_a_200": (200, {"Status": "ERROR", "details": {"errorMessage": "THE TOKEN"}}),
    "no_status": (200, {"error_description": "THE TOKEN"}),
    "forbidden": (403, {"error_description": "THE TOKEN"}),
    "no_json": (200, None),
}


def _envelope(status: int, body: object) -> Travel:
    def travel(world: World) -> None:
        text = json.dumps(body) if body else "<p>THE TOKEN"
        world.turvo.fail_next(status, times=9, body=text, path="/odd")
        with world.keep(TurvoSession(world.auth(), retries=0)) as session:
            rows = session.records("/odd", "shipments")
            world.fails((TurvoResponseError, requests.HTTPError), next, rows)
        if status != 200 or "Status" in (body or "Status"):  # else the answer is what was asked for
            world.command("get", "/odd", code=1)

    return travel


for _name, _envelope_ in _ENVELOPES.items():
    PATHS[f"records_{_name}"] = _envelope(*_envelope_)


def _redirect(status: int, *, where: str, refused: bool) -> Travel:
    def travel(world: World) -> None:
        with FakeTurvo() as foreign:
            auth = world.auth()
            if refused:
                assert world.get(auth).ok
                world.turvo.revoke()
            location = f"{foreign.base_url}/shipments/list"
            if where == "token":
                world.turvo.redirect_next(location, status=status, where="token")
                world.fails(InvalidTokenResponse, world.get, auth)
            else:
                if refused:
                    world.turvo.fail_next(401)
                world.turvo.redirect_next(location, status=status)
                assert world.get(auth).url == location
                assert foreign.api_requests == 1
            world.evidence.say("what another host received", *foreign.requests)

    return travel


for _status in (302, 307):
    for _refused in (False, True):
        for _where in ("api", "token"):
            _name = f"redirect_{_where}_{_status}{'_after_a_401' if _refused else ''}"
            PATHS[_name] = _redirect(_status, where=_where, refused=_refused)


# Redis in trouble


def _trouble(world: World, why: str, calls: Collection[str] = ("swap", "read", "wait")) -> None:
    """The work goes on, and the store itself says no more than ``why``."""
    auth = world.auth()
    assert world.get(auth).ok
    assert auth.stats.store_errors
    seen = Snapshot(0.0, None, None, None, ("", "0-0"))
    change = Change(token=Slot(json.dumps({"access_token": auth.token().access_token}).encode(), 60.0))
    arguments: dict[str, tuple[Any, ...]] = {"swap": (seen, change), "read": (), "wait": (seen, 0.1)}
    for name in calls:
        store = RedisStore.from_url(world.environ["REDIS_URL"], world.key)  # one in no trouble yet
        try:
            getattr(world.keep(store), name)(*arguments[name])
        except StoreError as error:
            assert re.search(why, str(error))
            world.evidence.error(error)


@path
def redis_is_down(world: World) -> None:
    world.environ["REDIS_URL"] = world.redis_url(world.redis_password, f"127.0.0.1:{free_port()}")
    _trouble(world, "ConnectionError")


@path
def redis_hangs(world: World) -> None:
    listener = world.closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    world.environ["REDIS_URL"] = world.redis_url(
        world.redis_password, f"127.0.0.1:{listener.getsockname()[1]}"
    )
    _trouble(world, "TimeoutError|no answer", ["swap"])


@path
def redis_password_is_wrong(world: World) -> None:
    world.environ["REDIS_URL"] = world.redis_url(KNOWN.add("the Redis password", invent("/", "@", "#")))
    _trouble(world, "AuthenticationError")


@path
def redis_wants_a_password(world: World) -> None:
    world.environ["REDIS_URL"] = f"redis://127.0.0.1:{world.server.port}/0"
    _trouble(world, "AuthenticationError")


@path
def redis_url_with_an_unknown_option(world: World) -> None:
    world.environ["REDIS_URL"] += f"?{world.redis_password}={world.redis_password}"
    world.fails(SettingsError, world.auth)


@path
def redis_is_full(world: World) -> None:
    client = world.redis
    client.config_set("maxmemory", "1")
    world.closing.callback(client.config_set, "maxmemory", "0")
    _trouble(world, "OutOfMemoryError|OOM")


@path
def redis_may_not_be_written(world: World) -> None:
    password = KNOWN.add("the Redis password", invent())
    world.redis.acl_setuser(
        "reader", enabled=True, passwords=[f"+{password}"], categories=["+@read"], keys="*"
    )
    world.closing.callback(world.redis.acl_deluser, "reader")
    world.environ["REDIS_URL"] = world.redis_url(password).replace("//:", "//reader:")
    _trouble(world, "NoPermissionError|NOPERM")


@path
def garbage_in_redis(world: World) -> None:
    client, token, key = world.redis, world.turvo._uuid(), world.key
    for name in (key, companion(key, "failure")):
        client.set(name, f"{token} is no JSON", ex=600)
    for name in (companion(key, "lease"), companion(key, "wake")):
        client.rpush(name, token)
    auth = world.auth()
    assert world.get(auth).ok
    assert world.turvo.logins == 1


# Settings that are wrong


def _refused(variable: str, value: Callable[[World], str | None]) -> Travel:
    def travel(world: World) -> None:
        wrong = value(world)
        world.environ.pop(variable)
        if wrong is not None:
            world.environ[variable] = wrong
        world.fails(SettingsError, world.auth)
        world.fails(SettingsError, world.auth, store=None, expiry_buffer=-1)
        if variable == "REDIS_URL":
            world.fails(SettingsError, RedisStore.from_url, wrong, "key")
        environ = {name: world.environ.get(name) for name in world.turvo.environ}
        names = {name: name.removeprefix("TURVO_").lower() for name in environ}
        if variable in names:
            arguments: Any = {names[name]: text for name, text in environ.items()}
            world.fails(SettingsError, TurvoAuth, **arguments)

    return travel


_WRONG: dict[str, tuple[str, Callable[[World], str | None]]] = {
    "no_api_key": ("TURVO_API_KEY", lambda world: None),
    "no_username": ("TURVO_USERNAME", lambda world: ""),
    "no_password": ("TURVO_PASSWORD", lambda world: None),
    "api_key_with_a_line_end": ("TURVO_API_KEY", lambda world: world.turvo.api_key + "\n"),
    "api_key_with_a_letter_of_another_script": ("TURVO_API_KEY", lambda world: world.turvo.api_key + "Ж"),
    "base_url_with_a_password": (
        "TURVO_BASE_URL",
        lambda world: f"https://user:{quote(world.turvo.password)}@publicapi.turvo.com/v1",
    ),
    "base_url_with_a_raw_password": (
        "TURVO_BASE_URL",
        lambda world: f"https://user:{world.turvo.password}@publicapi.turvo.com/v1",
    ),
    "base_url_with_a_password_for_a_port": (
        "TURVO_BASE_URL",
        lambda world: f"https://publicapi.turvo.com:{world.turvo.api_key}",
    ),
    "base_url_with_a_query": (
        "TURVO_BASE_URL",
        lambda world: f"https://publicapi.turvo.com/v1?api_key={quote(world.turvo.api_key)}",
    ),
    "base_url_that_is_a_password": ("TURVO_BASE_URL", lambda world: world.turvo.password),
    "base_url_in_clear": ("TURVO_BASE_URL", lambda world: f"http://turvo.example/{world.turvo.password}"),
    "base_url_with_half_an_address": ("TURVO_BASE_URL", lambda world: f"https://[{world.turvo.password}/v1"),
    "redis_url_that_is_a_password": ("REDIS_URL", lambda world: world.redis_password),
    "redis_url_with_a_raw_password": (
        "REDIS_URL",
        lambda world: f"redis://:{world.redis_password}/more@127.0.0.1:6379/0",
    ),
    "redis_url_of_another_scheme": ("REDIS_URL", lambda world: f"http://:{world.redis_password}@127.0.0.1/0"),
    "redis_url_with_a_password_for_a_port": (
        "REDIS_URL",
        lambda world: f"redis://127.0.0.1:{world.redis_password}/0",
    ),
    "redis_url_with_half_an_address": ("REDIS_URL", lambda world: f"redis://:{world.redis_password}@[::1"),
    "redis_url_with_a_wrong_option": (
        "REDIS_URL",
        lambda world: world.environ["REDIS_URL"] + f"?socket_timeout={world.redis_password}",
    ),
}
for _name, (_variable, _value) in _WRONG.items():
    PATHS[f"wrong_{_name}"] = _refused(_variable, _value)


@path
def wrong_types(world: World) -> None:
    good: dict[str, Any] = {
        "base_url": world.turvo.base_url,
        "api_key": world.turvo.api_key,
        "username": world.turvo.username,
        "password": world.turvo.password,
        "client_secret": world.turvo.client_secret,
    }
    for name, value in [
        ("password", world.turvo.password.encode()),
        ("client_secret", [world.turvo.client_secret]),
        ("base_url", world.turvo.base_url.encode()),
        ("expiry_buffer", world.turvo.password),
        ("token_timeout", (world.turvo.password, 1.0)),
    ]:
        world.fails(SettingsError, TurvoAuth, **{**good, name: value})
        world.fails(SettingsError, TurvoAuth.from_env, world.environ, **{name: value})
    world.fails(TypeError, TurvoAuth.from_env, world.environ, pasword=world.turvo.password)


@path
def settings_that_are_no_utf8(world: World) -> None:
    """As ``os.environ`` shows bytes that are none."""
    for name in ("TURVO_USERNAME", "TURVO_PASSWORD"):
        world.environ[name] += "\udcff"
    world.fails(CredentialsRejected, world.get, world.auth())


@path
def wrong_encryption_keys(world: World) -> None:
    from cryptography.fernet import Fernet

    wrong = KNOWN.add("an encryption key", invent())
    good = KNOWN.add("an encryption key", Fernet.generate_key().decode())
    world.environ["TURVO_TOKEN_ENCRYPTION_KEYS"] = f"{good},{wrong}"
    world.fails(SettingsError, world.auth)
    url = world.environ["REDIS_URL"]
    world.fails(SettingsError, RedisStore.from_url, url, "key", encryption_keys=[good, wrong])
    client = world.closing.enter_context(redis.Redis.from_url(url))
    world.fails(SettingsError, RedisStore, client, "key", encryption_keys=[wrong, good])
    world.fails(SettingsError, RedisStore, client, "key", encryption_keys=[wrong.encode()])


@path
def key_name_that_is_no_utf8(world: World) -> None:
    from cryptography.fernet import Fernet

    world.environ["TURVO_TOKEN_KEY"] = "turvo:\udcff"
    world.environ["TURVO_TOKEN_ENCRYPTION_KEYS"] = KNOWN.add("a key", Fernet.generate_key().decode())
    assert world.get(world.auth()).ok


# The command line


@path
def commands(world: World) -> None:
    shown = world.process("token").strip()
    assert shown in world.turvo.tokens
    assert world.process("get", "/shipments/list")
    for arguments in (["status"], ["status", "--json"], ["get", "/shipments/list"], ["forget"]):
        assert world.command(*arguments)
    assert world.turvo.logins == 1


@path
def commands_that_fail(world: World) -> None:
    world.turvo.fail_next(400, where="token", body=world.turvo.echo)
    world.command("get", "/shipments/list", code=3)
    world.command("get", "/shipments/list", code=3)
    assert "in force" in world.command("status")
    world.command("status", code=2, TURVO_BASE_URL=f"https://:{world.turvo.password}@publicapi.turvo.com")
    world.command("token", code=2, REDIS_URL=f"redis://:{world.redis_password}/more@127.0.0.1/0")


# What is let out, and what is stored

TOKEN_KEY = r"turvo:auth_token:\{[0-9a-f]{12}\}"
NAMES = re.compile(rf"({TOKEN_KEY}|turvo:[^:{{}}]+)|({TOKEN_KEY}|\{{turvo:[^:{{}}]+\}}):(lease|failure|wake)")


def check_what_is_stored(world: World) -> None:
    """A token and its expiry, a lease, a failure note, the wake-up entry; nothing else, and all of it ends."""
    client, texts = world.redis, []
    for raw in client.scan_iter():
        key = raw.decode(errors="surrogateescape")
        assert NAMES.fullmatch(key), key
        assert client.pttl(raw) > 0, f"{key} is kept for ever"
        if client.type(raw) == b"stream":
            assert key.endswith(":wake")
            assert [fields for _, fields in client.xrange(raw)] == [{b"w": b""}]
            continue
        value = client.get(raw).decode()
        match key.rpartition(":")[2], "TURVO_TOKEN_ENCRYPTION_KEYS" in world.environ:
            case "lease", _:
                assert re.fullmatch("[0-9a-f]{16}", value)
            case "failure", _:
                known = {"kind", "why", "soft", "step", "proof", "token", "over"}
                assert set(json.loads(value)) <= known
            case _, True:
                assert re.fullmatch("gAAAA[A-Za-z0-9_=-]+", value)
            case _:
                fields = json.loads(value)
                assert set(fields) == {"access_token", "expires_at", "buffer"}
                assert fields.pop("access_token") in world.turvo.tokens
                value = str(fields)
        texts += [key, value]
    dump = " ".join(texts)
    assert KNOWN.found(dump) == {}
    assert [how for how, digest in cheap_digests(world, dump) if digest in dump] == []


def cheap_digests(world: World, dump: str) -> Iterator[tuple[str, str]]:
    """What would let one who reads Redis test passwords as fast as a hash is made."""
    user, key, environ = world.turvo.username, world.turvo.api_key, world.environ
    client_id, client_secret = "publicapi", environ["TURVO_CLIENT_SECRET"]
    salts = {b""}
    for digits in re.findall("[0-9a-f]{16,}", dump):
        salts |= {salt for n in (16, 32, 64) for salt in (digits[:n].encode(), bytes.fromhex(digits[:n]))}
    for password in {world.turvo.password, environ.get("TURVO_PASSWORD") or ""}:
        parts = [key, client_id, client_secret, password, user]
        groups = [[password], [user, password], [password, user], [key, user, password], parts, sorted(parts)]
        texts = [joint.join(group) for group in groups for joint in ("", ":", "\n", "\0", ",")]
        for text in [*texts, *map(json.dumps, groups)]:
            raw = text.encode(errors="surrogatepass")
            for salt in salts:
                for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s"):
                    made = [hashlib.new(name, salt + raw).digest(), hashlib.new(name, raw + salt).digest()]
                    for digest in (*made, hmac.digest(salt, raw, name)):
                        yield f"{name} of {text} with {salt!r}", digest.hex()[:12]
                        yield f"{name} of {text} with {salt!r}", b64encode(digest).decode()[:12]


@pytest.fixture(scope="module")
def server() -> Iterator[LockedRedis]:
    with LockedRedis(port=0) as server:
        yield server


@pytest.fixture
def world(server: LockedRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with Turvo() as turvo:
        world = World(turvo, server, monkeypatch)
        with world.closing:
            world.redis.flushall()
            yield world


@pytest.mark.parametrize("name", PATHS)
def test_no_secret_gets_out(name: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Not by a log record, an exception, a repr, a pickle or a printed line; and Redis holds the token only."""
    with Tape(world.evidence):
        PATHS[name](world)
        world.look_around()
    world.evidence.say("what was printed", *capfd.readouterr())
    assert [leak for leak in world.evidence.leaks(KNOWN) if not leak.startswith("the username")] == []
    check_what_is_stored(world)


SECRET = KNOWN.add("a secret", invent())
TOKEN, SLOT = Token(SECRET, 0.0, 1.0, 0.0), Slot(SECRET.encode(), 1.0)


@pytest.mark.parametrize(
    "thing",
    [
        TOKEN,
        SLOT,
        Snapshot(0.0, SLOT, SLOT, SLOT, (1, 1)),
        Change(SLOT, SLOT, SLOT),
        Grant(SECRET, 1.0, 0.0, 0.0),
        Got(TOKEN),
        Adopt(TOKEN),
        Lead(TOKEN),
        Ask(b"me", TOKEN, spare=TOKEN),
        Credentials(*5 * [SECRET]),
        PasswordGrant(Credentials(*5 * [SECRET]), "http://127.0.0.1", (1.0, 1.0)),
        Settings(**dict.fromkeys(SETTINGS, SECRET)),
        Given({"password": SECRET}, []),
        Keyring([SECRET]),
        Sealing(Keyring([b64encode(SECRET[:12].encode() + bytes(20)).decode()]), SECRET),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_holds_a_secret_does_not_show_it(thing: object) -> None:
    """Nor pickle it: the values, one by one, also where no path lets them out today."""
    evidence = Evidence()
    evidence.objects(thing)
    assert evidence.leaks(KNOWN) == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda world, secret: logging.getLogger("another").debug("%s", {"password": secret}),
        lambda world, secret: logging.getLogger("another").debug("text", extra={"field": [secret]}),
        lambda world, secret: world.evidence.say("a text", quote(secret)),
        lambda world, secret: world.evidence.say("a text", f"starts like {secret[:12]}"),
        lambda world, secret: world.evidence.say("a text", json.dumps({"text": secret})),
        lambda world, secret: world.evidence.say("a text", b64encode(f"user:{secret}".encode())),
        lambda world, secret: world.evidence.say("a text", b64encode(f"users:{secret}".encode())),
        lambda world, secret: world.evidence.say("a text", b64encode(f"users::{secret}".encode())),
        lambda world, secret: world.evidence.say("a text", secret.encode().hex()),
        lambda world, secret: world.evidence.error(ValueError(KeyError(secret))),
        lambda world, secret: world.fails(ValueError, _raises, secret),
        lambda world, secret: world.fails(ValueError, _frame_of_ours, secret),
        lambda world, secret: world.evidence.objects([{"key": TurvoAuthStatusLike(secret)}]),
        lambda world, secret: world.evidence.objects(_closure(TurvoAuthStatusLike(secret))),
    ],
)
def test_the_search_finds_what_is_let_out(plant: Callable[[World, str], object], world: World) -> None:
    """A harness that finds nothing proves nothing."""
    secret = KNOWN.add("the planted secret", invent('"/+'))
    with Tape(world.evidence):
        plant(world, secret)
    assert [leak for leak in world.evidence.leaks(KNOWN) if leak.startswith("the planted secret")]


class TurvoAuthStatusLike:
    """Shows what it holds, as an object of ours must not."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"<{self.secret}>"


TurvoAuthStatusLike.__module__ = "turvo_session.planted"


def _closure(thing: object) -> Callable[[], object]:
    return lambda: thing


def _raises(secret: str) -> None:
    try:
        raise KeyError(secret)
    except KeyError:
        error = ValueError("the context tells")
    try:
        raise KeyError(secret)
    except KeyError:
        raise error


def _frame_of_ours(secret: str) -> None:
    module = compile("def frame(secret): raise ValueError", str(PACKAGE / "planted.py"), "exec")
    FunctionType(module.co_consts[0], {})(secret)


@pytest.mark.parametrize(
    "value",
    [
        lambda turvo: turvo.username,
        lambda turvo: quote(turvo.password),
        lambda turvo: hashlib.sha256(turvo.password.encode()).hexdigest(),
        lambda turvo: b64encode(hashlib.md5(f"{turvo.username}:{turvo.password}".encode()).digest()).decode(),
        lambda turvo: (
            "ab" * 16 + hashlib.sha256(bytes.fromhex("ab" * 16) + turvo.password.encode()).hexdigest()
        ),
        lambda turvo: "ab" * 16 + hmac.digest(b"ab" * 16, turvo.password.encode(), "sha512").hex(),
    ],
)
def test_the_search_finds_what_is_stored(value: Callable[[Turvo], str], world: World) -> None:
    """Also a hash of the password, with a salt or without."""
    check_what_is_stored(world)
    world.redis.set(
        "turvo:auth_token:{0123456789ab}:failure", json.dumps({"proof": value(world.turvo)}), ex=9
    )
    with pytest.raises(AssertionError):
        check_what_is_stored(world)


def test_what_does_not_pickle_says_what_to_do(world: World) -> None:
    """An auth made from arguments, one of ``from_env`` with overrides, a token, a store with a password."""
    auth = world.auth()
    store = RedisStore.from_url(world.environ["REDIS_URL"], "key")
    for thing, advice in [
        (auth, "without arguments"),
        (auth.token(), "TokenStore"),
        (store, "in each process"),
    ]:
        with pytest.raises(TypeError, match=advice):
            pickle.dumps(thing)


def test_a_rejection_names_its_credentials_to_nobody_else() -> None:
    """Two proofs of the same credentials differ; each is known by those credentials, and by no others."""
    whole = ["key", "user", "password", "client", "secret"]
    credentials = Credentials(*whole)
    proofs = [credentials.proof(), credentials.proof()]
    assert proofs[0][:32] != proofs[1][:32]
    assert proofs[0][32:] != proofs[1][32:]
    assert [credentials.match(proof) for proof in proofs] == [True, True]
    for number in range(len(whole)):
        other = Credentials(*whole[:number], "other", *whole[number + 1 :])
        assert not other.match(proofs[0])


def test_a_password_is_tested_slowly() -> None:
    """scrypt with 16 MB: thousands of times the work of a hash, and the key has to be known, too."""
    credentials = Credentials("key", "user", "password", "client", "secret")
    start = time.process_time()
    proof = credentials.proof()
    assert time.process_time() - start > 0.01
    whole = json.dumps(["key", "client", "secret", "password", "user"]).encode()
    assert proof[32:] == scrypt(whole, salt=bytes.fromhex(proof[:32]), n=1 << 14, r=8, p=1, dklen=32).hex()
