"""The recipes of the README's "Operations" and "Without Redis" work as they stand.

Paths and addresses are those of this machine; all else is the README's.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import requests
from poller import Poller

from tests.support.programs import Webhook
from tests.support.proxies import Proxy
from tests.support.servers import RedisServer, free_port, self_signed
from tests.support.wire import Reply, Site, auth_at, is_secret_free
from turvo_session import (
    Change,
    MemoryStore,
    RedisStore,
    Slot,
    StoreError,
    TurvoAuth,
    TurvoSession,
)
from turvo_session.testing import FakeTurvo
from turvo_session.tokens import Token, dump

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OPERATIONS = README.partition("\n## Operations\n")[2].partition("\n## ")[0]
WITHOUT_REDIS = README.partition("\n## Without Redis")[2].partition("\n## ")[0]

DEFAULT_KEY = "turvo:auth_token:{0123456789ab}"
EVERYTHING = Change(token=Slot(b"{}", 9), lease=Slot(b"x", 9), failure=None, wake=True)


def find(pattern: str, text: str = OPERATIONS) -> str:
    """Return what the group of ``pattern`` matches in a part of the README."""
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {pattern}"
    return found[1]


ACL = find(r"^(ACL SETUSER turvo .*?)$").split()
COMMANDS = [word for word in ACL if word.startswith("+")]
POLLER = re.findall(r"[~+][\w:*]+", find(r"^(The poller .*?)\n\n"))
UNIT = r"^# /etc/systemd/system/([\w.-]+)\n(.*?)(?=^#|^```)"
UNITS = re.findall(UNIT, OPERATIONS, re.MULTILINE | re.DOTALL)
SERVICES = [unit for unit in UNITS if unit[0].endswith(".service")]


def set_user(server: RedisServer, words: list[str]) -> str:
    """Make the user of an ``ACL SETUSER`` line; return the URL to connect as it."""
    name, secret = words[2], find(r"^ACL SETUSER .*? >(\S+)")
    with server.client() as client:
        client.execute_command(*words)
    return f"redis://{name}:{secret}@127.0.0.1:{server.port}/0"


def use_store(url: str, key: str) -> None:
    """Do all that a login does with Redis."""
    store = RedisStore.from_url(url, key)
    seen = store.read()
    assert store.swap(seen, EVERYTHING)
    store.wait(seen, 5)
    store.wait(store.read(), 0.01)


@pytest.mark.parametrize("variables", [{}, {"TURVO_TOKEN_KEY": "turvo:auth_token"}])
def test_the_redis_user_shares_a_token(
    redis_server: RedisServer, turvo: FakeTurvo, variables: dict[str, str]
) -> None:
    """It works with the default key and with the key of older scripts."""
    environ = {**turvo.environ, **variables}
    environ["REDIS_URL"] = set_user(redis_server, ACL)
    auths = [TurvoAuth.from_env(environ) for _ in range(2)]
    assert auths[0].token().fingerprint == auths[1].token().fingerprint
    assert turvo.logins == 1
    assert [auth.stats.store_errors for auth in auths] == [0, 0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_redis_user_needs_each_command(
    redis_server: RedisServer, command: str
) -> None:
    """Without one nothing is written, but XREAD is needed only by callers that wait."""
    url = set_user(redis_server, [word for word in ACL if word != command])
    name = command.removeprefix("+").upper()
    with pytest.raises(StoreError, match=f"does not allow {name} on {DEFAULT_KEY}"):
        use_store(url, DEFAULT_KEY)
    with redis_server.client() as client:
        assert bool(client.dbsize()) is (name == "XREAD")


def test_the_redis_user_has_no_other_key(redis_server: RedisServer) -> None:
    url = set_user(redis_server, ACL)
    with pytest.raises(StoreError, match="does not allow"):
        use_store(url, "another:key")


@pytest.mark.parametrize("left_out", ["nothing", *POLLER])
def test_the_poller_can_do_all_that_it_needs_and_needs_each_of_these(
    redis_server: RedisServer, turvo: FakeTurvo, left_out: str
) -> None:
    """One whose webhook is down gives back what it has claimed; another sends it."""
    url = set_user(redis_server, [word for word in ACL + POLLER if word != left_out])
    session = TurvoSession.from_env({**turvo.environ, "REDIS_URL": url})
    with Webhook() as webhook:
        webhook.judge = lambda body, ids: 503
        assert not Poller(session, url, webhook.url).poll()
        del webhook.batches[:]
        webhook.judge = lambda body, ids: 200
        is_done = Poller(session, url, webhook.url).poll()
        works = is_done and bool(webhook.batches)
    assert works is (left_out == "nothing")


TLS_OPTIONS = re.findall(r"\b(ssl_\w+)", find(r"^(\*\*TLS\.\*\*.*?)\n\n"))


@pytest.mark.parametrize("named", [TLS_OPTIONS, TLS_OPTIONS[:1], TLS_OPTIONS[1:]])
def test_redis_with_a_ca_of_ones_own_and_client_certificates(
    redis_server: RedisServer, tmp_path: Path, named: list[str]
) -> None:
    """All three options are needed there, and are enough."""
    (tmp_path / "client").mkdir()
    context, trusted = self_signed(tmp_path, "localhost")
    _, client = self_signed(tmp_path / "client", "client")
    context.load_verify_locations(client)
    context.verify_mode = ssl.CERT_REQUIRED
    key_file = tmp_path / "client" / "key.pem"
    files = {"ssl_ca_certs": trusted, "ssl_certfile": client, "ssl_keyfile": key_file}
    options = "&".join(f"{name}={files[name]}" for name in named)
    assert redis_server.port is not None
    with Proxy(redis_server.port, tls=context) as proxy:
        url = f"rediss://localhost:{proxy.port}/0?{options}"
        fails = pytest.raises(StoreError)
        with nullcontext() if named == TLS_OPTIONS else fails:
            use_store(url, DEFAULT_KEY)


@pytest.fixture
def due_auth(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TurvoAuth]:
    """Return a function that makes an auth whose next request tries one login first.

    Nothing answers at its https URL, and the environment has no proxy.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def make(**options: Any) -> TurvoAuth:
        store, now = MemoryStore(), time.monotonic()
        token = dump(Token("token-1", now - 3500.0, 3600.0, 300.0), now)
        assert store.swap(store.read(), Change(token=Slot(token, 100.0)))
        return auth_at(f"https://127.0.0.1:{free_port()}/v1", store=store, **options)

    return make


