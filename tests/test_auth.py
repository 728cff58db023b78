"""``TurvoAuth``: what it attaches, and what it does about a 401."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import Clock
from requests import Request, Response
from servers import free_port
from threads import LONG, Call
from wire import Arrived, Reply, Site, at_once, auth_at, ok, store_with, token_answer, until

from turvo_session import (
    CredentialsRejected,
    InvalidTokenResponse,
    MemoryStore,
    Slot,
    Snapshot,
    TokenEndpointUnavailable,
    TurvoAuth,
    TurvoAuthError,
)
from turvo_session.events import Event, LoggedIn, Refused, Replayed
from turvo_session.grant import Credentials, PasswordGrant
from turvo_session.source import TokenSource
from turvo_session.testing import FakeTurvo, Seen


@pytest.fixture
def auth(turvo: FakeTurvo) -> TurvoAuth:
    return TurvoAuth.from_env(turvo.environ)


@pytest.fixture
def session(auth: TurvoAuth) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.auth = auth
        yield session


@pytest.fixture
def url(turvo: FakeTurvo) -> str:
    return f"{turvo.base_url}/shipments/list"


def calls(turvo: FakeTurvo) -> list[Seen]:
    """What arrived, the logins aside."""
    return [seen for seen in turvo.requests if not seen.path.endswith("/oauth/token")]


# Attach


def test_the_first_request_logs_in_and_the_next_do_not(
    turvo: FakeTurvo, session: requests.Session, auth: TurvoAuth, url: str
) -> None:
    answers = [session.get(url, timeout=10) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [seen.path.rpartition("/")[2] for seen in turvo.requests] == ["token", "list", "list", "list"]
    for seen in calls(turvo):
        assert seen.headers["authorization"] == f"Bearer {auth.token().access_token}"
        assert seen.headers["x-api-key"] == turvo.api_key
    assert (auth.stats.requests, auth.stats.logins, auth.stats.replays) == (3, 1, 0)


def test_every_other_request_is_left_untouched(turvo: FakeTurvo, session: requests.Session) -> None:
    """Also by a 401 from there; and it costs no login."""
    with Site(lambda _: Reply(401)) as elsewhere:
        assert session.get(f"{elsewhere.url}/v1/x", timeout=10).status_code == 401

    [arrived] = elsewhere.arrived
    assert not arrived.headers.keys() & {"authorization", "x-api-key"}
    assert turvo.token_requests == 0


def test_it_works_without_a_session(turvo: FakeTurvo, auth: TurvoAuth, url: str) -> None:
    assert requests.get(url, auth=auth, timeout=10).ok
    turvo.revoke()
    assert requests.get(url, auth=auth, timeout=10).ok
    assert turvo.logins == 2


def test_it_takes_the_place_of_a_header_by_hand(
    turvo: FakeTurvo, session: requests.Session, url: str
) -> None:
    """The line that a script had before does no harm."""
    headers = {"Authorization": "Bearer old", "X-API-Key": "old"}

    assert session.get(url, headers=headers, timeout=10).ok


def test_an_auth_is_true(auth: TurvoAuth) -> None:
    """A false one would lose to netrc."""
    assert auth


@pytest.mark.parametrize("applied", [1, 2])
@pytest.mark.parametrize("refused", [0, 1, 2])
def test_it_may_be_applied_by_hand_once_or_twice(
    turvo: FakeTurvo, auth: TurvoAuth, url: str, applied: int, refused: int
) -> None:
    """A 401 is healed once all the same, also where a hook has read it before."""
    read: list[int] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda answer, **_: read.append(len(answer.content)))
        request = session.prepare_request(Request("GET", url))
        for _ in range(applied):
            auth(request)
        if refused:
            turvo.fail_next(401, times=refused, body="no")

        answer = session.send(request, timeout=10)

    assert answer.status_code == (200 if refused < 2 else 401)
    assert [each.content for each in answer.history] == [b"no"] * min(refused, 1)
    assert (turvo.logins, len(calls(turvo))) == (1 + min(refused, 1), 1 + min(refused, 1))
    assert len(read) == 1


def test_a_request_prepared_long_ago_is_healed(turvo: FakeTurvo, session: requests.Session, url: str) -> None:
    """And sent again, is healed again: the token of that request counts, not the current one."""
    request = session.prepare_request(Request("GET", url))
    turvo.revoke()

    assert [session.send(request, timeout=10).status_code for _ in range(3)] == [200, 200, 200]
    assert (turvo.logins, turvo.refused) == (2, 3)


# 401


def test_a_revoked_token_costs_one_login_and_one_replay(
    turvo: FakeTurvo, session: requests.Session, auth: TurvoAuth, url: str
) -> None:
    session.get(url, timeout=10)
    turvo.revoke()

    answers = [session.get(url, timeout=10) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [len(answer.history) for answer in answers] == [1, 0]
    assert (turvo.logins, turvo.refused) == (2, 1)
    assert (auth.stats.logins, auth.stats.replays) == (2, 1)


def test_a_second_401_comes_back_as_a_response(
    turvo: FakeTurvo, session: requests.Session, auth: TurvoAuth, url: str
) -> None:
    """No third try, no exception of the machinery that retries."""
    turvo.fail_next(401, times=2, body="no")

    answer = session.get(url, timeout=10)

    assert (answer.status_code, answer.text) == (401, "no")
    assert [each.status_code for each in answer.history] == [401]
    assert (turvo.logins, len(calls(turvo))) == (2, 2)
    assert len({seen.headers["authorization"] for seen in calls(turvo)}) == 2


@pytest.mark.parametrize("status", [200, 204, 400, 403, 404, 407, 419, 429, 500, 503])
def test_no_other_status_is_a_401(turvo: FakeTurvo, session: requests.Session, url: str, status: int) -> None:
    turvo.fail_next(status, headers=[("WWW-Authenticate", 'Bearer error="invalid_token"')])

    answer = session.get(url, timeout=10)

    assert (answer.status_code, answer.history) == (status, [])
    assert (turvo.logins, len(calls(turvo))) == (1, 1)


@pytest.mark.parametrize("policy", ["fresh", "same"])
def test_a_401_that_no_token_cures_costs_one_login_and_one_replay_and_then_nothing(policy: Any) -> None:
    """Permissions, say. The caller gets each of them."""
    with FakeTurvo(policy=policy) as turvo, requests.Session() as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        turvo.fail_next(401, times=float("inf"), path="/forbidden", body="not yours")

        answers = [session.get(f"{turvo.base_url}/shipments/forbidden", timeout=10) for _ in range(10)]
        others = [session.get(f"{turvo.base_url}/shipments/list", timeout=10) for _ in range(3)]

    assert {(answer.status_code, answer.text) for answer in answers} == {(401, "not yours")}
    assert [answer.status_code for answer in others] == [200, 200, 200]
    assert turvo.logins == 2
    assert len(calls(turvo)) == 11 + 3


def source_at(turvo: FakeTurvo, clock: Clock) -> TokenSource:
    """What is under an auth, in time that is made by hand; the logins are real."""
    credentials = Credentials(turvo.api_key, turvo.username, turvo.password, "publicapi", "secret")
    url = f"{turvo.base_url}/oauth/token"
    grant = PasswordGrant(credentials, url, (3.05, 10.0), sleep=clock.sleep, clock=clock)
    local = MemoryStore(clock=clock)
    return TokenSource(grant, None, expiry_buffer=300.0, tell=lambda event: None, clock=clock, local=local)


def test_at_most_one_login_a_minute_is_spent_on_it(turvo: FakeTurvo, clock: Clock) -> None:
    """An hour of refusals every ten seconds."""
    source = source_at(turvo, clock)
    token = source.get()

    for _ in range(360):
        renewed = source.renew(token)
        token = renewed.token if renewed else token
        clock.sleep(10)

    assert 60 <= turvo.logins - 1 <= 61


def test_a_token_that_has_cured_a_401_may_be_refused_again_at_once(
    turvo: FakeTurvo, session: requests.Session, url: str
) -> None:
    """Three revocations within a second are three logins: the minute is for a 401 that no login cures."""
    for _ in range(3):
        assert session.get(url, timeout=10).ok
        turvo.revoke()
    assert session.get(url, timeout=10).ok
    assert turvo.logins == 4


def test_what_one_process_is_refused_heals_the_other_too(turvo: FakeTurvo) -> None:
    """Two auths on one store: one logs in, the other adopts, and each sends its request again."""
    store = MemoryStore()
    first, second = (TurvoAuth.from_env(turvo.environ, store=store) for _ in range(2))
    url = f"{turvo.base_url}/shipments/list"
    for auth in (first, second):
        assert requests.get(url, auth=auth, timeout=10).ok
    turvo.revoke()

    answers = [requests.get(url, auth=auth, timeout=10) for auth in (first, second)]

    assert [len(answer.history) for answer in answers] == [1, 1]
    assert (first.stats.logins, second.stats.logins, second.stats.adopted) == (2, 0, 2)
    assert turvo.logins == 2


@pytest.mark.parametrize("last", [200, 401])
def test_an_adopted_token_that_is_revoked_too_is_replaced_by_a_login(turvo: FakeTurvo, last: int) -> None:
    """The last word is that of a token of our own login: refused as well, it is handed back."""
    store = MemoryStore()
    first, second = (TurvoAuth.from_env(turvo.environ, store=store) for _ in range(2))
    url = f"{turvo.base_url}/shipments/list"
    for auth in (first, second, first):  # the first one logs in again, the second has the old token
        assert requests.get(url, auth=auth, timeout=10).ok
        if auth is second:
            turvo.revoke()
    turvo.revoke()
    sent = len(calls(turvo))
    if last == 401:
        turvo.fail_next(401, times=3)

    answer = requests.get(url, auth=second, timeout=10)

    assert (answer.status_code, [each.status_code for each in answer.history]) == (last, [401, 401])
    assert len(calls(turvo)) == sent + 3
    assert turvo.logins == 3


class Rumours(MemoryStore):
    """Holds another token each time one looks, and every one of them is refused."""

    looks = 0

    def read(self) -> Snapshot:
        self.looks += 1
        value = json.dumps({"access_token": f"rumour-{self.looks}", "buffer": 1}).encode()
        seen = super().read()
        return Snapshot(seen.at, Slot(value, 600.0), seen.lease, seen.failure, seen.version)


def test_whatever_the_store_says_there_are_two_replays_at_the_most(turvo: FakeTurvo, url: str) -> None:
    """A token that others had got may be refused too; after that the 401 is the caller's."""
    answer = requests.get(url, auth=TurvoAuth.from_env(turvo.environ, store=Rumours()), timeout=10)

    assert answer.status_code == 401
    assert len(calls(turvo)) == 1 + 2
    assert len(answer.history) == 2
    assert turvo.logins == 0


