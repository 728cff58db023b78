"""No secret gets out on any path: each is travelled, and all that it let out searched.

To add a path, write a function of a ``World`` and put ``@path`` on it. The function
checks that the path was really travelled; what was let out is searched for it.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import pickle
import re
import socket
import socketserver
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from contextlib import (
    contextmanager,
    suppress,
)
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import quote

import pytest
import redis
import requests
from cryptography.fernet import Fernet

from tests.support.leaks import PACKAGE, Evidence, Tape, invent
from tests.support.secrecy_world import (
    HOSTILE,
    KNOWN,
    LockedRedis,
    Nameless,
    Refusing,
    Turvo,
    World,
    check_what_is_stored,
    hostile_texts,
)
from tests.support.servers import free_port
from tests.support.wire import Reply, Site
from turvo_session import (
    Change,
    CredentialsRejected,
    InvalidTokenResponse,
    RedisStore,
    SettingsError,
    Slot,
    StoreError,
    TokenEndpointUnavailable,
    TurvoAuthError,
    TurvoResponseError,
    TurvoSession,
)
from turvo_session.failure import History, Record
from turvo_session.redis_store import companion

Travel = Callable[[World], None]
PATHS: dict[str, Travel] = {}


def path(travel: Travel) -> Travel:
    """Add a path to the table."""
    PATHS[travel.__name__] = travel
    return travel


# Where all goes well


@path
def login_and_adoption(world: World) -> None:
    assert world.get(world.auth()).ok
    other = world.auth()
    assert world.get(other).ok
    assert (world.turvo.logins, other.stats.adopted) == (1, 1)


@path
def login_without_redis(world: World) -> None:
    del world.environ["REDIS_URL"]
    auth = world.auth()
    world.keep(auth.login())
    with world.keep(TurvoSession(auth)) as session:
        assert len(list(session.records("/shipments/list", "shipments"))) == 60
        assert session.details("/shipments/list")["shipments"]


@path
def made_from_the_environment(world: World) -> None:
    for name, value in world.environ.items():
        world.monkeypatch.setenv(name, value)
    with world.keep(TurvoSession.from_env()) as session:
        response = session.get("/shipments/list")
        for thing in (session.auth, session, response.request.hooks):
            pickled = pickle.dumps(thing)
            world.evidence.say("a pickle", pickled)
            world.keep(pickle.loads(pickled))
    assert pickle.loads(pickle.dumps(response)).json() == response.json()


@path
def password_of_a_callable_and_of_files(world: World) -> None:
    secret = world.environ.pop("TURVO_PASSWORD")
    assert world.get(world.auth(password=lambda: secret)).ok
    for name in ("TURVO_API_KEY", "TURVO_CLIENT_SECRET", "REDIS_URL"):
        (world.folder / name).write_text(world.environ.pop(name) + "\n")
        world.environ[f"{name}_FILE"] = str(world.folder / name)
    (world.folder / "password").write_text(secret)
    world.environ["TURVO_PASSWORD_FILE"] = str(world.folder / "password")
    auth = world.auth()
    assert auth.login()
    (world.folder / "password").unlink()
    world.fails(SettingsError, auth.login)


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


@path
def renewal_ahead_of_time(world: World) -> None:
    """One that fails, and one that does not."""
    token = f"3b_-{world.turvo._uuid()}"
    world.turvo._tokens[token] = time.monotonic() + 600
    end = "2020-01-01T00:00:00+00:00"
    value = {"access_token": token, "expires_at": end, "buffer": 3600}
    world.redis.set(world.key, json.dumps(value), ex=600)
    world.turvo.fail_next(500, where="token", body=world.turvo.echo)
    auth = world.auth()
    assert world.get(auth).ok
    assert "answered 500" in auth.status().failures[0].why
    auth.forget()
    world.redis.set(world.key, json.dumps(value), ex=600)
    assert world.get(world.auth()).ok
    assert world.turvo.logins == 1


@path
def replay_after_a_401(world: World) -> None:
    auth = world.auth()
    for _ in range(2):
        assert world.get(auth).ok
        world.turvo.revoke()
    assert auth.stats.replays == 1


@path
def sealed(world: World) -> None:
    for _ in range(2):
        keys = [Fernet.generate_key().decode() for _ in range(2)]
        for key in keys:
            KNOWN.add("an encryption key", key)
        world.environ["TURVO_TOKEN_ENCRYPTION_KEYS"] = ",".join(keys)
        for _ in range(2):
            assert world.get(world.auth()).ok
    assert world.turvo.logins == 2  # the second pair cannot read the first one's


@path
def listener_raises(world: World) -> None:
    def listen(event: object) -> None:
        raise ValueError(world.turvo.echo)

    auth = world.auth(on_event=listen)
    world.made.remove(auth)  # its copies would only be those of `listen`
    assert world.get(auth).ok


@path
def login_while_others_print_and_log_everything(world: World) -> None:
    """``http.client`` at debuglevel 1, and a factory that sees all records first.

    No handler hears what the OAuth library logs of a login.
    """
    regular = logging.getLogRecordFactory()
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    library = logging.getLogger("requests_oauthlib")
    library.addHandler(handler)
    world.closing.callback(library.removeHandler, handler)
    assert library.isEnabledFor(logging.DEBUG)

    def make_record(*args: Any, **options: Any) -> logging.LogRecord:
        record = regular(*args, **options)
        world.evidence.say("a new log record", vars(record))
        world.evidence.objects(record.args)
        return record

    world.closing.callback(logging.setLogRecordFactory, regular)
    logging.setLogRecordFactory(make_record)
    with world.monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPConnection, "debuglevel", 1)
        assert world.auth().token()
    assert heard == []


# The token endpoint in all its moods


def _answers(
    status: int, kind: type[Exception], headers: dict[str, str], body: str
) -> Travel:
    def travel(world: World) -> None:
        turvo = world.turvo
        text = turvo.echo + body
        if body != "<html>":
            text = json.dumps({**json.loads(turvo.echo), **json.loads(body)})
        echo = quote(turvo.echo)
        sent = [(name, value.replace("ECHO", echo)) for name, value in headers.items()]
        turvo.fail_next(status, where="token", times=9, body=text, headers=sent)
        for _ in range(2):  # the second time the failure is remembered
            world.fails(kind, world.get, world.auth())
        assert turvo.logins == 0

    return travel


_NOW = {"Retry-After": "0"}  # else it takes time
_REJECTED, _AWAY = CredentialsRejected, TokenEndpointUnavailable
_INVALID = InvalidTokenResponse
for _answer in [
    (400, _REJECTED, {}, '{"error": "invalid_grant"}'),
    (400, _INVALID, {}, "<html>"),
    (401, _REJECTED, {"WWW-Authenticate": "Bearer ECHO"}, "{}"),
    (403, _REJECTED, {}, '{"message": "Forbidden"}'),
    (404, _INVALID, {}, "<html>"),
    (302, _INVALID, {"Location": "http://127.0.0.1:9/?ECHO"}, "{}"),
    (429, _AWAY, {"Retry-After": "100"}, "{}"),
    (429, _AWAY, {"Retry-After": "ECHO"}, "{}"),
    (500, _AWAY, _NOW, '{"access_token": "abc"}'),
    (200, _INVALID, {}, "<html>"),
    (200, _REJECTED, {}, '{"access_token": "a token in\\r\\ntwo lines"}'),
    (200, _REJECTED, {}, '{"access_token": "abc", "token_type": "mac"}'),
    (200, _REJECTED, {}, '{"access_token": "abc", "expires_in": "soon"}'),
]:
    PATHS[f"token_endpoint_{_answer[0]}_{_answer[2]}_{_answer[3]}"] = _answers(*_answer)


@path
def wrong_password(world: World) -> None:
    for wrong in (invent("/", "+"), invent()):
        world.environ["TURVO_PASSWORD"] = KNOWN.add("the password", wrong)
        for _ in range(2):
            world.fails(TurvoAuthError, world.get, world.auth())
    assert world.auth().status().failures
    world.environ |= world.turvo.environ
    world.auth().forget()
    assert world.get(world.auth()).ok


@path
def token_endpoint_cannot_be_reached(world: World) -> None:
    world.turvo.drop_next(where="token", times=9)
    world.fails(TokenEndpointUnavailable, world.get, world.auth())
    secret = KNOWN.add("the password of a proxy", invent())
    world.environ["TURVO_BASE_URL"] = f"https://127.0.0.1:{free_port()}"
    proxies = {"https": f"http://user:{secret}@127.0.0.1:{free_port()}"}
    auth = world.auth(proxies=proxies, verify=__file__, cert=__file__)
    world.fails(TokenEndpointUnavailable, auth.token)
    world.fails(TokenEndpointUnavailable, world.auth(proxies=proxies).login)


# Answers of the API


@path
def login_again_fails(world: World) -> None:
    for status, kind in ((503, TokenEndpointUnavailable), (400, CredentialsRejected)):
        auth = world.auth()
        assert world.get(auth).ok
        world.turvo.revoke()
        world.turvo.fail_next(
            status, where="token", times=3, body=world.turvo.echo, headers=_NOW
        )
        for _ in range(2):
            world.fails(kind, world.get, auth)
        world.turvo.heal()
        auth.forget()


@path
def a_401_that_no_login_cures(world: World) -> None:
    auth = world.auth()
    world.turvo.fail_next(401, times=9, body=world.turvo.echo)
    for _ in range(3):
        assert world.get(auth).status_code == 401
    with world.keep(TurvoSession(auth)) as session:
        world.fails(requests.HTTPError, session.details, "/shipments/list")


@path
def replay_is_cut_off(world: World) -> None:
    auth = world.auth()
    assert world.get(auth).ok
    world.turvo.fail_next(401, body=world.turvo.echo)
    world.turvo.drop_next()
    world.fails(requests.ConnectionError, world.get, auth)


_IS_QUOTED = re.compile(
    r"""GET "[^"]*": [^"]+("[^"]*"( [(]code (?!7).*)?)?""", re.DOTALL
).fullmatch


