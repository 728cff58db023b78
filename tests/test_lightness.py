"""The library is light: what it imports and when, what it asks of Redis, what it leaves behind.

Counts, no timings; those are in ``tests/benchmarks``.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from benchmarks import memory
from benchmarks.peers import Site
from benchmarks.server import Api
from fleet import HANDSHAKE, monitored, until
from servers import RedisServer

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

HEAVY = {"oauthlib", "redis", "requests_oauthlib", "tenacity"}

MODULES = """
import json, sys
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
ONE_GET = """
import requests
from turvo_session import TurvoAuth
session = requests.Session()
session.auth = TurvoAuth.from_env()
answer = session.get(session.auth.base_url + "/shipments/list", timeout=30)
assert answer.status_code == 200, answer
"""
ONE_401 = """
session.auth.forget()
from turvo_session.testing import FakeTurvo
with FakeTurvo() as turvo:
    session.auth = auth = TurvoAuth.from_env(turvo.environ)
    for _ in range(2):
        answer = session.get(auth.base_url + "/shipments/list", timeout=30)
        assert answer.status_code == 200, answer
        turvo.revoke()
    assert (auth.stats.logins, auth.stats.replays) == (2, 1), auth.stats
"""


def run(script: str, environ: Mapping[str, str] | None = None) -> str:
    """What a new Python process prints that runs ``script``."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env=dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy(script: str, environ: Mapping[str, str] | None = None) -> set[str]:
    """The heavy packages that a process has imported which runs ``script``."""
    return HEAVY & set(json.loads(run(script + MODULES, environ)))


def test_import_is_light() -> None:
    """``import turvo_session`` imports none of the packages that only a login or a Redis needs."""
    assert heavy("import turvo_session") == set()


def test_making_a_client_is_light(turvo: FakeTurvo) -> None:
    """An auth, and a session, that have not been used have logged nobody in and imported nothing heavy."""
    script = "from turvo_session import TurvoSession; TurvoSession.from_env()"
    assert heavy(script, turvo.environ) == set()
    assert turvo.token_requests == 0


@pytest.mark.parametrize("script", [ONE_GET, ONE_GET + ONE_401], ids=["a login", "a healed 401"])
def test_memory_only_never_imports_redis(turvo: FakeTurvo, script: str) -> None:
    """Without ``REDIS_URL`` redis stays out; tenacity and the OAuth library come with the first login."""
    assert heavy(script, turvo.environ) == {"oauthlib", "requests_oauthlib", "tenacity"}


def test_token_in_redis_needs_no_login_library(turvo: FakeTurvo, redis_url: str) -> None:
    """A process that finds the token in Redis imports redis, and nothing that it would need to log in."""
    environ = turvo.environ | {"REDIS_URL": redis_url}
    TurvoAuth.from_env(environ).token()

    assert heavy(ONE_GET, environ) == {"redis"}


def test_cron_run(turvo: FakeTurvo, redis_server: RedisServer) -> None:
    """A script that runs once and finds the token in Redis sends it at most three commands, and no login.

    They are all that it sends, so no more can have been sent before its API request.
    """
    environ = turvo.environ | {"REDIS_URL": redis_server.url}
    TurvoAuth.from_env(environ).token()

    with monitored(redis_server) as commands:
        run(ONE_GET, environ)

    sent = [command.words[0] for command in commands if command.client != "lua"]
    assert 1 <= len([name for name in sent if name not in HANDSHAKE]) <= 3, sent
    assert (turvo.token_requests, turvo.api_requests) == (1, 1)


def test_steady_state_asks_nobody(turvo: FakeTurvo, redis_server: RedisServer) -> None:
    """A process with a fresh token asks neither Redis nor the token endpoint, however many its requests."""
    environ = turvo.environ | {"REDIS_URL": redis_server.url}
    many = 'for _ in range(50): session.get(answer.url, timeout=30, headers={"x-run": "again"})'

    with monitored(redis_server) as once:
        run(ONE_GET, environ)
    with monitored(redis_server) as often:
        run(ONE_GET + many, environ)

    assert len(often) <= len(once)  # the second run finds the token there
    assert (turvo.token_requests, turvo.api_requests) == (1, 52)


def test_what_redis_is_asked(redis_server: RedisServer) -> None:
    """The commands of one process at each occasion, as ``tests/benchmarks/README.md`` reckons with them."""
    with FakeTurvo() as turvo, ThreadPoolExecutor() as pool:
        environ = turvo.environ | {"REDIS_URL": redis_server.url}

        def client() -> requests.Session:
            session = requests.Session()
            session.auth = TurvoAuth.from_env(environ)
            return session

        def asked(*sessions: requests.Session) -> list[str]:
            """What they ask together, each beginning when the one before it is in the midst of its login."""
            with monitored(redis_server) as commands:
                before, calls = turvo.token_requests, []
                for session in sessions:
                    calls.append(pool.submit(session.get, f"{turvo.base_url}/shipments/list", timeout=30))
                    until(lambda: calls[0].done() or turvo.token_requests > before)
                assert all(call.result().status_code == 200 for call in calls)
            sent = (command.words[0] for command in commands if command.client != "lua")
            return [name for name in sent if name not in HANDSHAKE]

        first, second = client(), client()
        assert asked(first) == ["EVAL"] * 4, "read, take the lease, read, write the token"
        assert asked(second) == ["EVAL"], "read"
        turvo.revoke()
        assert asked(first) == ["EVAL"] * 6, "as at a login, and two to say that the new token works"
        assert asked(second) == ["EVAL"], "read"
        turvo.revoke()
        turvo.login_seconds = 2.0
        assert sorted(asked(first, second)) == ["EVAL"] * 8 + ["XREAD"], (
            "and one that waits: read, wait, read"
        )
        assert turvo.logins == 3


def test_an_auth_that_is_dropped_takes_its_connections_along(redis_server: RedisServer) -> None:
    """Also those that it opened after an outage: none is left to the interpreter, which would warn of it."""
    for _ in range(10):
        with FakeTurvo() as turvo, redis_server.client() as client:
            auth = TurvoAuth.from_env(turvo.environ | {"REDIS_URL": redis_server.url})
            auth.token()
            redis_server.kill()
            redis_server.start()
            auth.forget()
            assert auth.status().store_reachable
            connected = client.info("clients")["connected_clients"]
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                del auth
                gc.collect()

            assert [str(warning.message) for warning in told] == []
            until(lambda before=connected: client.info("clients")["connected_clients"] == before - 1)


def test_nothing_is_left_over(redis_url: str) -> None:
    """Requests, logins and healed 401s leave no thread, no connection, and no memory that grows with them.

    One small object left by each request, or a token by each renewal, would be noticed. The last refused
    tokens are remembered, about 15,000 bytes of them. ``python -m tests.benchmarks`` does the same with
    10,000 requests and 1,000 of each of the others.
    """
    with Api() as api:
        left = memory.leftover(Site(api.base_url, redis_url), calls=1_000, renewals=60, healed=60)

    assert (left.threads, left.files) == (0, 0)
    assert left.bytes < 30_000
