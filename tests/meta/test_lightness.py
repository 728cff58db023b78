"""The library is light: what it imports and when, what it asks of Redis, what is left.

Counts, and no timings; those are in ``tests/benchmarks``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.benchmarks import memory, peers
from tests.benchmarks.server import Api
from tests.support.fleet import (
    HANDSHAKE,
    Command,
    Site,
    monitored,
    run_python,
    separate_site,
    until,
)
from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

FOR_A_LOGIN = {"oauthlib", "requests_oauthlib", "tenacity"}
HEAVY = FOR_A_LOGIN | {"cryptography", "redis"}

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


def test_each_package_comes_with_the_first_thing_that_needs_it(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """A login imports no redis, and a token in Redis nothing of a login."""
    unused = "from turvo_session import TurvoSession; TurvoSession.from_env()\n"
    assert heavy(unused, turvo.environ) == set()
    again = "auth.forget()\nassert session.get(answer.url, timeout=30).ok\n"
    assert heavy(ONE_GET + again, turvo.environ) == FOR_A_LOGIN
    environ = turvo.environ | {"REDIS_URL": redis_url}
    TurvoAuth.from_env(environ).token()
    # redis-py imports cryptography where that is installed.
    assert heavy(ONE_GET, environ) - {"cryptography"} == {"redis"}


@pytest.fixture
def site() -> Iterator[Site]:
    """Run a local Turvo and a Redis whose commands can be seen."""
    with separate_site() as site:
        yield site


def test_a_cron_run_sends_redis_at_most_three_commands(site: Site) -> None:
    """For the first request; 50 more ask neither Redis nor the token endpoint."""
    TurvoAuth.from_env(site.environ).token()
    sent = []
    for script in (ONE_GET, ONE_GET + MANY_GETS):
        with monitored(site.server) as commands:
            run_python(script, site.environ)
        sent.append(sent_by_clients(commands))
    once, often = sent
    assert 1 <= len(once) <= 3, once
    assert often == once
    assert (site.turvo.token_requests, site.turvo.api_requests) == (1, 52)


def test_what_redis_is_asked_on_each_occasion(site: Site) -> None:
    """These are the commands that ``tests/benchmarks/README.md`` reckons with."""
    turvo = site.turvo
    url = f"{turvo.base_url}/shipments/list"

    def client() -> requests.Session:
        session = requests.Session()
        session.auth = TurvoAuth.from_env(site.environ)
        return session

    def asked(session: requests.Session) -> list[str]:
        with monitored(site.server) as commands:
            assert session.get(url, timeout=30).status_code == 200
        return sent_by_clients(commands)

    first, second = client(), client()
    assert asked(first) == ["EVAL"] * 4, "read, take the lease, read, write"
    assert asked(second) == ["EVAL"], "read"
    turvo.revoke()
    assert asked(first) == ["EVAL"] * 6, "the same, and two to clear the doubt"
    assert asked(second) == ["EVAL"], "read"
    turvo.revoke()
    hold = turvo.hold()
    with ThreadPoolExecutor() as pool, monitored(site.server) as commands:
        leading = pool.submit(first.get, url, timeout=30)
        hold.wait_for_request()
        waiting = pool.submit(second.get, url, timeout=30)
        until(site.is_waited_at)
        hold.released.set()
        assert [leading.result().ok, waiting.result().ok] == [True, True]
    sent = sent_by_clients(commands)
    assert sent.count("XREAD") == 1
    # One that waits reads, waits, reads, and clears the doubt as well, unless the first
    # one was faster.
    assert 6 + 2 <= sent.count("EVAL") <= 6 + 2 + 3
    assert turvo.logins == 3


def test_nothing_is_left_over(redis_url: str) -> None:
    """One small object of each request, or a token of each renewal, would be noticed.

    A process remembers its last refused tokens, in about 600 bytes each.
    """
    with Api() as api:
        measured = peers.Site(api.base_url, redis_url)
        left = memory.leftover(measured, calls=400, renewals=20, healed=10)
    assert (left.threads, left.files) == (0, 0)
    assert left.bytes < 12_000
