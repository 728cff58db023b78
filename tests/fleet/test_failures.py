"""A failed login harms nobody but its owner, and the account is never locked.

Real sockets and real processes; only the time is made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.support.fleet import (
    FAILURES,
    FOREVER,
    INVALID_GRANT,
    LEASE_SECONDS,
    FleetTurvo,
    Site,
    answers,
    finish,
    go,
    rows_at_once,
    separate_site,
    start,
    trouble,
    workers,
)
from turvo_session.testing.api import Answer

MOST_ATTEMPTS = 8
MINUTES_15 = 900.0
DAY = 86400.0
FORBIDDEN = '{"message": "Forbidden"}'
WRONG = {"TURVO_PASSWORD": "wrong"}
REJECTED = "CredentialsRejected"
INVALID = "InvalidTokenResponse"
UNAVAILABLE = "TokenEndpointUnavailable"


# What a wrong password costs, however it is told


class Told(NamedTuple):
    """How Turvo answers a login: the error, its pauses, the tries in the first one."""

    error: str
    pauses: Sequence[float]
    first: int
    fail: Callable[[FleetTurvo], object]


GROWING = [15.0, 30.0, 60.0, 120.0, 240.0, 240.0]
unanswered = partial(Told, UNAVAILABLE, GROWING, 2)


def rejecting(status: int, body: str) -> Told:
    """Return an answer that says at once that the credentials are wrong."""
    return Told(REJECTED, [], 1, lambda turvo: turvo.fail_logins(status, body))


def foreign(status: int, body: str = "") -> Told:
    """Return an answer that is not the token endpoint's."""
    return Told(INVALID, GROWING, 1, lambda turvo: turvo.fail_logins(status, body))


TOLD = {
    "400": rejecting(400, INVALID_GRANT),
    "422": rejecting(422, INVALID_GRANT),
    "a 200 with an error": rejecting(200, INVALID_GRANT),
    "403 of a gateway": rejecting(403, FORBIDDEN),
    "500": unanswered(lambda turvo: turvo.fail_logins(500)),
    "504": unanswered(lambda turvo: turvo.fail_logins(504)),
    "no answer": unanswered(FleetTurvo.hang_logins),
    "dropped": unanswered(lambda turvo: turvo.drop_next(where="token", times=FOREVER)),
    "a page": foreign(200, "<html>"),
    "404": foreign(404),
    "a redirect": foreign(302),
}


@rows_at_once(TOLD)
def test_a_wrong_password_is_never_tried_nine_times_in_15_minutes(told: Told) -> None:
    """Also if Turvo tells late, in another form, or not at all; the pauses grow."""
    with separate_site() as site:
        told.fail(site.turvo)
        with site.workers(0, WRONG, token_timeout=(0.2, 0.3)) as fleet:
            calls = site.poll(fleet, MINUTES_15 - 10, step=5)
            assert answers(calls).keys() == {told.error}
            assert site.pauses() == list(told.pauses)
            tries = told.first + len(told.pauses)
            assert site.turvo.token_requests == tries <= MOST_ATTEMPTS
            status = fleet[0].ask("status")
            assert status.attempts_spent == tries
            assert status.failures[0].mine


def test_a_wrong_password_that_is_left_alone_is_tried_ever_more_rarely(
    site: Site,
) -> None:
    """After 15 minutes, 30 minutes, one hour and so on: seven times in a day."""
    with site.workers(0, WRONG) as fleet:
        calls = site.poll(fleet, DAY, step=300)
        assert answers(calls).keys() == {REJECTED}
        assert site.pauses() == [900, 1800, 3600, 7200, 14400, 28800]


def test_two_wrong_passwords_do_not_take_turns(site: Site) -> None:
    """The pauses grow for both of them; the right password is tried at once."""
    others = [{"TURVO_PASSWORD": f"wrong {number}"} for number in range(2)]
    with site.workers(1, *others) as (right, *wrong):
        calls = site.poll(wrong, 3600, step=60)
        assert answers(calls) == {REJECTED: 120}
        assert site.turvo.token_requests == 4
        assert answers(site.call([right])) == {200: 1}
        assert answers(site.call(wrong)) == {200: 2}
        assert site.turvo.token_requests == 5