def test_a_401_comes_back_where_neither_a_token_nor_a_replay_can_be_had(
    turvo: FakeTurvo, session: requests.Session, url: str
) -> None:
    """The body of a generator is gone: the caller has to send it again, whatever becomes of the login."""
    session.get(url, timeout=10)
    turvo.revoke()
    turvo.fail_next(503, where="token", times=9, headers=[("Retry-After", "0")])

    assert session.post(url, data=iter([b"part"]), timeout=10).status_code == 401
    with pytest.raises(TokenEndpointUnavailable):
        session.post(url, data=b"whole", timeout=10)


def test_a_401_to_another_header_than_ours_is_not_our_affair(
    turvo: FakeTurvo, session: requests.Session, url: str
) -> None:
    request = session.prepare_request(Request("GET", url))
    request.headers["Authorization"] = "Bearer mine"

    assert session.send(request, timeout=10).status_code == 401
    assert (turvo.logins, len(calls(turvo))) == (1, 1)


def test_the_same_token_served_again_is_replayed_once(session: requests.Session) -> None:
    """A server that hands out the refused token again: no endless loop, and what it answers is the answer."""
    with FakeTurvo(policy="same") as turvo:
        session.auth = TurvoAuth.from_env(turvo.environ)
        turvo.fail_next(401)

        assert session.get(f"{turvo.base_url}/shipments/list", timeout=10).ok

    assert turvo.logins == 2
    assert len({seen.headers["authorization"] for seen in calls(turvo)}) == 1


