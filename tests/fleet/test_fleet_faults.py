"""Redis in trouble, and more than one Redis. Every fault is done to a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.faults import (
    FAULTS,
    SERVER_OPTIONS,
    Fault,
    FaultySite,
    recover,
    renew,
)
from tests.support.fleet import (
    FAILURES,
    INVALID_GRANT,
    KEY,
    LEASE,
    LEASE_SECONDS,
    WAKE,
    Site,
    Worker,
    answers,
    finish,
    go,
    lasted,
    pass_calls,
    rows_at_once,
    separate_site,
    start,
    trouble,
    until,
    workers,
)
from tests.support.proxies import Proxy
from tests.support.topology import Watched, cluster_of_three, port_of
from turvo_session.source import PATIENCE_WITHOUT_TOKEN
from turvo_session.testing import FakeTurvo


@rows_at_once(FAULTS)
def test_a_redis_in_trouble_fails_no_call_and_is_used_again_when_it_works(
    fault: Fault,
) -> None:
    """One timeout, one warning, and one line when it is over; then it is shared."""
    with (
        separate_site(*SERVER_OPTIONS) as site,
        Proxy(site.server.port or 0) as proxy,
    ):
        site.redis.ping()
        hurt = FaultySite(site, proxy)
        environ = {"REDIS_URL": proxy.url.replace("//", f"//{fault.login}")}
        if fault.at_start:
            fault.hurt(hurt)
        with site.workers(0, environ, environ) as fleet:
            calls = go(fleet, threads=2)
            if not fault.at_start:
                fault.hurt(hurt)
            calls += go(fleet, threads=2)
            renewals = [renew(site, fleet, in_redis=False) for _ in range(4)]
            # One timeout an outage; one a renewal would be four.
            assert sum(map(lasted, renewals)) < 3 * PATIENCE_WITHOUT_TOKEN
            fault.heal(hurt)
            for worker in fleet:
                recover(site, worker)
                (warning,) = worker.events("StoreFailed")
                assert warning.level == "WARNING"
                assert f"Redis at 127.0.0.1:{proxy.port}" in warning.text
                assert len(worker.events("StoreRecovered")) == 1
            for each in (calls, *renewals, renew(site, fleet)):
                assert answers(each) == {200: len(each)}
            before = site.turvo.token_requests
            site.turvo.revoke()
            assert answers(go(fleet, threads=2)) == {200: 4}
            assert site.turvo.token_requests == before + 1


def test_a_wrong_redis_password_is_sent_once_by_each_process() -> None:
    """A Redis that counts failed logins counts one an outage, whatever the threads."""
    with separate_site() as site:
        site.redis.config_set("requirepass", "other")
        url = site.environ["REDIS_URL"].replace("//", "//:wrong@")
        with site.workers(0, {"REDIS_URL": url}) as fleet:
            assert answers(go(fleet, threads=8)) == {200: 8}
            site.turvo.revoke()
            assert answers(go(fleet, threads=8)) == {200: 8}
        assert site.redis.info("stats")["acl_access_denied_auth"] == 1


BREAKS = ("killed, and back without data", "hung")


@rows_at_once({name: FAULTS[name] for name in BREAKS})
def test_a_redis_that_breaks_while_processes_wait_for_a_login_fails_no_call(
    fault: Fault,
) -> None:
    """They notice a lost connection at once, and a silent Redis when the lease ends."""
    with (
        separate_site(login_seconds=0.1) as site,
        site.workers(4, token_timeout=(0.5, 3.0)) as (leader, *waiters),
    ):
        faulty = FaultySite(site)
        hold = site.turvo.hold()
        start([leader], threads=2, calls=1)
        hold.wait_for_request()
        start(waiters, threads=2, calls=1)
        until(lambda: site.is_waited_at(3))
        fault.hurt(faulty)
        hold.released.set()
        calls = finish([leader, *waiters], stop=False)
        assert answers(calls) == {200: 8}
        assert lasted(calls) < LEASE_SECONDS
        assert site.turvo.token_requests == 4
        fault.heal(faulty)
        for worker in (leader, *waiters):
            recover(site, worker)


def test_a_failed_login_does_not_hide_a_token_that_redis_has_meanwhile() -> None:
    """Redis is back, with another's token, while a process without it logs in."""
    with separate_site() as site, site.workers(2) as (failing, other):
        site.server.kill()
        site.turvo.fail_logins(400, INVALID_GRANT, times=1)
        hold = site.turvo.hold()
        start([failing], calls=1)
        hold.wait_for_request()
        site.server.start()
        assert answers(go([other])) == {200: 1}
        hold.released.set()
        assert answers(finish([failing], stop=False)) == {200: 1}
        assert failing.ask("token") == other.ask("token")
        assert site.turvo.token_requests == 2


def test_flushall_under_load_costs_one_login_at_the_next_renewal(site: Site) -> None:
    """The processes go on with the token that they have."""
    turvo = site.turvo
    with site.workers(4) as fleet:
        start(fleet, threads=2, pause=0.02)
        for logins in (1, 2):
            pass_calls(turvo, 50)
            site.redis.flushall()
            pass_calls(turvo, 50)
            assert turvo.token_requests == logins
            turvo.revoke()
            until(lambda logins=logins: turvo.logins == logins + 1)
        pass_calls(turvo, 50)
        assert answers(finish(fleet)).keys() == {200}
        assert turvo.token_requests == 3
        assert not trouble(fleet)


