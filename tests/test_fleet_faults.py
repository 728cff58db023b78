"""Redis in trouble: a help, not a need. Every fault is a real one, done to a real server.

A row of ``FAULTS`` is a fault and its cure; two processes with two threads each live through it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
import redis
from fleet import (
    FAILURE,
    KEY,
    LEASE,
    WAKE,
    AtOnce,
    answers,
    finish,
    go,
    pass_calls,
    shared,
    start,
    trouble,
    until,
    workers,
)
from fleet_worker import Call
from proxies import Proxy
from servers import RedisServer

from turvo_session.testing import FakeTurvo


class Site:
    """A Turvo, a Redis that is reached through a proxy, and what is done to them."""

    def __init__(self, turvo: FakeTurvo, server: RedisServer, proxy: Proxy) -> None:
        self.turvo, self.server, self.proxy = turvo, server, proxy

    def admin(self, password: str | None = None) -> redis.Redis:
        return self.server.client(password=password, single_connection_client=True)

    def command(self, *words: str | int) -> None:
        with self.admin() as client:
            client.execute_command(*words)

    def pass_renewal(self) -> None:
        """Return when nobody is about to log in: a leader's lease that cannot be given back binds the others."""
        with self.admin() as client:
            before = client.get(KEY)
            until(lambda: client.get(KEY) not in (None, before) and not client.exists(LEASE))

    def load_slowly(self) -> None:
        """Have the server load its data again, and take its time."""
        filler = random.Random(0)
        with self.admin() as client:
            for i in range(100):
                client.set(f"filler:{i}", filler.randbytes(2000))
            client.config_set("key-load-delay", 200_000)
        threading.Thread(target=self._reload, daemon=True).start()
        with self.admin() as client:
            until(lambda: client.info("persistence")["loading"])

    def _reload(self) -> None:
        with suppress(redis.RedisError), self.admin() as client:
            client.execute_command("DEBUG", "RELOAD")

    def drip(self, pause: float) -> None:
        self.proxy.drip = pause

    def change_password(self, old: str | None, new: str) -> None:
        with self.admin(old) as client:
            client.config_set("requirepass", new)


class Fault(NamedTuple):
    """What is done to Redis, and what undoes it; ``at_start``: before the workers begin."""

    hurt: Callable[[Site], object]
    heal: Callable[[Site], object]
    at_start: bool = False
    password: str = ""


FAULTS = {
    "down at the start": Fault(lambda s: s.server.kill(), lambda s: s.server.start(), at_start=True),
    "killed in mid-run and back, empty": Fault(lambda s: s.server.kill(), lambda s: s.server.start()),
    "hung": Fault(lambda s: s.server.pause(), lambda s: s.server.resume()),
    "full": Fault(
        lambda s: s.command("CONFIG", "SET", "maxmemory", 1),
        lambda s: s.command("CONFIG", "SET", "maxmemory", 0),
    ),
    "a read-only replica": Fault(
        lambda s: s.command("REPLICAOF", "127.0.0.1", 1), lambda s: s.command("REPLICAOF", "NO", "ONE")
    ),
    "loading": Fault(Site.load_slowly, lambda s: s.command("CONFIG", "SET", "key-load-delay", 0)),
    "wrong password": Fault(
        lambda s: s.change_password(None, "other"),
        lambda s: s.change_password("other", "right"),
        at_start=True,
        password="right",
    ),
    "no right to run scripts": Fault(
        lambda s: s.command("ACL", "SETUSER", "default", "-@scripting"),
        lambda s: s.command("ACL", "SETUSER", "default", "+@scripting"),
    ),
    "dripping": Fault(lambda s: s.drip(0.1), lambda s: s.drip(0)),
}


class Ordeal(NamedTuple):
    """What the workers lived through."""

    calls: list[Call]
    slow: list[float]  # seconds that calls took which were held up
    recovery: float  # seconds from the cure until every process used Redis again
    logins: int  # for one revocation after that
    warnings: list[int]  # by worker
    recoveries: list[int]