class Staggered:
    """Every request with the first token is answered with a 401 when its turn is called, any other with a 200."""

    def __init__(self, count: int) -> None:
        self.logins = 0
        self.waiting = 0
        self.turns = [threading.Event() for _ in range(count)]
        self._lock = threading.Lock()

    def __call__(self, arrived: Arrived) -> Reply:
        if arrived.method == "POST":
            self.logins += 1
            return ok(token_answer(f"token-{self.logins}"))
        if arrived.headers["authorization"] != "Bearer token-1":
            return Reply(200)
        with self._lock:
            turn = self.turns[self.waiting]
            self.waiting += 1
        turn.wait(20)
        return Reply(401)


def test_eight_401s_that_come_one_after_the_other_are_all_healed_by_one_login() -> None:
    """The later ones find that the auth has another token already: it is the token of each request that counts."""
    answer = Staggered(8)
    with Site(answer, host="127.0.0.1") as site, requests.Session() as session:
        session.auth = auth_at(site.url)
        done: list[int] = []

        def call() -> None:
            done.append(session.get(f"{site.url}/v1/x", timeout=20).status_code)

        threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert until(lambda: answer.waiting == 8)
        for count, turn in enumerate(answer.turns, 1):
            turn.set()
            assert until(lambda: len(done) == count)  # noqa: B023 - used at once

    assert done == [200] * 8
    assert answer.logins == 2