def _envelope(status: int, body: Any) -> Travel:
    def travel(world: World) -> None:
        text = json.dumps(body) if body else f"<p>THE TOKEN {HOSTILE}"
        world.turvo.fail_next(status, times=9, body=text, path="/odd")
        errors = (TurvoResponseError, requests.HTTPError)
        with world.keep(TurvoSession(world.auth(), retries=0)) as session:
            long = "/odd" + "d" * 10_000
            for call in (session.details, lambda path: next(session.records(path, ""))):
                said = world.fails(errors, call, long)
                assert _IS_QUOTED(said), said
        world.command("get", "/odd", code=1)

    return travel


_SAID = {"errorMessage": f"THE TOKEN{HOSTILE}", "errorCode": f"{HOSTILE}THE TOKEN"}
for _number, _case in enumerate(
    [
        (500, {"Status": "ERROR", "details": _SAID}),
        (401, {"Status": "ERROR", "details": _SAID}),
        (200, {"Status": "ERROR", "details": _SAID}),
        (403, {"error_description": "THE TOKEN", "message": HOSTILE * 100_000}),
        (200, None),
    ]
):
    PATHS[f"error_of_the_api_{_number}"] = _envelope(*_case)


@path
def redirect_to_a_hostile_url(world: World) -> None:
    """Which ``requests`` cannot parse, and repeats."""
    location = "http://\u2100\x1b\u202e/".encode().decode("latin1")
    world.turvo.fail_next(302, headers={"Location": location}, path="/odd")
    world.command("get", "/odd", code=1)
    with pytest.raises(requests.RequestException):
        requests.get(f"http://{'a.' * 6000}example", auth=world.auth(), timeout=9)


