"""A failed login harms nobody but its owner, and the account is never locked.

Real sockets and real processes; only the time is made by hand. What each kind of
failure means, and whom it concerns, is in ``tests/unit``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from tests.support.fleet import (
    FOREVER,
    INVALID_GRANT,
    FleetTurvo,
    Site,
    answers,
    go,
    rows_at_once,
    separate_site,
    workers,
)
from turvo_session.testing.api import Answer

MOST_ATTEMPTS = 8
MINUTES_15 = 900.0
DAY = 86400.0
WRONG = {"TURVO_PASSWORD": "wrong"}
REJECTED = "CredentialsRejected"
INVALID = "InvalidTokenResponse"
UNAVAILABLE = "TokenEndpointUnavailable"
GROWING = [15, 30, 60, 120, 240, 240]


class Told(NamedTuple):
    """How Turvo answers a wrong password, and what comes of it in ``seconds``."""

    fail: Callable[[FleetTurvo], object]
    error: str
    first: int
    """Tries of the first login."""
    pauses: list[int] = GROWING
    seconds: float = MINUTES_15 - 10
    step: float = 5


TOLD = {
    "rejected": Told(
        lambda turvo: turvo.fail_logins(400, INVALID_GRANT),
        REJECTED,
        first=1,
        pauses=[900, 1800, 3600, 7200, 14400, 28800],
        seconds=DAY,
        step=300,
    ),
    "500": Told(lambda turvo: turvo.fail_logins(500), UNAVAILABLE, first=2),
    "no answer": Told(FleetTurvo.hang_logins, UNAVAILABLE, first=2),
    "dropped": Told(
        lambda turvo: turvo.drop_next(where="token", times=FOREVER),
        UNAVAILABLE,
        first=2,
    ),
    "a page": Told(lambda turvo: turvo.fail_logins(200, "<html>"), INVALID, first=1),
}


@rows_at_once(TOLD)
def test_a_wrong_password_is_tried_ever_more_rarely_and_eight_times_at_most(
    told: Told,
) -> None:
    """Whether Turvo tells at once, late, or not at all."""
    with separate_site() as site:
        told.fail(site.turvo)
        with site.workers(0, WRONG, token_timeout=(0.2, 0.3)) as fleet:
            calls = site.poll(fleet, told.seconds, step=told.step)
            assert answers(calls).keys() == {told.error}
            assert site.pauses() == told.pauses
            tries = told.first + len(told.pauses)
            assert site.turvo.token_requests == tries <= MOST_ATTEMPTS


def test_a_wrong_password_is_tried_once_by_the_whole_fleet(site: Site) -> None:
    """8 processes with 8 threads: one token request, and the same error for all."""
    site.turvo.login_seconds = 0.3
    with site.workers(1, *[WRONG] * 8) as (right, *wrong):
        for _ in range(2):
            calls = go(wrong, threads=8)
            assert answers(calls) == {REJECTED: 64}
            assert site.turvo.token_requests == 1
            site.pass_time(MINUTES_15 - 60)
        assert answers(go([right])) == {200: 1}
        assert answers(go(wrong)) == {200: 8}
        assert site.turvo.token_requests == 2


def test_no_mixture_of_processes_makes_a_ninth_attempt_in_15_minutes(
    site: Site,
) -> None:
    """6 processes, 3 of them wrong, and 20 commands, while Turvo fails in all ways."""
    turvo, chance = site.turvo, Random(7)
    broken = [Answer(500), Answer(504), None, Answer(200, b"<html>")]
    rejections = [Answer(400, INVALID_GRANT.encode()), Answer(422, b"{}")]

    def fail(_: str, body: bytes) -> Any:
        is_wrong = b"wrong" in body
        return chance.choice(broken + rejections * is_wrong)

    turvo._token = fail  # type: ignore[method-assign]
    others = [{"TURVO_PASSWORD": f"wrong {number}"} for number in range(3)]
    with site.workers(3, *others) as fleet:
        for number in range(20):
            site.call(fleet)
            environ = site.environ | (others[number // 3 % 3] if number % 3 else {})
            arguments = ["token"] if number % 2 else ["login"]
            with workers([environ]) as (command,):
                assert command.ask("run_command", environ, *arguments) != 0
            site.pass_time(90)
        assert turvo.token_requests >= MOST_ATTEMPTS
        assert site.most_asked() <= MOST_ATTEMPTS
        del turvo._token
        site.poll(fleet, MINUTES_15, step=60)
        assert answers(site.call(fleet[:3])) == {200: 3}


def test_503_is_three_tries_of_one_process_and_a_pause_for_all(site: Site) -> None:
    """Nobody counts them as wrong passwords; the next login comes after 5 s."""
    site.turvo.fail_logins(503)
    with site.workers(8) as fleet:
        calls = go(fleet, threads=8)
        assert answers(calls) == {UNAVAILABLE: 64}
        assert all(0 < (call.retry_after or 0) <= 5 for call in calls)
        assert site.turvo.token_requests == 3
        assert fleet[0].ask("status").attempts_spent == 0
        site.turvo.heal()
        site.pass_time(6)
        assert answers(go(fleet)) == {200: 8}
        assert site.turvo.token_requests == 4


def test_429_binds_the_fleet_for_its_retry_after(site: Site) -> None:
    """A short one is waited for; a long one is everybody's error."""
    turvo = site.turvo
    with site.workers(8) as fleet:
        turvo.throttle("1", where="token")
        assert answers(go(fleet, threads=4)) == {200: 32}
        assert turvo.token_requests == 2
        first, second = turvo.asked
        assert second - first > 0.9
        site.expire()
        turvo.throttle("120", where="token", times=FOREVER)
        calls = go(fleet, threads=4)
        assert answers(calls) == {UNAVAILABLE: 32}
        assert all(100 < (call.retry_after or 0) <= 120 for call in calls)
        assert turvo.token_requests == 3