def test_a_session_shared_by_32_threads(turvo: FakeTurvo, session: requests.Session, url: str) -> None:
    """A cold start and eight revocations: nine logins, and no 401 reaches a caller."""
    for round_ in range(9):
        answers = at_once([lambda: session.get(url, timeout=20).status_code] * 32)
        assert answers == [200] * 32
        assert turvo.logins == 1 + round_
        turvo.revoke()


@pytest.mark.parametrize("policy", ["fresh", "same"])
def test_64_threads_at_a_cold_start_and_at_expiry_are_one_login_each(policy: Any) -> None:
    with FakeTurvo(policy=policy, token_life=1.0, login_seconds=0.1) as turvo:
        auth = TurvoAuth.from_env(turvo.environ)
        url = f"{turvo.base_url}/shipments/list"

        def token() -> str:
            return auth.token().access_token

        assert len(set(at_once([token] * 64))) == 1
        assert turvo.logins == 1
        assert until(lambda: auth.status().state == "none")
        turvo.token_life = 43199.0
        assert len(set(at_once([token] * 64))) == 1
        assert turvo.logins == 2
        assert requests.get(url, auth=auth, timeout=10).ok


# Expiry


@pytest.mark.parametrize(("policy", "logins"), [("fresh", 3), ("same", 5)])
def test_a_day_of_calls_is_a_login_a_rollover_or_two(policy: Any, logins: int, clock: Clock) -> None:
    """Two where Turvo hands out the old token until it is over. A 401 at the very end is healed by one of them."""
    with FakeTurvo(policy=policy, clock=clock) as turvo, requests.Session() as plain:
        source = source_at(turvo, clock)
        end = clock() + 25 * 3600
        while clock() < end:
            token = source.get()
            headers = {"Authorization": f"Bearer {token.access_token}", "x-api-key": turvo.api_key}
            if plain.get(f"{turvo.base_url}/shipments/list", headers=headers, timeout=10).status_code == 401:
                source.renew(token)
            clock.sleep(600 if token.due - clock() > 900 else 50)

    assert turvo.logins == logins
    assert turvo.refused <= 2


def test_a_due_token_serves_until_it_is_over_while_no_other_can_be_had(
    turvo: FakeTurvo, clock: Clock
) -> None:
    """Each try ahead of time is a single one, half a minute after the last, then a minute, then two."""
    source = source_at(turvo, clock)
    token = source.get()
    turvo.fail_next(503, where="token", times=float("inf"))
    clock.sleep(token.due - clock())

    tries = []
    while clock() < token.end:
        assert source.get().access_token == token.access_token
        tries.append(turvo.token_requests - 1)
        clock.sleep(10)

    assert [tries.index(count) * 10 for count in (1, 2, 3, 4)] == [0, 30, 90, 210]
    assert max(tries) == 4
    with pytest.raises(TokenEndpointUnavailable):
        source.get()
    turvo.heal()
    clock.sleep(60)
    assert source.get().access_token != token.access_token


# The caller's own hooks


def test_a_hook_that_raises_for_a_status_never_sees_a_healed_401(
    turvo: FakeTurvo, session: requests.Session, url: str
) -> None:
    session.hooks["response"].append(lambda answer, **_: answer.raise_for_status())
    session.get(url, timeout=10)
    turvo.revoke()

    assert session.get(url, timeout=10).ok

    turvo.fail_next(401, times=2)
    with pytest.raises(requests.HTTPError, match="401"):
        session.get(url, timeout=10)


@pytest.mark.parametrize("of", ["session", "request"])
def test_hooks_are_called_once_with_the_last_answer(
    turvo: FakeTurvo, session: requests.Session, url: str, of: str
) -> None:
    """And what a hook makes of it is what the caller gets."""
    seen: list[int] = []

    def hook(answer: Response, **_: object) -> Response:
        seen.append(answer.status_code)
        answer.reason = "seen"
        return answer

    turvo.fail_next(401)
    if of == "session":
        session.hooks["response"].append(hook)
        answer = session.get(url, timeout=10)
    else:
        answer = session.get(url, timeout=10, hooks={"response": hook})

    assert (seen, answer.status_code, answer.reason) == ([200], 200, "seen")