@path
def list_with_a_hostile_name(world: World) -> None:
    details = {f"THE{HOSTILE}LIST": [], "pagination": {"totalRecordsInPage": 1}}
    world.turvo.answer("/odd", {"Status": "SUCCESS", "details": details})
    with world.keep(TurvoSession(world.auth())) as session:
        world.fails(TurvoResponseError, next, session.records("/odd", "shipments"))


@path
def details_that_are_no_object(world: World) -> None:
    with world.keep(TurvoSession(world.auth())) as session:
        token = session.auth.token().access_token
        answer = {"Status": "SUCCESS", "details": [token]}
        world.turvo.answer("/odd", answer)
        del token, answer
        assert _IS_QUOTED(world.fails(TurvoResponseError, session.details, "/odd"))


# Other origins


def _redirect(status: int, *, where: Any, refused: bool) -> Travel:
    def travel(world: World) -> None:
        with Site() as foreign:
            auth = world.auth()
            location = f"{foreign.url}/x"
            if refused:
                assert world.get(auth).ok
                world.turvo.revoke()
            world.turvo.redirect_next(location, status=status, where=where)
            if where == "token":
                world.fails(InvalidTokenResponse, world.get, auth)
            else:
                if refused:
                    world.turvo.heal()
                    world.turvo.fail_next(401)
                    world.turvo.redirect_next(location, status=status)
                assert world.get(auth).url == location
                assert len(foreign.arrived) == 1
            world.evidence.say("what another host received", *foreign.arrived)

    return travel