def endure(fault: Fault) -> Ordeal:
    options = "enable-debug-command yes", "loading-process-events-interval-bytes 1024"
    with (
        FakeTurvo(token_life=1.5) as turvo,
        RedisServer(*options, port=0) as server,
        Proxy(server.port or 0) as proxy,
    ):
        site = Site(turvo, server, proxy)
        url = proxy.url.replace("//", f"//:{fault.password}@") if fault.password else proxy.url
        if fault.at_start:
            fault.hurt(site)
        with workers(2, shared(turvo, url)) as fleet:
            start(fleet, threads=2, pause=0.15)
            pass_calls(turvo, 12)
            if not fault.at_start:
                site.pass_renewal()
            began = time.monotonic()
            if not fault.at_start:
                fault.hurt(site)
            time.sleep(3.5)  # long enough for renewals before, during and after the first probe
            fault.heal(site)
            healed = time.monotonic()
            until(lambda: all(worker.events("StoreRecovered") for worker in fleet), seconds=60, every=0.1)
            recovery = time.monotonic() - healed

            turvo.token_life = 600
            until(lambda: fleet[0].ask("token") == fleet[1].ask("token"), every=0.05)
            before = turvo.token_requests
            turvo.revoke()
            pass_calls(turvo, 20)
            calls = finish(fleet)
            return Ordeal(
                calls,
                [call.seconds for call in calls if call.ended > began and call.seconds > 0.75],
                recovery,
                turvo.token_requests - before,
                [len(worker.events("StoreFailed")) for worker in fleet],
                [len(worker.events("StoreRecovered")) for worker in fleet],
            )


endured = AtOnce(endure, FAULTS, at_once=5)


@pytest.mark.parametrize("name", FAULTS)
def test_redis_in_trouble_is_hardly_felt_and_shared_again_when_it_is_well(name: str) -> None:
    """Every call succeeds; a second of delay at most, once; one warning, one line when it is over.

    The tokens live for a second: each process asks for Redis again and again.
    """
    ordeal = endured[name]
    assert answers(ordeal.calls).keys() == {200}
    assert len(ordeal.calls) > 40
    # Each thread once, and two for a machine that stalls: without the breaker it is twice each.
    assert len(ordeal.slow) <= 2 * 2 + 2
    assert max(ordeal.slow, default=0) < 2
    assert ordeal.warnings == [1, 1]
    assert ordeal.recoveries == [1, 1]
    assert ordeal.recovery < 30
    assert ordeal.logins == 1


def test_a_wrong_redis_password_is_sent_once_and_not_again_for_a_while(
    turvo: FakeTurvo, redis_server: RedisServer
) -> None:
    """The client's own retries are off: a server that counts failed logins counts one."""
    with redis_server.client() as client:  # which stays logged in
        client.config_set("requirepass", "other")
        with workers(1, shared(turvo, redis_server.url.replace("//", "//:wrong@"))) as fleet:
            assert answers(go(fleet, threads=8)) == {200: 8}
            turvo.revoke()
            assert answers(go(fleet, threads=8)) == {200: 8}
        assert client.info("stats")["acl_access_denied_auth"] == 1


def test_redis_killed_while_processes_wait_for_a_login_fails_no_call(redis_server: RedisServer) -> None:
    """Who waited to be woken goes on alone, at once."""
    with (
        FakeTurvo(login_seconds=1) as turvo,
        redis_server.client() as client,
        workers(4, shared(turvo, redis_server.url)) as fleet,
    ):
        start(fleet, threads=2, calls=1)
        until(lambda: client.info("clients")["blocked_clients"] == 3)
        redis_server.kill()
        calls = finish(fleet, stop=False)
        assert answers(calls) == {200: 8}
        assert turvo.token_requests == 4
        assert max(call.seconds for call in calls) < 4