def test_two_auths_in_one_process_do_not_meet(turvo: FakeTurvo) -> None:
    """Each has its own origin, token and key."""
    with FakeTurvo(seed=1) as other:
        first, second = TurvoAuth.from_env(turvo.environ), TurvoAuth.from_env(other.environ)

        assert requests.get(f"{turvo.base_url}/shipments/list", auth=first, timeout=10).ok
        assert requests.get(f"{other.base_url}/shipments/list", auth=second, timeout=10).ok
        assert requests.get(f"{other.base_url}/shipments/list", auth=first, timeout=10).status_code == 403

    assert (turvo.logins, other.logins) == (1, 1)


# No token to be had


@pytest.mark.parametrize(
    ("pull", "kind"),
    [
        (lambda turvo: turvo.fail_next(401, where="token"), CredentialsRejected),
        (lambda turvo: turvo.throttle("60", where="token"), TokenEndpointUnavailable),
        (lambda turvo: turvo.fail_next(200, where="token", body="<html>"), InvalidTokenResponse),
    ],
)
@pytest.mark.parametrize("when", ["at first", "after a 401"])
def test_an_error_of_the_login_comes_out_of_the_request(
    turvo: FakeTurvo,
    session: requests.Session,
    url: str,
    pull: Callable[[FakeTurvo], None],
    kind: type[TurvoAuthError],
    when: str,
) -> None:
    """And binds the next one: nothing is sent without a token, and nobody is asked again at once."""
    if when == "after a 401":
        session.get(url, timeout=10)
        turvo.revoke()
    asked, called = turvo.token_requests, len(calls(turvo))
    pull(turvo)

    for _ in range(2):
        with pytest.raises(kind) as caught:
            session.get(url, timeout=10)
        assert isinstance(caught.value, requests.RequestException)
        assert caught.value.__cause__ is caught.value.__context__ is None  # theirs hold what was sent

    assert turvo.token_requests == asked + 1
    assert len(calls(turvo)) == called + (2 if when == "after a 401" else 0)


@pytest.mark.parametrize("answer", [Reply(503), (), (b"junk\r\n\r\n",)], ids=["503", "hung up", "garbled"])
def test_nothing_hangs_on_the_error_of_a_login(answer: Any) -> None:
    """No cause and no context: their frames and their request hold the password, the key and the body."""
    with Site(lambda _: answer, host="127.0.0.1") as site, pytest.raises(TokenEndpointUnavailable) as caught:
        auth_at(site.url).token()

    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert (caught.value.request, caught.value.response) == (None, None)


def test_wrong_credentials_are_tried_once_and_the_account_is_not_locked(turvo: FakeTurvo, url: str) -> None:
    wrong = TurvoAuth.from_env(turvo.environ, password="wrong")
    for _ in range(12):
        with pytest.raises(CredentialsRejected):
            requests.get(url, auth=wrong, timeout=10)

    assert turvo.token_requests == 1
    assert requests.get(url, auth=TurvoAuth.from_env(turvo.environ), timeout=10).ok


def test_nobody_there_is_an_error_of_the_token_endpoint() -> None:
    auth = auth_at(f"http://127.0.0.1:{free_port()}", token_timeout=(0.5, 0.5))

    with pytest.raises(TokenEndpointUnavailable) as caught:
        requests.get(f"{auth.base_url}/x", auth=auth, timeout=10)

    assert caught.value.retry_after is not None


# token(), forget(), status(), events


def test_a_token_for_curl(turvo: FakeTurvo, auth: TurvoAuth, url: str) -> None:
    token = auth.token()

    headers = {"Authorization": f"Bearer {token.access_token}", "x-api-key": turvo.api_key}
    assert requests.get(url, headers=headers, timeout=10).ok
    assert auth.token() is token
    assert turvo.logins == 1


def test_forget_drops_the_token_here_and_in_the_store(turvo: FakeTurvo) -> None:
    store = MemoryStore()
    first, second = (TurvoAuth.from_env(turvo.environ, store=store) for _ in range(2))
    token = first.token()
    assert second.token().access_token == token.access_token

    first.forget()

    assert store.read().token is None
    assert second.token().access_token == token.access_token
    assert first.token().access_token != token.access_token
    assert turvo.logins == 2


