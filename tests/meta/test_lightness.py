"""The library is light: what it imports and when, what it asks of Redis, what is left.

Counts, and no timings; those are in ``tests/benchmarks``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.benchmarks import memory
from tests.benchmarks.peers import Site
from tests.benchmarks.server import Api
from tests.support.fleet import HANDSHAKE, Command, monitored, run_python, until
from tests.support.servers import RedisServer
from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

HEAVY = {"oauthlib", "redis", "requests_oauthlib", "tenacity"}
FOR_A_LOGIN = HEAVY - {"redis"}

MODULES = """
import json, sys
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
ONE_GET = """
import requests
from turvo_session import TurvoAuth
session = requests.Session()
session.auth = auth = TurvoAuth.from_env()
answer = session.get(auth.base_url + "/shipments/list", timeout=30)
assert answer.status_code == 200, answer
"""
MANY_GETS = """
for _ in range(50):
    session.get(answer.url, timeout=30, headers={"x-run": "again"})
"""


def heavy(script: str, environ: Mapping[str, str]) -> set[str]:
    """Return the heavy packages that a process imports which runs ``script``."""
    return HEAVY & set(json.loads(run_python(script + MODULES, environ)))


def sent_by_clients(commands: list[Command]) -> list[str]:
    """Return the names of commands, without the handshake and what scripts do."""
    names = [one.words[0] for one in commands if one.client != "lua"]
    return [name for name in names if name not in HANDSHAKE]


def test_a_client_that_is_not_used_imports_nothing_heavy(turvo: FakeTurvo) -> None:
    """It imports no package that only a login or a Redis needs."""
    script = "from turvo_session import TurvoSession; TurvoSession.from_env()\n"
    assert heavy(script, turvo.environ) == set()
    assert turvo.token_requests == 0


def test_each_package_comes_with_the_first_thing_that_needs_it(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """A login imports no redis, and a token in Redis nothing of a login."""
    again = "auth.forget()\nassert session.get(answer.url, timeout=30).ok\n"
    assert heavy(ONE_GET + again, turvo.environ) == FOR_A_LOGIN
    environ = turvo.environ | {"REDIS_URL": redis_url}
    TurvoAuth.from_env(environ).token()
    assert heavy(ONE_GET, environ) == {"redis"}


def test_a_cron_run_sends_redis_at_most_three_commands(
    turvo: FakeTurvo, redis_server: RedisServer
) -> None:
    """For the first request; 50 more ask neither Redis nor the token endpoint."""
    environ = turvo.environ | {"REDIS_URL": redis_server.url}
    TurvoAuth.from_env(environ).token()
    sent = []
    for script in (ONE_GET, ONE_GET + MANY_GETS):
        with monitored(redis_server) as commands:
            run_python(script, environ)
        sent.append(sent_by_clients(commands))
    once, often = sent
    assert 1 <= len(once) <= 3, once
    assert often == once
    assert (turvo.token_requests, turvo.api_requests) == (1, 52)


def test_what_redis_is_asked_on_each_occasion(redis_server: RedisServer) -> None:
    """These are the commands that ``tests/benchmarks/README.md`` reckons with."""
    with FakeTurvo() as turvo, ThreadPoolExecutor() as pool:
        environ = turvo.environ | {"REDIS_URL": redis_server.url}
        url = f"{turvo.base_url}/shipments/list"

        def client() -> requests.Session:
            session = requests.Session()
            session.auth = TurvoAuth.from_env(environ)
            return session

        def asked(*sessions: requests.Session) -> list[str]:
            """Let each session call when the one before it is in mid-login."""
            with monitored(redis_server) as commands:
                before, calls = turvo.token_requests, []
                for session in sessions:
                    calls.append(pool.submit(session.get, url, timeout=30))
                    until(lambda: calls[0].done() or turvo.token_requests > before)
                assert all(call.result().status_code == 200 for call in calls)
            return sent_by_clients(commands)

        first, second = client(), client()
        assert asked(first) == ["EVAL"] * 4, "read, take the lease, read, write"
        assert asked(second) == ["EVAL"], "read"
        turvo.revoke()
        assert asked(first) == ["EVAL"] * 6, "the same, and two to clear the doubt"
        assert asked(second) == ["EVAL"], "read"
        turvo.revoke()
        turvo.login_seconds = 2.0
        commands = asked(first, second)
        assert commands.count("XREAD") == 1
        # Another one that waits: read, wait, read, and clears the doubt as well, unless
        # the first one was faster.
        assert 6 + 2 <= commands.count("EVAL") <= 6 + 2 + 3
        assert turvo.logins == 3


def test_nothing_is_left_over(redis_url: str) -> None:
    """One small object of each request, or a token of each renewal, would be noticed.

    A process remembers its last refused tokens, in about 12,000 bytes.
    """
    with Api() as api:
        site = Site(api.base_url, redis_url)
        left = memory.leftover(site, calls=500, renewals=30, healed=20)
    assert (left.threads, left.files) == (0, 0)
    assert left.bytes < 24_000
