"""A 401 that a new token cures, and one that none cures, in a fleet of processes."""

from __future__ import annotations

import pytest

from tests.support.fleet import (
    FOREVER,
    FleetTurvo,
    Site,
    answers,
    go,
    start,
    trouble,
)

FORBIDDEN = "/orders/forbidden"


def forbid(turvo: FleetTurvo) -> None:
    """Answer 401 to one path, whatever the token."""
    turvo.fail_next(401, times=FOREVER, path=FORBIDDEN)


def test_a_forbidden_path_costs_a_login_a_minute_and_hides_no_revocation(
    site: Site,
) -> None:
    """One process polls it each second for ten minutes, and Turvo revokes the token
    twice: three other processes with four calls a second see no 401."""
    turvo = site.turvo
    forbid(turvo)
    with site.workers(4) as (poller, *others):
        site.call(others)
        polled = []
        for second in range(600):
            polled += site.call([poller], FORBIDDEN)
            if second in (250, 500):
                turvo.revoke()
            if second % 50 == 0:
                assert answers(site.call(others, times=4)) == {200: 12}
            site.pass_time(1)
        assert answers(polled) == {401: 600}
        # The first login, three logins at once, and one a minute.
        assert turvo.token_requests <= 1 + 3 + 10


def test_a_path_that_no_process_may_call_costs_three_logins_at_once(
    site: Site,
) -> None:
    """200 requests of 8 processes: all of them see the 401, and other paths work."""
    forbid(site.turvo)
    with site.workers(8) as fleet:
        calls = go(fleet, threads=5, calls=5, path=FORBIDDEN)
        assert answers(calls) == {401: 200}
        assert site.turvo.token_requests <= 1 + 3, trouble(fleet)
        assert answers(go(fleet)) == {200: 8}
        assert site.turvo.token_requests <= 1 + 3, trouble(fleet)


@pytest.mark.parametrize("revocations", [1, 2])
def test_a_leader_that_dies_before_its_replay_is_answered_leaves_no_401(
    site: Site, revocations: int
) -> None:
    """Nobody knows whether its token is good; the others find out, whatever it is."""
    turvo = site.turvo
    with site.workers(4) as (leader, *others):
        site.call([leader, *others])
        turvo.revoke()
        refused, replay = turvo.hold("api"), turvo.hold("api")
        refused.released.set()
        start([leader], calls=1)
        replay.wait_for_request()
        leader.kill()
        for _ in range(revocations - 1):
            turvo.revoke()
        for _ in range(4):
            assert answers(go(others, threads=4)) == {200: 12}
            site.pass_time(1)
        assert turvo.token_requests == 1 + revocations


def test_one_unlucky_401_on_a_replay_does_not_hold_up_the_next_healing(
    site: Site,
) -> None:
    """The caller sees that one. After 200 good calls nobody doubts the token, and a
    revocation is healed at once, also by a process that has not used it yet."""
    turvo = site.turvo
    with site.workers(3) as (caller, *others), site.workers(1) as newcomers:
        turvo.fail_next(401, times=2)
        assert answers(site.call([caller])) == {401: 1}
        assert answers(site.call([caller], times=200)) == {200: 200}
        newcomers[0].ask("token")
        turvo.revoke()
        assert answers(go(newcomers)) == {200: 1}
        assert answers(go([caller, *others], threads=4)) == {200: 12}
        assert turvo.token_requests == 3