def test_the_status_tells_of_the_token_without_a_login(turvo: FakeTurvo, auth: TurvoAuth) -> None:
    assert (auth.status().state, auth.status().origin, turvo.token_requests) == ("none", None, 0)

    token = auth.token()
    status = auth.status()

    assert (status.state, status.origin, status.fingerprint) == ("fresh", "login", token.fingerprint)
    assert 43000 < status.seconds_left <= 43199
    assert status.store_reachable is None
    assert turvo.token_requests == 1


def test_what_happens_is_told(turvo: FakeTurvo, url: str) -> None:
    told: list[Event] = []
    auth = TurvoAuth.from_env(turvo.environ, on_event=told.append)
    first = auth.token()
    turvo.revoke()
    requests.get(url, auth=auth, timeout=10)
    second = auth.token()

    assert [type(event) for event in told] == [LoggedIn, Refused, LoggedIn, Replayed]
    assert told[1] == Refused(first.fingerprint)
    assert told[3] == Replayed(second.fingerprint, 200)


def test_a_listener_may_ask_for_the_token_that_it_is_told_of(turvo: FakeTurvo) -> None:
    """It is told when everything is done: it waits for nobody, and nobody for it."""
    heard: list[str] = []
    auth = TurvoAuth.from_env(turvo.environ, on_event=lambda _: heard.append(auth.token().fingerprint))

    token = Call(auth.token).result()

    assert heard == [token.fingerprint]
    assert turvo.token_requests == 1


def test_a_listener_that_takes_its_time_keeps_no_other_thread_waiting(turvo: FakeTurvo) -> None:
    told, go_on = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        told.set()
        assert go_on.wait(LONG)

    auth = TurvoAuth.from_env(turvo.environ, on_event=listen)
    slow = Call(auth.token)
    assert told.wait(LONG)

    assert Call(lambda: auth.token().fingerprint).result()
    go_on.set()
    slow.result()
    assert turvo.token_requests == 1


def test_a_fresh_token_is_used_as_it_is_and_one_of_a_store_is_adopted() -> None:
    """Nobody at the origin is asked."""
    auth = auth_at("https://publicapi.turvo.com", store=store_with("token-1"))

    request = Request("GET", "https://publicapi.turvo.com/v1/x", auth=auth).prepare()

    assert request.headers["Authorization"] == "Bearer token-1"
    assert (auth.stats.adopted, auth.stats.logins) == (1, 0)
    assert auth.status().origin == "store"


# What is left over


def test_nothing_shows_a_token(turvo: FakeTurvo, auth: TurvoAuth, url: str) -> None:
    """Not the auth and its parts, not the hook on a request."""
    shown = f"{auth!r} {auth} {[repr(part) for part in vars(auth).values() if part is not auth._api_key]}"
    token = auth.token()
    request = Request("GET", url, auth=auth).prepare()
    shown += f"{auth!r} {request.hooks} {auth.status()} {auth.stats} {token!r} {token}"

    assert token.access_token not in shown
    assert token.fingerprint in shown
    assert auth.base_url in repr(auth)


@pytest.mark.parametrize(
    "way", ["straight", "healed", "redirected", "redirected away", "healed and redirected"]
)
def test_an_answer_pickles(turvo: FakeTurvo, session: requests.Session, url: str, way: str) -> None:
    """As any other does; its request can be sent, and acts on nothing any more."""
    with Site() as elsewhere:
        if "healed" in way:
            turvo.fail_next(401)
        if "redirected" in way:
            turvo.redirect_next(elsewhere.url if "away" in way else "/v1/shipments/list")
        answer = session.get(url, timeout=10)

        other = pickle.loads(pickle.dumps(answer))

        assert (other.status_code, other.content) == (answer.status_code, answer.content)
        assert [each.status_code for each in other.history] == [each.status_code for each in answer.history]
        logins = turvo.logins
        turvo.revoke()
        with requests.Session() as plain:
            again = plain.send(other.request, timeout=10)
        assert again.status_code == (200 if "away" in way else 401)
        assert turvo.logins == logins


def test_a_copy_of_an_auth_is_the_auth_itself(auth: TurvoAuth) -> None:
    """Its secrets are not copied, and what holds an auth can be: a session, the settings of a task."""
    for copied in (copy.copy, copy.deepcopy):
        assert copied(auth) is auth
        assert copied({"auth": auth})["auth"] is auth
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(auth)