def test_processes_that_end_each_others_tokens_without_redis_take_turns() -> None:
    """If a new token ends the old one: three logins each, and one more a minute."""
    with separate_site(policy="revoke") as site, site.workers(2) as fleet:
        site.server.kill()
        calls = []
        for _ in range(60):
            calls += [call for worker in fleet for call in site.call([worker])]
            site.pass_time(10, in_redis=False)
        assert answers(calls).keys() <= {200, 401}
        assert len(fleet) * 3 < site.turvo.token_requests <= len(fleet) * (1 + 3 + 10)


A_LIST: Any = None
GOOD = json.dumps({"access_token": "not-one-of-turvo-s", "buffer": 1})
OWNER = "0123456789abcdef"
RECORD = '{"records": [{"kind": "unavailable", "left": 0, "kept": 0, "step": 0}]}'
RUBBISH: dict[str, tuple[str, Any, int | None]] = {
    "a token that is other JSON": (KEY, "[1, 2]", 60),
    "a token of 64 MB": (KEY, b"x" * (64 << 20), 60),
    "a token that no header can carry": (KEY, '{"access_token": "a\\nb"}', 60),
    "a token without an end": (KEY, GOOD, None),
    "a token for ages": (KEY, GOOD, 99_999_999_999),
    "a lease of nobody": (LEASE, "garbage", 60),
    "a lease without an end": (LEASE, OWNER, None),
    "a lease for a day": (LEASE, OWNER, 86_400),
    "failures without an end": (FAILURES, RECORD, None),
    "a list as the stream": (WAKE, A_LIST, None),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_in_redis_is_replaced(site: Site, name: str) -> None:
    """One login, no failed call, and a value that others can use."""
    key, value, seconds = RUBBISH[name]
    if value is A_LIST:
        site.redis.lpush(key, "x")
    else:
        site.redis.set(key, value, ex=seconds)
    sent_before = site.redis.info("stats")["total_net_output_bytes"]
    with site.workers(3) as fleet:
        calls = go(fleet, threads=2)
        assert answers(calls) == {200: 6}
        assert lasted(calls) < LEASE_SECONDS
        assert site.turvo.token_requests == 1
        assert not trouble(fleet)
    assert json.loads(site.stored() or "")["access_token"].startswith("3b_-")
    assert not site.redis.exists(LEASE)
    sent = site.redis.info("stats")["total_net_output_bytes"] - sent_before
    assert sent < 1 << 20, "the whole value was fetched"


# Sentinels, and a cluster


def fail_over() -> None:
    """Kill the master under load: no call fails, and it costs at most one login."""
    with ExitStack() as stack:
        turvo = stack.enter_context(FakeTurvo())
        watched = Watched(stack)
        way = ("sentinel", watched.ports, KEY)
        fleet = stack.enter_context(workers(4, turvo.environ, shared=way))
        newcomers = stack.enter_context(workers(2, turvo.environ, shared=way))
        client = stack.enter_context(watched.replica.client())
        start(fleet, threads=2, pause=0.05)
        pass_calls(turvo, 50)
        until(lambda: client.exists(KEY))
        assert turvo.token_requests == 1
        watched.master.kill()
        until(watched.has_failed_over, every=0.05)
        assert answers(go(newcomers, threads=2)) == {200: 4}
        before = turvo.token_requests
        assert before <= 2
        turvo.revoke()
        pass_calls(turvo, 100)
        assert answers([*finish(fleet), *go(newcomers)]).keys() == {200}
        assert turvo.token_requests == before + 1


def use_each_node() -> None:
    """Share a token wherever the slot of its key is; and a node may die."""
    keys = ["turvo:auth_token", "turvo:a", "turvo:{tenant}:auth_token"]
    with cluster_of_three() as cluster, FakeTurvo(login_seconds=0.3) as turvo:
        ports = [port_of(node) for node in cluster]
        for node, key in zip(cluster, keys, strict=True):
            way = ("cluster", ports, key)
            with workers(2, turvo.environ, shared=way) as fleet:
                assert logins(turvo, fleet) == 1
                with node.client() as client:  # raises if the slot is another node's
                    assert client.exists(key)
                turvo.revoke()
                assert logins(turvo, fleet) == 1
                assert not trouble(fleet)
                if key == keys[-1]:
                    node.kill()
                    turvo.revoke()
                    assert logins(turvo, fleet) <= 2


def logins(turvo: FakeTurvo, fleet: list[Worker]) -> int:
    """Return how many logins it costs that two threads of each worker call."""
    before = turvo.token_requests
    assert answers(go(fleet, threads=2)) == {200: 4}
    return turvo.token_requests - before


@rows_at_once({"sentinels": fail_over, "a cluster": use_each_node})
def test_a_token_is_shared_through_more_than_one_redis(
    use: Callable[[], None],
) -> None:
    use()