def test_a_wrong_password_is_tried_once_by_the_whole_fleet(site: Site) -> None:
    """8 processes with 8 threads: one token request, and the same error for all."""
    site.turvo.login_seconds = 0.3
    with site.workers(1, *[WRONG] * 8) as (right, *wrong):
        for _ in range(2):
            calls = go(wrong, threads=8)
            assert answers(calls) == {REJECTED: 64}
            assert site.turvo.token_requests == 1
            site.pass_time(MINUTES_15 / 2 - 60)
        assert answers(go([right])) == {200: 1}
        assert answers(go(wrong)) == {200: 8}
        assert site.turvo.token_requests == 2


def test_no_mixture_of_processes_makes_a_ninth_attempt_in_15_minutes(
    site: Site,
) -> None:
    """12 processes, 3 of them wrong, and 60 commands, while Turvo fails in all ways."""
    turvo, chance = site.turvo, Random(7)
    broken = [Answer(500), Answer(504), None, Answer(200, b"<html>")]
    rejections = [Answer(400, INVALID_GRANT.encode()), Answer(422, b"{}")]

    def fail(_: str, body: bytes) -> Any:
        is_wrong = b"wrong" in body
        return chance.choice(broken + rejections * is_wrong)

    turvo._token = fail  # type: ignore[method-assign]
    others = [{"TURVO_PASSWORD": f"wrong {number}"} for number in range(3)]
    with site.workers(9, *others) as fleet:
        for number in range(60):
            site.call(fleet)
            environ = site.environ | (others[number // 3 % 3] if number % 3 else {})
            arguments = ["token"] if number % 2 else ["login"]
            with workers([environ]) as (command,):
                assert command.ask("run_command", environ, *arguments) != 0
            site.pass_time(30)
        assert turvo.token_requests >= MOST_ATTEMPTS
        assert site.most_asked() <= MOST_ATTEMPTS
        del turvo._token
        site.poll(fleet, MINUTES_15, step=60)
        assert answers(site.call(fleet[:9])) == {200: 9}


def test_a_leader_that_dies_at_its_attempt_costs_one_more(site: Site) -> None:
    """Nobody is left to count that one."""
    turvo = site.turvo
    turvo.fail_logins(500)
    with site.workers(2) as (leader, other):
        attempt = turvo.hold()
        start([leader], calls=1)
        attempt.wait_for_request()
        leader.kill()
        attempt.released.set()
        site.pass_time(LEASE_SECONDS + 1)
        site.poll([other], MINUTES_15 - 60, step=5)
        assert turvo.token_requests == MOST_ATTEMPTS + 1


def test_a_process_without_redis_keeps_the_same_rules(site: Site) -> None:
    """One with a wrong password makes one attempt in 15 minutes, and three an hour."""
    with site.workers(0, WRONG | {"REDIS_URL": ""}) as fleet:
        calls = site.poll(fleet, 3600, step=60)
        assert answers(calls).keys() == {REJECTED}
        assert site.pauses() == [900, 1800]


# Whom a failure concerns


def test_one_refusal_at_a_renewal_is_not_noticed(site: Site) -> None:
    """The old token serves, and the next try comes half a minute later."""
    with site.workers(4) as fleet:
        site.call(fleet)
        site.make_due()
        site.turvo.fail_logins(403, FORBIDDEN, times=1)
        calls = site.poll(fleet, 400, step=7)
        assert answers(calls).keys() == {200}
        assert site.turvo.token_requests == 3
        assert site.pauses()[1:] == [30]


def test_one_refusal_after_a_401_is_over_in_a_minute(site: Site) -> None:
    """A first rejection of credentials that had a token is no proof against them."""
    with site.workers(4) as fleet:
        site.call(fleet)
        site.turvo.revoke()
        site.turvo.fail_logins(403, FORBIDDEN, times=1)
        assert answers(site.poll(fleet, 55, step=5)).keys() == {REJECTED}
        site.pass_time(6)
        assert answers(site.call(fleet)) == {200: 4}
        assert site.turvo.token_requests == 3


def test_a_process_without_a_route_to_turvo_fails_alone(site: Site) -> None:
    """The others log in as ever, until a second process cannot connect either."""
    with site.workers(5) as (cut_off, second, *healthy):
        cut_off.ask("cut_off")
        for _ in range(2):
            start([cut_off], calls=1)
            assert answers(go(healthy, threads=2)) == {200: 6}
            finish([cut_off], stop=False)
            site.expire()
        assert answers(site.call([cut_off])) == {UNAVAILABLE: 1}
        assert answers(site.call(healthy)) == {200: 3}
        site.expire()

        second.ask("cut_off")
        before = site.turvo.token_requests
        assert answers(site.call([cut_off])) == {UNAVAILABLE: 1}
        assert answers(site.call([second])) == {UNAVAILABLE: 1}
        assert answers(site.call(healthy)) == {UNAVAILABLE: 3}
        assert site.turvo.token_requests == before
        site.pass_time(11)
        assert answers(site.call(healthy)) == {200: 3}
        assert not trouble(healthy)


def test_a_mistyped_base_url_on_a_shared_key_fails_alone(site: Site) -> None:
    """It binds nobody with another token URL, and spends nobody else's attempts."""
    mistyped = site.turvo.base_url.replace("/v1", "/mistyped/v1")
    with site.workers(1, {"TURVO_BASE_URL": mistyped}) as (right, wrong):
        calls = site.poll([wrong], MINUTES_15, step=5)
        assert answers(calls).keys() == {INVALID}
        assert "TURVO_BASE_URL" in calls[0].text
        assert site.pauses() == GROWING
        status = right.ask("status")
        assert status.attempts_spent == 0
        assert [failure.mine for failure in status.failures] == [False]
        assert answers(site.call([right])) == {200: 1}


# What stays in Redis


@pytest.mark.parametrize("seconds", [DAY, 7 * DAY, None])
def test_a_record_that_binds_too_long_is_void(
    site: Site, seconds: float | None
) -> None:
    """Somebody planted it, or Redis's clock was set back."""
    site.turvo.fail_logins(504)
    with site.workers(2) as (failed, other):
        assert answers(site.call([failed])) == {UNAVAILABLE: 1}
        site.turvo.heal()
        assert answers(site.call([other])) == {UNAVAILABLE: 1}
        if seconds is None:
            site.redis.persist(FAILURES)
        else:
            site.redis.expire(FAILURES, int(seconds))
        site.pass_time(1)  # for which a process believes what it has read
        assert answers(site.call([other])) == {200: 1}


# Operators


@pytest.mark.parametrize("remedy", ["login", "forget"])
def test_an_operator_lifts_a_remembered_rejection(site: Site, remedy: str) -> None:
    """``login`` asks Turvo at once, ``forget`` lets the next call ask."""
    with site.workers(0, WRONG, WRONG) as (operator, other):
        assert answers(site.call([operator, other])) == {REJECTED: 2}
        site.turvo.password = WRONG["TURVO_PASSWORD"]  # an admin has set it
        assert answers(site.call([operator, other])) == {REJECTED: 2}
        operator.ask(remedy)
        site.pass_time(1)  # for which a process believes what it has read
        assert answers(go([other, operator])) == {200: 2}
        assert site.turvo.token_requests == 2


@pytest.mark.parametrize("remedy", [("login", True), ("forget",)])
def test_an_operator_lifts_the_spent_budget(site: Site, remedy: Any) -> None:
    """A plain ``login`` respects it, and the error names both remedies."""
    site.turvo.fail_logins(500)
    with site.workers(2) as (operator, other):
        site.poll([other], 720, step=5)
        assert site.turvo.token_requests == MOST_ATTEMPTS
        site.turvo.heal()
        assert operator.ask("login") == UNAVAILABLE
        site.pass_time(150)
        (call,) = site.call([other])
        assert call.answer == UNAVAILABLE
        assert "login --force" in call.text
        assert "forget" in call.text
        assert site.turvo.token_requests == MOST_ATTEMPTS
        operator.ask(*remedy)
        assert answers(site.call([other])) == {200: 1}
        assert site.turvo.token_requests == MOST_ATTEMPTS + 1


# An endpoint that is out of order


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
