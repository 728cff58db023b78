"""One login for the whole fleet: real processes, a real Redis-protocol server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from tests.support.fleet import (
    DUE_AT,
    FOREVER,
    HANDSHAKE,
    INVALID_GRANT,
    LEASE,
    LEASE_SECONDS,
    LIFE,
    QUICK,
    FleetTurvo,
    Site,
    answers,
    finish,
    go,
    lasted,
    monitored,
    pass_calls,
    rows_at_once,
    separate_site,
    start,
    trouble,
    until,
)
from tests.support.proxies import Proxy

# One login


def test_a_cold_start_an_expiry_a_due_token_and_a_revocation_cost_one_login_each(
    site: Site,
) -> None:
    """8 processes with 8 threads each ask at once, and no 401 reaches a caller.

    While one of 64 callers renews a due token, the other 63 go on with it.
    """
    turvo = site.turvo
    turvo.login_seconds = 0.3
    with site.workers(8) as fleet:
        assert answers(go(fleet, threads=8)) == {200: 64}
        assert turvo.token_requests == 1, trouble(fleet)
        site.expire()
        assert answers(go(fleet, threads=8)) == {200: 64}
        assert turvo.token_requests == 2, trouble(fleet)
        site.make_due()
        hold, before = turvo.hold(), turvo.api_requests
        start(fleet, threads=8, calls=1)
        hold.wait_for_request()
        until(lambda: turvo.api_requests == before + 63)
        hold.released.set()
        assert answers(finish(fleet, stop=False)) == {200: 64}
        assert turvo.token_requests == 3, trouble(fleet)
        assert turvo.refused == 0
        start(fleet, threads=8, pause=0.1)
        pass_calls(turvo, 64)
        turvo.revoke()
        until(lambda: turvo.logins == 4)
        pass_calls(turvo, 64)
        assert answers(finish(fleet)).keys() == {200}
        assert turvo.token_requests == 4, trouble(fleet)


def test_100_processes_that_start_at_once_log_in_once_with_few_redis_commands() -> None:
    """At most 6 commands each, however long the login takes: waiters do not poll."""
    with separate_site(login_seconds=1.0) as site:
        names = [f"worker-{number}" for number in range(100)]
        url = site.environ["REDIS_URL"]
        named = [{"REDIS_URL": f"{url}?client_name={name}"} for name in names]
        with monitored(site.server) as commands, site.workers(0, *named) as fleet:
            assert answers(go(fleet)) == {200: 100}
            assert site.turvo.token_requests == 1, trouble(fleet)
    sent = Counter(one.client for one in commands if one.words[0] not in HANDSHAKE)
    del sent["lua"]
    assert sent.keys() == set(names)
    assert max(sent.values()) <= 6


# Leaders that die


def test_a_waiter_leads_when_the_lease_of_a_killed_leader_ends(site: Site) -> None:
    """``kill -9`` in mid-login: the lease ends within 16 s, and nobody fails."""
    with site.workers(4) as (leader, *others):
        hold = site.turvo.hold()
        start([leader], calls=1)
        hold.wait_for_request()
        assert 0 < site.redis.pttl(LEASE) <= 16_000
        site.redis.pexpire(LEASE, 1000)  # so that nobody has to wait for so long
        start(others, threads=4, calls=1)
        leader.kill()
        assert answers(finish(others, stop=False)) == {200: 12}
        assert site.turvo.token_requests == 2


@pytest.mark.parametrize("late_login", ["works", "fails"])
def test_a_leader_that_is_suspended_past_its_lease_adopts_the_newer_token(
    site: Site, late_login: str
) -> None:
    """Whatever its own login comes to, it overwrites nothing."""
    turvo = site.turvo
    with site.workers(2) as (late, other):
        hold = turvo.hold()
        if late_login == "fails":
            turvo.fail_logins(400, INVALID_GRANT, times=1)
        start([late], calls=1)
        hold.wait_for_request()
        late.pause()
        site.redis.delete(LEASE)  # as if its time were over
        assert answers(go([other])) == {200: 1}
        newer = site.stored()
        hold.released.set()
        late.resume()
        assert answers(finish([late], stop=False)) == {200: 1}
        assert site.stored() == newer
        assert late.ask("token") == other.ask("token")
        assert turvo.token_requests == 2


LOSSES = {
    "taking the lease, swallowed": (1, "swallow"),
    "taking the lease, cut": (1, "cut"),
    "storing the token, swallowed": (2, "swallow"),
    "storing the token, cut": (2, "cut"),
}


@rows_at_once(LOSSES)
def test_a_reply_that_is_lost_locks_nobody_out(loss: tuple[int, Any]) -> None:
    """The swap is repeated, and the process finds that it was applied: one login."""
    nth, how = loss
    with (
        separate_site() as site,
        Proxy(site.server.port or 0) as proxy,
        site.workers(1, {"REDIS_URL": proxy.url}) as (other, leader),
    ):
        proxy.lose(b"XADD", nth=nth, how=how)
        calls = go([leader], threads=4)
        assert proxy.lost
        assert answers(calls) == {200: 4}
        assert lasted(calls) < LEASE_SECONDS, "it waited for its own lease"
        assert answers(go([other], threads=4)) == {200: 4}
        assert leader.ask("token") == other.ask("token")
        assert site.turvo.token_requests == 1


# Due


class Outage(NamedTuple):
    """How the token endpoint fails, the pauses between the tries while the token is
    due, and what callers see when it is over."""

    fail: Callable[[FleetTurvo], object]
    pauses: Sequence[float] = (30, 60, 120)
    then: int | str = 200


OUTAGES = {
    "503": Outage(lambda turvo: turvo.fail_logins(503)),
    "no answer": Outage(FleetTurvo.hang_logins),
    "dropped": Outage(lambda turvo: turvo.drop_next(where="token", times=FOREVER)),
    "rejected": Outage(
        lambda turvo: turvo.fail_logins(400, INVALID_GRANT),
        pauses=(30,),  # the second rejection in a row counts for 15 minutes
        then="CredentialsRejected",
    ),
}


@rows_at_once(OUTAGES)
def test_an_outage_of_the_token_endpoint_is_not_felt_while_the_token_is_due(
    outage: Outage,
) -> None:
    """There is one try after each pause; the pauses end with the old token."""
    with separate_site() as site, site.workers(3, token_timeout=QUICK) as fleet:
        site.call(fleet)
        site.make_due()
        outage.fail(site.turvo)
        assert answers(site.poll(fleet, 280, step=7)).keys() == {200}
        assert site.pauses()[1:] == list(outage.pauses)
        tries = site.turvo.token_requests
        site.turvo.heal()
        site.turvo.login_seconds = 0
        site.pass_time(30)
        assert answers(site.call(fleet)) == {outage.then: 3}
        assert site.turvo.token_requests == tries + (outage.then == 200)


# What a login does to the other tokens


def test_a_token_that_is_served_again_costs_two_logins_a_rollover(site: Site) -> None:
    """It is used until its last second, because a login before gives it once more."""
    site.turvo.policy = "same"
    with site.workers(4) as fleet:
        site.call(fleet)
        site.pass_time(DUE_AT - 10)
        assert answers(site.poll(fleet, 330, step=10)).keys() == {200}
        assert site.turvo.token_requests == 1 + 2
        assert not trouble(fleet)


def test_a_new_token_that_ends_the_old_one_is_adopted_by_all(site: Site) -> None:
    """A process that is refused finds it in Redis, and no caller sees a 401."""
    turvo = site.turvo
    turvo.policy = "revoke"
    with site.workers(4) as fleet:
        start(fleet, threads=2, pause=0.02)
        pass_calls(turvo, 50)
        for logins in (2, 3):
            site.make_due()
            until(lambda logins=logins: turvo.logins == logins)
            pass_calls(turvo, 50)
        assert answers(finish(fleet)).keys() == {200}
        assert turvo.token_requests == 3
        assert turvo.refused > 0


# Clocks


def test_a_wall_clock_that_jumps_changes_nothing(site: Site) -> None:
    """An hour ahead, an hour behind, then the other way round: one login a rollover."""
    with site.workers(3) as fleet:
        ahead, behind, _ = fleet
        for hours in (1, -2):
            ahead.ask("move", hours * 3600, "wall")
            behind.ask("move", -hours * 3600, "wall")
            before = site.turvo.token_requests
            calls = [*site.call([behind]), *site.poll(fleet, LIFE - 301, step=1800)]
            assert answers(calls).keys() == {200}
            assert site.turvo.token_requests == before + 1
            site.pass_time(LIFE % 1800 + 301)
        assert site.turvo.refused == 0