PROXIES = find(r"^(\*\*Proxies\.\*\*.*?)\n\n")


@pytest.mark.parametrize(
    ("variables", "by_argument", "tunnels"),
    [
        (["HTTPS_PROXY"], False, (2, 0)),
        (["HTTPS_PROXY", "NO_PROXY"], False, (0, 0)),
        ([], True, (1, 1)),
    ],
)
def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_secret(
    due_auth: Callable[..., TurvoAuth],
    monkeypatch: pytest.MonkeyPatch,
    variables: list[str],
    by_argument: bool,
    tunnels: tuple[int, int],
) -> None:
    """``proxies=`` of the auth is for the login, ``proxies`` of a session is not.

    Where both are set, the first site is the auth's proxy and the second the session's.
    """
    with Site(lambda _: Reply(403)) as first, Site(lambda _: Reply(403)) as second:
        values = {"HTTPS_PROXY": first.url, "NO_PROXY": "127.0.0.1"}
        for name in variables:
            assert f"`{name}`" in PROXIES
            monkeypatch.setenv(name, values[name])
        auth, session = due_auth(), requests.Session()
        if by_argument:
            auth = due_auth(proxies={"https": first.url})
            session.proxies = {"https": second.url}
        with session, pytest.raises(requests.ConnectionError):
            session.get(auth.base_url, auth=auth, timeout=5)

    assert (len(first.arrived), len(second.arrived)) == tunnels
    host = auth.base_url.split("/")[2]
    for request in first.arrived + second.arrived:
        assert (request.method, request.path, request.body) == ("CONNECT", host, b"")
        assert is_secret_free(request)


@pytest.fixture
def opt(tmp_path: Path, turvo: FakeTurvo, redis_url: str) -> Path:
    """Return a folder in place of ``/opt/turvo``, with ``turvo.env`` in it."""
    (tmp_path / "venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    settings = {**turvo.environ, "REDIS_URL": redis_url}
    lines = [f"{name}='{value}'\n" for name, value in settings.items()]
    (tmp_path / "turvo.env").write_text("".join(lines))
    return tmp_path


def here(text: str, opt: Path) -> str:
    """Return a recipe with the folders of this machine."""
    text = text.replace("/etc/turvo.env", str(opt / "turvo.env"))
    return text.replace("/opt/turvo", str(opt))


def test_the_line_for_cron_runs(opt: Path, turvo: FakeTurvo) -> None:
    """It runs as cron would run it, and the second run uses the first one's token."""
    line = find(r"^\*\*cron\.\*\*.*?^```text\n(.*?)^```").strip()
    *moments, command = line.split(maxsplit=5)
    assert moments == ["*/15", "*", "*", "*", "*"]
    assert "%" not in command  # for cron that is the end of the line
    shell = ["/bin/sh", "-c", here(command, opt)]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(opt)}
    for _ in range(2):
        assert subprocess.call(shell, env=environ, cwd=opt, timeout=60) == 0
    assert turvo.logins == 1
    assert turvo.api_requests >= 2