def test_flushall_under_load_costs_nothing_until_the_next_renewal_and_then_one_login(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    with workers(4, shared(turvo, redis_url)) as fleet:
        start(fleet, threads=4, pause=0.05)
        for logins in (1, 2):
            pass_calls(turvo, 100)
            redis_client.flushall()
            pass_calls(turvo, 50)
            assert turvo.token_requests == logins
            turvo.revoke()
        pass_calls(turvo, 100)
        assert answers(finish(fleet)).keys() == {200}
        assert turvo.token_requests == 3
        assert not trouble(fleet)


def test_a_fleet_that_lives_on_two_tokens_after_an_outage_survives_their_revocation(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """Who adopts the other token, which is revoked as well, tries once more: the caller sees no 401."""
    with workers(2, shared(turvo, redis_url)) as (old, new):
        go([old])
        redis_client.flushall()
        go([new])
        assert old.ask("token") != new.ask("token")
        turvo.revoke()
        assert answers(go([old], threads=4)) == {200: 4}
        assert answers(go([new], threads=4)) == {200: 4}
        assert turvo.token_requests == 3


GOOD = json.dumps({"access_token": "not-one-of-turvo-s", "buffer": 1})
RUBBISH: dict[str, tuple[str, Callable[[redis.Redis, str], object]]] = {
    "token of another type": (KEY, lambda c, key: c.lpush(key, "x")),
    "token that is no JSON": (KEY, lambda c, key: c.set(key, "garbage", px=60_000)),
    "token that is other JSON": (KEY, lambda c, key: c.set(key, "[1, 2]", px=60_000)),
    "token that is binary": (KEY, lambda c, key: c.set(key, b"\x00\xff" * 50, px=60_000)),
    "token of 64 MB": (KEY, lambda c, key: c.set(key, b"x" * (64 << 20), px=60_000)),
    "token that no header can carry": (
        KEY,
        lambda c, key: c.set(key, '{"access_token": "a\\nb"}', px=60_000),
    ),
    "token that has no end": (KEY, lambda c, key: c.set(key, GOOD)),
    "token for ages": (KEY, lambda c, key: c.set(key, GOOD, ex=99_999_999_999)),
    "lease of another type": (LEASE, lambda c, key: c.lpush(key, "x")),
    "lease of nobody": (LEASE, lambda c, key: c.set(key, "garbage", px=60_000)),
    "lease that has no end": (LEASE, lambda c, key: c.set(key, "0123456789abcdef")),
    "lease for a day": (LEASE, lambda c, key: c.set(key, "0123456789abcdef", ex=86_400)),
    "failure of another type": (FAILURE, lambda c, key: c.lpush(key, "x")),
    "failure that is no JSON": (FAILURE, lambda c, key: c.set(key, "garbage", px=60_000)),
    "failure that has no end": (FAILURE, lambda c, key: c.set(key, '{"kind": "unavailable", "over": 0.0}')),
    "stream of another type": (WAKE, lambda c, key: c.lpush(key, "x")),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_in_redis_is_replaced_as_if_it_were_not_there(
    redis_url: str, redis_client: redis.Redis, name: str
) -> None:
    """One login, no failed call, nothing that counts as an outage, and a value that others can use."""
    key, put = RUBBISH[name]
    put(redis_client, key)
    sent_before = redis_client.info("stats")["total_net_output_bytes"]
    with FakeTurvo(login_seconds=0.1) as turvo, workers(3, shared(turvo, redis_url)) as fleet:
        calls = go(fleet, threads=2)
        assert answers(calls) == {200: 6}
        assert max(call.seconds for call in calls) < 3
        assert turvo.token_requests == 1
        assert not trouble(fleet)
        assert json.loads(redis_client.get(KEY))["access_token"].startswith("3b_-")  # type: ignore[arg-type]
        assert not redis_client.exists(LEASE)
        assert redis_client.info("stats")["total_net_output_bytes"] - sent_before < 1 << 20