for _status in (302, 307):
    PATHS[f"redirect_of_the_token_request_{_status}"] = _redirect(
        _status, where="token", refused=False
    )
    for _refused in (False, True):
        PATHS[f"redirect_{_status}_{_refused}"] = _redirect(
            _status, where="api", refused=_refused
        )


@path
def copy_of_a_retry_hook_is_redirected(world: World) -> None:
    with Site() as foreign, requests.Session() as session:

        def send_again(answer: requests.Response, **options: Any) -> requests.Response:
            if answer.status_code != 503:
                return answer
            copied = answer.request.copy()
            again: requests.Response = answer.connection.send(copied, **options)
            copied.url = again.headers["Location"]
            session.send(copied, timeout=10)
            return again

        session.auth = world.auth()
        session.hooks["response"].append(send_again)
        world.turvo.fail_next(503)
        world.turvo.redirect_next(f"{foreign.url}/x")
        session.get(f"{world.turvo.base_url}/shipments/list", timeout=10)
        assert len(foreign.arrived) == 2
        world.evidence.say("what another host received", *foreign.arrived)


@path
def plain_http_to_this_machine_through_a_proxy(world: World) -> None:
    """Which would read the token, and the password."""
    with Site(lambda _: Reply(200)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            world.monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            world.monkeypatch.delenv(name, raising=False)
        auth = world.auth()
        assert auth.login()
        assert world.get(auth).ok
        assert len(proxy.arrived) == 1
        with world.keep(TurvoSession(auth)) as session:
            assert session.details("/shipments/list")
        world.evidence.say("what the proxy received", *proxy.arrived)


# Redis in trouble


def _trouble(world: World, why: str, calls: Collection[str] = ("swap", "read")) -> None:
    """Check that work goes on, and that the store itself says no more than ``why``."""
    auth = world.auth()
    assert world.get(auth).ok
    assert auth.stats.store_errors
    value = json.dumps({"access_token": auth.token().access_token}).encode()
    with world.server.client(password=world.server.password) as client:
        seen = RedisStore(client, world.key).read()
    arguments = {"swap": (seen, Change(token=Slot(value, 60.0))), "read": ()}
    for name in calls:
        # One that knows of no trouble yet.
        store = world.keep(RedisStore.from_url(world.environ["REDIS_URL"], world.key))
        with pytest.raises(StoreError, match=why) as caught:
            getattr(store, name)(*arguments[name])
        world.evidence.error(caught.value)


@path
def redis_is_down(world: World) -> None:
    world.environ["REDIS_URL"] = world.redis_url(world.server.password, free_port())
    _trouble(world, "refused the connection")


@path
def redis_hangs(world: World) -> None:
    listener = world.closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    world.environ["REDIS_URL"] = world.redis_url(world.server.password, port)
    _trouble(world, "answer", ["swap"])


@path
def redis_has_a_hostile_name(world: World) -> None:
    for kind in ("sentinel", "cluster", "path", "host", "port"):
        world.fails(StoreError, RedisStore(Nameless(kind), "key").read)
        world.fails(StoreError, RedisStore(Refusing(kind), "key").read)
    client = Nameless("host", redis.ResponseError(HOSTILE * 1000))
    world.fails(StoreError, RedisStore(client, "key").read)


@path
def redis_password_is_wrong(world: World) -> None:
    wrong = KNOWN.add("the Redis password", invent("/", "@", "#"))
    world.environ["REDIS_URL"] = world.redis_url(wrong)
    _trouble(world, "password")


@path
def redis_is_full(world: World) -> None:
    client = world.redis
    client.config_set("maxmemory", "1")
    world.closing.callback(client.config_set, "maxmemory", "0")
    _trouble(world, "memory|full", ["swap"])


@contextmanager
def replying(answer: bytes) -> Iterator[int]:
    """Run a server that replies to everything with ``answer``; yield its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(1 << 16):
                    self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server.server_address[1]
        server.shutdown()


@path
def redis_answers_with_a_hostile_error(world: World) -> None:
    """Control characters, and 5 MB of them."""
    secret = world.turvo._uuid()
    for size in (1, 100_000):
        text = f"-ERR {secret} {HOSTILE}".replace("\r\n", "\n") * size
        answer = text.encode() + b"\r\n"
        with replying(answer) as port:
            world.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            auth = world.auth()
            assert world.get(auth).ok
            assert auth.stats.store_errors
            world.command("status", code=None)


@path
def planted_values(world: World) -> None:
    """Whoever can write to Redis can write this."""
    client, key, token = world.redis, world.key, f"3b_-{world.turvo._uuid()}"
    url_hash = world.auth()._source._login.url_hash
    kinds = ("unavailable", "unanswered", "foreign")
    evil = 'go to "http://evil.example"'
    for why in (HOSTILE, f"{token} {HOSTILE}" * 100_000, evil):
        records = [Record(kind, why, url_hash, left=9, kept=9) for kind in kinds]
        planted = History(records=tuple(records)).slot()
        assert planted
        client.set(companion(key, "failures"), planted.value, ex=9)
        client.set(key, f"{token} {HOSTILE}", ex=9)
        assert '"http' not in world.command("status", code=None)
        world.fails(requests.RequestException, world.get, world.auth())
        client.flushall()
    for name in (key, companion(key, "failures")):
        client.set(name, f"{token} is not JSON", ex=600)
    for name in (companion(key, "lease"), companion(key, "wake")):
        client.rpush(name, token)
    assert world.get(world.auth()).ok
    assert world.turvo.logins == 1


# The command line


@path
def commands(world: World) -> None:
    assert world.process("token").strip() in world.turvo.tokens
    for arguments in (["status"], ["status", "--json"], ["login"], ["forget"]):
        assert world.command(*arguments)
    assert world.command("get", "/shipments/list")
    assert world.turvo.logins == 3


@path
def commands_that_fail(world: World) -> None:
    world.turvo.fail_next(400, where="token", body='{"error": "invalid_grant"}')
    for _ in range(2):
        world.command("get", "/shipments/list", code=3)
    assert "rejected" in world.command("status", code=3)


# What is let out, and what is stored


@pytest.fixture(scope="module")
def server() -> Iterator[LockedRedis]:
    with LockedRedis(port=0) as server:
        yield server


@pytest.fixture
def world(
    server: LockedRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    with Turvo() as turvo:
        world = World(turvo, server, monkeypatch, tmp_path)
        with world.closing:
            world.redis.flushall()
            yield world


@pytest.mark.parametrize("name", PATHS)
def test_no_secret_gets_out(
    name: str, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in a log record, an exception, a repr, a pickle or a printed line.

    No text of a server comes out raw, and Redis holds the token only.
    """
    with Tape(world.evidence):
        PATHS[name](world)
        world.look_around()
    world.evidence.say("what was printed", *capfd.readouterr())
    leaks = world.evidence.leaks(KNOWN)
    assert [leak for leak in leaks if not leak.startswith("the username")] == []
    assert hostile_texts(world.evidence) == []
    check_what_is_stored(world)


def test_two_api_keys_of_one_user_have_two_tokens(world: World) -> None:
    first = world.auth().token().access_token
    world.turvo.api_key = KNOWN.add("the API key", invent("+/"))
    world.environ["TURVO_API_KEY"] = world.turvo.api_key
    assert world.auth().token().access_token != first
    assert world.turvo.logins == 2
    assert len([key for key in world.redis.scan_iter() if key.endswith(b"}")]) == 2


@pytest.mark.parametrize(
    "plant",
    [
        lambda world, it: logging.getLogger("another").debug("%s", {"password": it}),
        lambda world, it: logging.getLogger("another").debug("x", extra={"y": [it]}),
        lambda world, it: world.evidence.say("a text", quote(it)),
        lambda world, it: world.evidence.say("a text", f"starts like {it[:12]}"),
        lambda world, it: world.evidence.say("a text", json.dumps({"text": it})),
        lambda world, it: world.evidence.say("a text", b64encode(f"a:{it}".encode())),
        lambda world, it: world.evidence.say("a text", b64encode(f"ab:{it}".encode())),
        lambda world, it: world.evidence.say("a text", b64encode(f"abc:{it}".encode())),
        lambda world, it: world.evidence.say("a text", it.encode().hex()),
        lambda world, it: world.evidence.error(ValueError(KeyError(it))),
        lambda world, it: world.fails(ValueError, _frame_of_ours, it),
        lambda world, it: world.evidence.objects([{"key": LikeOurs(it)}]),
        lambda world, it: world.evidence.objects(lambda: LikeOurs, LikeOurs(it)),
    ],
)
def test_the_search_finds_what_is_let_out(
    plant: Callable[[World, str], object], world: World
) -> None:
    """A search that finds nothing proves nothing."""
    secret = KNOWN.add("the planted secret", invent('"/+'))
    with Tape(world.evidence):
        plant(world, secret)
    leaks = world.evidence.leaks(KNOWN)
    assert [leak for leak in leaks if leak.startswith("the planted secret")]


class LikeOurs:
    """Shows what it holds, as an object of the package must not."""

    __module__ = "turvo_session.planted"

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"<{self.secret}>"


def _frame_of_ours(secret: str) -> None:
    source = "def frame(secret): raise ValueError"
    module = compile(source, str(PACKAGE / "planted.py"), "exec")
    FunctionType(module.co_consts[0], {})(secret)


def test_the_search_finds_raw_text_of_a_server() -> None:
    evidence = Evidence()
    for text in ("\x1b[2J", "a\nforged: b", "x" * 10_000):
        evidence.say("a text", text)
    assert len(hostile_texts(evidence)) == 3


@pytest.mark.parametrize(
    "value",
    [
        lambda turvo: turvo.username,
        lambda turvo: quote(turvo.password),
        lambda turvo: hashlib.sha256(turvo.password.encode()).hexdigest(),
        lambda turvo: (
            "ab" * 16
            + hmac.digest(b"\xab" * 16, turvo.password.encode(), "sha512").hex()
        ),
    ],
)
def test_the_search_finds_what_is_stored(
    value: Callable[[Turvo], str], world: World
) -> None:
    """Also a hash of the password, with a salt or without."""
    check_what_is_stored(world)
    planted = json.dumps({"salt": value(world.turvo)})
    world.redis.set("turvo:auth_token:{0123456789ab}:failures", planted, ex=9)
    with pytest.raises(AssertionError):
        check_what_is_stored(world)