def parse_unit(text: str) -> dict[str, dict[str, str]]:
    """Return the sections of a unit, each with its settings."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def environment_of(file: Path) -> dict[str, str]:
    """Return what systemd reads from an ``EnvironmentFile``."""
    lines = file.read_text().splitlines()
    pairs = [shlex.split(line)[0].partition("=") for line in lines]
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize(("name", "text"), SERVICES)
def test_a_systemd_unit_starts_the_program_and_stops_it(
    opt: Path, turvo: FakeTurvo, name: str, text: str
) -> None:
    """A program that does not end by itself ends within 10 s of SIGTERM."""
    unit = parse_unit(here(text, opt))
    timers = {other for other, _ in UNITS if other == name.replace("service", "timer")}
    # Without either, nothing starts it.
    assert timers or "WantedBy" in unit.get("Install", {})
    service = unit["Service"]
    environ = environment_of(Path(service["EnvironmentFile"]))
    with Webhook() as webhook:
        command = service["ExecStart"].replace("https://tms.example/hook", webhook.url)
        process = subprocess.Popen(shlex.split(command), env=environ, cwd="/")
        try:
            if service.get("Type") != "oneshot":
                assert webhook.arrived.wait(60)
                process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    assert turvo.logins == 1


def test_the_timer_starts_its_service_as_often_as_cron_does() -> None:
    [(name, text)] = [unit for unit in UNITS if unit[0].endswith(".timer")]
    minutes = find(r"^\*/(\d+) \* \* \* \*  ")
    assert parse_unit(text) == {
        "Timer": {"OnCalendar": f"*:0/{minutes}"},
        "Install": {"WantedBy": "timers.target"},
    }
    assert name.replace(".timer", ".service") in dict(SERVICES)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_takes_every_line_of_the_units(opt: Path) -> None:
    """It names the file of a line that it cannot read."""
    files = [opt / name for name, _ in UNITS]
    for file, (_, text) in zip(files, UNITS, strict=True):
        file.write_text(here(text, opt))
    command = ["systemd-analyze", "--man=no", "verify", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = [file.name for file in files if file.name in done.stdout + done.stderr]
    assert (done.returncode, names) == (0, []), done.stderr


def test_several_tenants_have_a_token_each(
    turvo: FakeTurvo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README makes them, with the tenants' own passwords and keys."""
    block = find(r"^\*\*Several tenants\.\*\*.*?^```python\n(.*?)^```")
    for name, value in {**turvo.environ, "REDIS_URL": redis_url}.items():
        monkeypatch.setenv(name, value)
    block = block.replace('password="..."', f"password={turvo.password!r}")
    names: dict[str, TurvoAuth] = {}
    exec(block.replace('api_key="..."', f"api_key={turvo.api_key!r}"), names)
    tokens = set()
    for tenant in ("east", "west"):
        turvo.username = f"{tenant}@broker.example"
        tokens.add(names[tenant].token().access_token)
    assert (len(tokens), turvo.logins) == (2, 2)


REDIS_URLS = re.findall(r"^export REDIS_URL=(\S+)", WITHOUT_REDIS, re.MULTILINE)


def test_docker_and_debian_have_the_redis_of_the_first_url() -> None:
    """Both listen at the port of Redis, and the URL is where this machine finds it."""
    line = r"^docker run -d --name redis -p (\S+):(\d+) redis:(\d+) +# Docker$"
    docker = re.search(line, WITHOUT_REDIS, re.MULTILINE)
    assert docker
    address, inner, version = docker.groups()
    assert REDIS_URLS[0] == f"redis://{address}/0"
    assert (inner, address.split(":")[1]) == ("6379", "6379")
    assert int(version) >= int(find(r"Any Redis (\d+) or newer", WITHOUT_REDIS))
    assert find(r"^apt-get install (\S+) +# Debian", WITHOUT_REDIS) == "redis-server"


@pytest.mark.parametrize("url", REDIS_URLS)
def test_each_redis_url_shares_a_token(
    redis_server: RedisServer, turvo: FakeTurvo, tmp_path: Path, url: str
) -> None:
    assert RedisStore.from_url(url, DEFAULT_KEY)
    context, trusted = self_signed(tmp_path, "localhost")
    port = redis_server.port or 0
    with redis_server.client() as client, Proxy(port, tls=context) as proxy:
        anything = {"keys": ["*"], "commands": ["+@all"], "passwords": ["+password"]}
        client.acl_setuser("user", enabled=True, **anything)
        at = {"127.0.0.1:6379": f"127.0.0.1:{port}"}
        at["redis.example.com:6380"] = f"localhost:{proxy.port}?ssl_ca_certs={trusted}"
        named = next(address for address in at if address in url)
        environ = {**turvo.environ, "REDIS_URL": url.replace(named, at[named])}
        auths = [TurvoAuth.from_env(environ) for _ in range(2)]
        tokens = {auth.token().fingerprint for auth in auths}
        assert (len(tokens), turvo.logins) == (1, 1)
