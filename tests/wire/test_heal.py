"""What follows a 401: another token, a replay, and what the caller gets."""

from __future__ import annotations

import json
import pickle
import signal
import time
from typing import Any

import pytest
import requests
from requests import Response

from tests.support.interrupts import secrets_in_frames
from tests.support.requests_sent import (
    InterruptedAdapter,
    StoreOfRumours,
    World,
    statuses,
)
from tests.support.wire import Reply, Site
from turvo_session import (
    CredentialsRejected,
    InvalidTokenResponse,
    MemoryStore,
    TokenEndpointUnavailable,
    TurvoAuth,
    TurvoAuthError,
)
from turvo_session import failure as failures
from turvo_session.events import LoggedIn, Refused, Replayed
from turvo_session.testing import FakeTurvo

REJECTED = json.dumps({"error": "invalid_grant"})


def test_a_revoked_token_costs_one_login_and_one_replay(world: World) -> None:
    turvo, first = world.turvo, world.auth.token()
    turvo.revoke()
    answers = [world.get() for _ in range(3)]
    assert statuses(answers) == [200, 200, 200]
    assert [len(answer.history) for answer in answers] == [1, 0, 0]
    assert (turvo.logins, turvo.refused, turvo.api_requests) == (2, 1, 4)
    stats, told = world.auth.stats, world.told
    assert (stats.requests, stats.logins, stats.replays) == (3, 2, 1)
    assert [type(event) for event in told] == [LoggedIn, Refused, LoggedIn, Replayed]
    assert told[1] == Refused(first.fingerprint)
    assert told[3] == Replayed(world.auth.token().fingerprint, 200)


@pytest.mark.parametrize("status", [200, 204, 400, 403, 404, 407, 419, 429, 500, 503])
def test_only_a_401_is_answered(world: World, status: int) -> None:
    challenge = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
    world.turvo.fail_next(status, headers=challenge)
    answer = world.get()
    assert (answer.status_code, answer.history) == (status, [])
    assert (world.turvo.logins, world.turvo.api_requests) == (1, 1)


def test_a_401_to_another_header_or_of_another_origin_is_left_alone(
    world: World,
) -> None:
    with Site(lambda _: Reply(401)) as elsewhere:
        assert world.session.get(elsewhere.url, timeout=10).status_code == 401
        request = world.prepared()
        request.__dict__["url"] = elsewhere.url  # behind the back of the guard
        assert world.session.send(request, timeout=10).status_code == 401
    assert len(elsewhere.arrived) == 2
    request = world.prepared()
    request.headers["Authorization"] = "Bearer mine"
    assert world.session.send(request, timeout=10).status_code == 401
    assert (world.turvo.logins, world.turvo.api_requests) == (1, 1)


@pytest.mark.parametrize("applied", [1, 2])
@pytest.mark.parametrize("refused", [0, 1, 2])
def test_hooks_of_the_caller_see_the_final_answer_once(
    world: World, applied: int, refused: int
) -> None:
    """Also where the auth was applied by hand, after them, or twice."""
    seen: list[int] = []

    def see(answer: Response, **_: Any) -> None:
        seen.append(answer.status_code)

    world.session.auth = None
    world.session.hooks["response"].append(see)
    request = world.prepared()
    for _ in range(applied):
        world.auth(request)
    if refused:
        world.turvo.fail_next(401, times=refused)
    answer = world.session.send(request, timeout=10)

    assert seen == [answer.status_code] == [200 if refused < 2 else 401]
    assert statuses(answer.history) == [401] * min(refused, 1)
    requests_sent = 1 + min(refused, 1)
    assert (world.turvo.logins, world.turvo.api_requests) == (requests_sent,) * 2


def test_every_request_can_be_sent_again_after_its_token_was_replaced(
    world: World,
) -> None:
    """The token of that request counts, not the current one."""

    def send(requests_: list[Any]) -> list[Response]:
        return [world.session.send(request, timeout=10) for request in requests_]

    assert world.get().ok
    first = [world.prepared() for _ in range(3)]
    world.turvo.revoke()
    healed = send(first)
    assert [len(answer.history) for answer in healed] == [1, 1, 1]
    world.turvo.revoke()
    later = send(
        [first[0], first[1].copy(), healed[0].request, healed[1].request.copy()]
    )

    assert statuses([*healed, *later]) == [200] * 7
    assert all(answer.history for answer in [*healed, *later])
    assert {len(answer.request.hooks["response"]) for answer in later} == {1}
    assert world.turvo.logins == 3
    pickled = pickle.loads(pickle.dumps(healed[0]))
    assert statuses([pickled, *pickled.history]) == [200, 401]
    assert statuses(send([pickled.request])) == [401]


@pytest.mark.parametrize("policy", ["fresh", "same"])
def test_a_forbidden_path_costs_one_login_a_minute(
    policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And other paths are healed as ever."""
    real, ahead = time.monotonic, [0.0]
    monkeypatch.setattr("time.monotonic", lambda: real() + ahead[-1])
    with World(policy=policy) as world:
        turvo = world.turvo
        turvo.fail_next(401, times=float("inf"), path="/forbidden", body="not yours")
        answers = [world.get("/shipments/forbidden") for _ in range(5)]
        assert {(one.status_code, one.text) for one in answers} == {(401, "not yours")}
        assert (turvo.logins, turvo.api_requests) == (2, 6)
        for logins in (2, 3):
            assert world.get().ok
            assert world.get("/shipments/forbidden").history == []
            assert turvo.logins == logins
            turvo.revoke()
        ahead.append(61.0)
        for _ in range(2):
            world.get("/shipments/forbidden")
        assert turvo.logins == 4
        world.auth.forget()  # also what is remembered of the path
        world.get("/shipments/forbidden")
        assert turvo.logins == 6


def test_a_path_that_is_answered_again_is_healed_again(world: World) -> None:
    world.turvo.fail_next(401, times=2)
    answers = [world.get(), world.get("/elsewhere"), world.get()]
    assert statuses(answers) == [401, 404, 200]
    world.turvo.revoke()
    assert world.get().ok
    assert world.turvo.logins == 3


def test_a_server_that_refuses_good_tokens_now_and_then_costs_two_logins(
    world: World,
) -> None:
    """A revocation among its false alarms is healed as well."""
    for refused in [0, *[1] * 10, 2]:
        if refused:
            world.turvo.fail_next(401, times=refused)
        assert world.get().ok
    assert world.turvo.logins == 2
    world.turvo.revoke()
    assert statuses([world.get(), world.get(), world.get()]) == [200, 200, 200]
    assert world.turvo.logins == 3


def test_a_good_token_is_sent_again_when_no_login_is_allowed() -> None:
    """Three logins because of a 401 are what all processes have at once."""
    with World(policy="same") as world:
        for refused in (1, 2, 2):
            assert world.get().ok
            world.turvo.fail_next(401, times=refused)
            assert world.get().ok
        assert world.turvo.logins == 4
        world.auth.login()  # what was seen of the token still holds
        world.turvo.fail_next(401, times=2)
        assert world.get().ok
        assert (world.turvo.logins, len(set(world.bearers))) == (5, 1)


def test_a_token_that_nobody_has_seen_work_is_not_replaced(world: World) -> None:
    """Not for another path either, since a new token did not help the first one."""
    world.turvo.fail_next(401, times=9)
    answers = [world.get("/a"), world.get("/b")]
    assert statuses(answers) == [401, 401]
    assert (world.turvo.logins, world.turvo.api_requests) == (2, 3)


@pytest.mark.parametrize("is_doubted", [False, True])
@pytest.mark.parametrize(
    ("revoked_again", "refused", "found"),
    [(False, 0, [200, 401]), (True, 0, [200, 401, 401]), (True, 3, [401, 401, 401])],
)
def test_a_token_of_another_process_is_adopted_and_replaced_if_it_is_refused_too(
    world: World, revoked_again: bool, refused: int, found: list[int], is_doubted: bool
) -> None:
    store = MemoryStore()
    first, second = world.new_auth(store=store), world.new_auth(store=store)
    assert statuses([world.get_with(first), world.get_with(second)]) == [200, 200]
    world.turvo.revoke()
    if is_doubted:
        world.turvo.fail_next(401, times=2)
    assert world.get_with(first).ok is not is_doubted
    if revoked_again:
        world.turvo.revoke()
    if refused:
        world.turvo.fail_next(401, times=refused)
    answer = world.get_with(second)

    assert statuses([answer, *answer.history]) == found
    assert (second.stats.logins, second.stats.adopted) == (int(revoked_again), 2)
    assert world.turvo.logins == 2 + revoked_again


def test_whatever_the_store_says_there_are_two_replays_at_most(world: World) -> None:
    answer = world.get_with(world.new_auth(store=StoreOfRumours()))
    assert (answer.status_code, len(answer.history)) == (401, 2)
    assert (world.turvo.api_requests, world.turvo.logins) == (3, 0)


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("policy", ["fresh", "same"])
def test_any_answer_but_a_401_clears_the_doubt_for_all_processes(
    policy: Any, status: int
) -> None:
    """Also one to a process that adopted the token: the one that got it may be gone."""
    store = MemoryStore()
    with World(policy=policy) as world:
        first, second = world.new_auth(store=store), world.new_auth(store=store)
        assert world.get_with(first).ok
        world.turvo.fail_next(401)
        if policy == "same":  # the replay is lost, and the next request serves as well
            second = first
            world.turvo.drop_next()
            with pytest.raises(requests.ConnectionError):
                world.get_with(first)
        else:
            world.turvo.fail_next(401)
            assert world.get_with(first).status_code == 401
        token = first.token()
        assert failures.load(store.read().failure).doubts(token)

        world.turvo.fail_next(status)
        assert world.get_with(second).status_code == status
        assert not failures.load(store.read().failure).doubts(token)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, REJECTED, CredentialsRejected),
        (503, "", TokenEndpointUnavailable),
        (200, "<html>", InvalidTokenResponse),
    ],
)
def test_an_error_of_the_login_comes_out_of_the_request(
    world: World, status: int, body: str, kind: type[TurvoAuthError]
) -> None:
    """But a body that cannot be sent again gets its 401, which says so."""
    assert world.get().ok
    world.turvo.revoke()
    wait = {"Retry-After": "3600"}
    world.turvo.fail_next(status, where="token", times=9, body=body, headers=wait)

    for _ in range(2):
        with pytest.raises(kind) as caught:
            world.get()
        assert caught.value.__cause__ is caught.value.__context__ is None
    unsent = world.session.post(world.url, data=iter([b"part"]), timeout=10)
    assert (unsent.status_code, world.turvo.api_requests) == (401, 4)
    world.turvo.heal()
    assert world.auth.login() == world.auth.token()  # asks whatever is remembered
    assert world.get().history == []


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, requests.ConnectionError])
def test_an_error_closes_the_answer_and_no_frame_of_it_shows_a_secret(
    world: World, error: type[BaseException] | None
) -> None:
    adapter = InterruptedAdapter(error)
    world.session.mount("http://", adapter)
    token = world.auth.token()
    world.turvo.revoke()
    if error is None:
        world.turvo.fail_next(503, where="token", headers={"Retry-After": "60"})
    with pytest.raises(error or TokenEndpointUnavailable) as caught:
        world.get(stream=True)
    secrets = (token.access_token, world.turvo.api_key)
    assert secrets_in_frames(caught.value, secrets) == []
    assert [answer.raw.closed for answer in adapter.answers] == [True]


def test_a_second_request_in_the_middle_of_a_login_is_an_error_at_once(
    turvo: FakeTurvo,
) -> None:
    """Of a password callable, and of a signal handler, whose login then goes on."""
    turvo.login_seconds = 0.5
    caught: list[TurvoAuthError] = []

    def ask_again(*_: object) -> str:
        try:
            auth.token()
        except TurvoAuthError as error:
            caught.append(error)
        return turvo.password

    auth = TurvoAuth.from_env(turvo.environ, password=ask_again)
    before = signal.signal(signal.SIGALRM, ask_again)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert auth.token().access_token
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(caught) == 2
    assert all("is getting a token already" in str(error) for error in caught)
    assert turvo.token_requests == 1
