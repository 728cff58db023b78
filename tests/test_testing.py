"""``FakeTurvo`` behaves as Turvo is known to, and misbehaves on request."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests
from conftest import Clock
from wire import until

from turvo_session import TurvoAuth
from turvo_session.testing import EN_ROUTE, LOCKED_AFTER, LOCKED_FOR, FakeTurvo

KEY = {"x-api-key": FakeTurvo.api_key}
BODY = {
    "grant_type": "password",
    "client_id": "publicapi",
    "client_secret": "secret",
    "username": FakeTurvo.username,
    "password": FakeTurvo.password,
    "scope": "read+trust+write",
    "type": "business",
}
JSON = dict[str, Any]


@pytest.fixture
def wire() -> Iterator[requests.Session]:
    """Plain requests, without anything of this library's."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def timed(clock: Clock) -> Iterator[FakeTurvo]:
    """A Turvo whose time is made by hand."""
    with FakeTurvo(clock=clock) as server:
        yield server


def login(turvo: FakeTurvo, wire: requests.Session, **changed: object) -> requests.Response:
    return wire.post(f"{turvo.base_url}/oauth/token", json=BODY | changed, headers=KEY, timeout=10)


def get(turvo: FakeTurvo, wire: requests.Session, path: str = "/shipments/list", **params: object) -> JSON:
    headers = KEY | {"Authorization": f"Bearer {login(turvo, wire).json()['access_token']}"}
    answer: JSON = wire.get(f"{turvo.base_url}{path}", params=params, headers=headers, timeout=10).json()
    return answer


# The token endpoint


def test_what_it_tells_of_itself_is_enough_to_log_in(turvo: FakeTurvo) -> None:
    auth = TurvoAuth.from_env(turvo.environ)

    assert auth.base_url == turvo.base_url
    assert auth.token().access_token.startswith("3b_-")


def test_a_login_is_answered_as_turvo_answers_it(timed: FakeTurvo, wire: requests.Session) -> None:
    answer = login(timed, wire)

    fields = answer.json()
    assert answer.status_code == 200
    assert fields["access_token"].startswith("3b_-")
    assert (fields["token_type"], fields["expires_in"], fields["scope"]) == (
        "Bearer",
        43199,
        "trust read write",
    )
    assert fields["refresh_token"] != fields["access_token"]
    assert fields["linkedTenants"][0]["token"] == fields["access_token"]
    assert fields["linkedTenants"][0]["refreshToken"] == fields["refresh_token"]
    assert (timed.logins, timed.token_requests, timed.api_requests) == (1, 1, 0)


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "type"])
def test_a_token_request_must_be_complete_and_literal(
    turvo: FakeTurvo, wire: requests.Session, name: str
) -> None:
    answer = login(turvo, wire, **{name: "read trust write"})

    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
    assert turvo.logins == 0


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", BODY, json.dumps({"username": "x"}).encode()], ids=range(6)
)
def test_a_token_request_must_be_json(turvo: FakeTurvo, wire: requests.Session, data: Any) -> None:
    url = f"{turvo.base_url}/oauth/token"

    assert wire.post(url, data=data, headers=KEY, timeout=10).status_code == 400
    assert wire.get(url, headers=KEY, timeout=10).status_code == 400


@pytest.mark.parametrize("key", [{}, {"x-api-key": "another"}])
@pytest.mark.parametrize("path", ["/oauth/token", "/shipments/list"])
def test_nothing_goes_without_the_api_key(
    turvo: FakeTurvo, wire: requests.Session, key: dict[str, str], path: str
) -> None:
    answer = wire.post(f"{turvo.base_url}{path}", json=BODY, headers=key, timeout=10)

    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_a_fresh_token_at_every_login(timed: FakeTurvo, wire: requests.Session, clock: Clock) -> None:
    """Each lives its own life."""
    first = login(timed, wire).json()
    clock.sleep(42900)
    second = login(timed, wire).json()

    assert first["access_token"] != second["access_token"]
    assert (first["expires_in"], second["expires_in"]) == (43199, 43199)
    clock.sleep(300)
    assert status(timed, wire, first["access_token"]) == 401
    assert status(timed, wire, second["access_token"]) == 200


def test_the_same_token_until_it_is_over(wire: requests.Session, clock: Clock) -> None:
    """With what is left of its life, in whole seconds."""
    with FakeTurvo(policy="same", clock=clock) as turvo:
        first = login(turvo, wire).json()
        clock.sleep(42899.5)
        again = login(turvo, wire).json()
        clock.sleep(300)
        other = login(turvo, wire).json()

    assert again["access_token"] == first["access_token"] != other["access_token"]
    assert (first["expires_in"], again["expires_in"], other["expires_in"]) == (43199, 299, 43199)


def status(turvo: FakeTurvo, wire: requests.Session, token: str) -> int:
    headers = KEY | {"Authorization": f"Bearer {token}"}
    return wire.get(f"{turvo.base_url}/shipments/list", headers=headers, timeout=10).status_code


def test_ten_wrong_passwords_lock_the_account_for_a_quarter_of_an_hour(
    timed: FakeTurvo, wire: requests.Session, clock: Clock
) -> None:
    for _ in range(LOCKED_AFTER):
        answer = login(timed, wire, password="wrong")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    locked = login(timed, wire)
    clock.sleep(LOCKED_FOR - 1)
    still = login(timed, wire)
    clock.sleep(1)

    assert (locked.status_code, locked.json()["error_description"]) == (400, "User account is locked")
    assert still.status_code == 400
    assert login(timed, wire).status_code == 200


def test_a_right_password_in_between_begins_the_count_anew(turvo: FakeTurvo, wire: requests.Session) -> None:
    for _ in range(2):
        for _ in range(LOCKED_AFTER - 1):
            login(turvo, wire, password="wrong")
        assert login(turvo, wire).status_code == 200


# The API


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer nonsense", "Basic eDp5"])
def test_a_call_without_a_living_token_is_a_401_that_repeats_the_token(
    turvo: FakeTurvo, wire: requests.Session, token: str
) -> None:
    headers = KEY | {"Authorization": token}
    answer = wire.get(f"{turvo.base_url}/shipments/list", headers=headers, timeout=10)

    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_token"
    assert token.removeprefix("Bearer ") in answer.json()["error_description"]
    assert turvo.refused == 1


def test_a_page_holds_24_rows_at_most_and_tells_the_next_offset(
    turvo: FakeTurvo, wire: requests.Session
) -> None:
    pages = [get(turvo, wire, start=start, pageSize=50)["details"] for start in (0, 24, 48)]

    assert [len(page["shipments"]) for page in pages] == [24, 24, 12]
    assert [page["pagination"]["start"] for page in pages] == [24, 48, 60]
    assert [page["pagination"]["pageSize"] for page in pages] == [24, 24, 24]
    assert [page["pagination"]["moreAvailable"] for page in pages] == [True, True, False]
    assert len({row["id"] for page in pages for row in page["shipments"]}) == 60


def test_an_empty_list_lacks_its_key(turvo: FakeTurvo, wire: requests.Session) -> None:
    answer = get(turvo, wire, start=60)

    assert answer["Status"] == "SUCCESS"
    assert "shipments" not in answer["details"]


def test_lists_are_filtered(timed: FakeTurvo, wire: requests.Session) -> None:
    everything = [
        row for start in (0, 24, 48) for row in get(timed, wire, start=start)["details"]["shipments"]
    ]
    middle = sorted(row["updated"] for row in everything)[30]

    def found(**params: object) -> list[JSON]:
        pages = [get(timed, wire, **params, start=start)["details"] for start in (0, 24, 48)]
        return [row for page in pages for row in page.get("shipments", [])]

    def expected(passes: Any) -> list[JSON]:
        return [row for row in everything if passes(row)]

    en_route = expected(lambda row: row["status"]["code"]["key"] == EN_ROUTE)
    assert len(en_route) > 5
    assert found(**{"status[eq]": EN_ROUTE}) == en_route
    assert found(**{"customId[eq]": "L10007"}) == [everything[6]]
    assert found(**{"updated[gte]": middle}) == expected(lambda row: row["updated"] >= middle)
    assert found(**{"created[lte]": middle, "status[eq]": EN_ROUTE}) == [
        row for row in en_route if row["created"] <= middle
    ]
    assert found(sortBy="updated") == everything
    assert found(**{"customerId[eq]": "7000001"}) == everything
    assert found(**{"customerId[eq]": "7000002"}) == []
    soon = timed._delivery(6)  # as its detail tells
    assert everything[6] in found(**{"deliveryDate[lte]": soon, "pickupDate[lte]": everything[6]["created"]})
    assert everything[6] not in found(**{"deliveryDate[lte]": everything[6]["created"]})


@pytest.mark.parametrize(
    "query",
    [{"unknown[eq]": "x"}, {"status[in]": "2105"}, {"start": "x"}, {"pageSize": "many"}, {"start": "-5"}],
    ids=repr,
)
def test_a_query_that_is_none_is_an_error(
    turvo: FakeTurvo, wire: requests.Session, query: dict[str, str]
) -> None:
    """A mistyped filter would pass all rows; here a test finds it."""
    answer = get(turvo, wire, **query)

    assert (answer["Status"], answer["details"]["errorCode"]) == ("ERROR", "400")
    assert next(iter(query)) in answer["details"]["errorMessage"]
    assert turvo.requests[-1].status == 400


def test_a_shipment_has_what_a_list_lacks(timed: FakeTurvo, wire: requests.Session) -> None:
    """The stops with their states and times, and the driver's phone; rows marked deleted stay."""
    [listed] = get(timed, wire, **{"customId[eq]": "L10007"})["details"]["shipments"]
    detail = get(timed, wire, f"/shipments/{listed['id']}")["details"]

    assert (
        detail.items()
        >= {name: listed[name] for name in ("id", "customId", "status", "customerOrder")}.items()
    )
    assert [stop["stopType"]["key"] for stop in detail["globalRoute"]] == ["1500", "1501"]
    assert {stop["state"] for stop in detail["globalRoute"]} <= {"OPEN", "COMPLETED"}
    assert [order["deleted"] for order in detail["carrierOrder"]] == [True, False]
    assert detail["carrierOrder"][1]["drivers"][0]["phone"]["number"].startswith("555-01")


@pytest.mark.parametrize(
    "path",
    [
        *("/shipments/900000061", "/shipments/900000000", "/nothing", "/locations/1"),
        *("/shipments", "/shipments/lists", "/shipments/list/", "/shipmentsX", "/../v2/shipments/list"),
    ],
)
def test_what_there_is_not_is_an_error_of_turvos_own_kind(
    turvo: FakeTurvo, wire: requests.Session, path: str
) -> None:
    answer = get(turvo, wire, path)

    assert answer["Status"] == "ERROR"
    assert answer["details"]["errorCode"] == "404"
    assert answer["details"]["errorMessage"]


@pytest.mark.parametrize("data", [b"hello", iter([b"he", b"llo"])], ids=["whole", "chunks"])
def test_what_is_sent_arrives(turvo: FakeTurvo, wire: requests.Session, data: Any) -> None:
    headers = KEY | {"Authorization": f"Bearer {login(turvo, wire).json()['access_token']}"}
    answer = wire.post(
        f"{turvo.base_url}/shipments", params={"a": "1"}, data=data, headers=headers, timeout=10
    )

    assert answer.json() == {"Status": "SUCCESS", "details": {"received": 5}}
    seen = turvo.requests[-1]
    assert (seen.method, seen.path, seen.query, seen.body, seen.status) == (
        *("POST", "/v1/shipments", {"a": "1"}, b"hello", 200),
    )
    assert seen.headers["x-api-key"] == turvo.api_key


def test_a_head_has_no_body(turvo: FakeTurvo, wire: requests.Session) -> None:
    answer = wire.head(f"{turvo.base_url}/shipments/list", headers=KEY, timeout=10)

    assert (answer.status_code, answer.content) == (401, b"")
    assert int(answer.headers["Content-Length"]) > 0
    assert get(turvo, wire)["Status"] == "SUCCESS"


# Time and chance


def test_shipments_go_their_way(wire: requests.Session, clock: Clock) -> None:
    """In a simulated day statuses move on, in order, and each change is told by ``updated``."""
    with FakeTurvo(speed=3600, clock=clock) as turvo:
        before = rows(turvo, wire)
        clock.sleep(24)
        after = rows(turvo, wire)

    moved = [(old, new) for old, new in zip(before, after, strict=True) if old["status"] != new["status"]]
    assert len(moved) > 10
    assert all(new["updated"] > old["updated"] for old, new in moved)
    onward = [(old, new) for old, new in moved if old["created"] == new["created"]]
    assert onward
    assert all(old["status"]["code"]["key"] < new["status"]["code"]["key"] for old, new in onward)
    assert all(row["created"] <= row["updated"] for row in before + after)


def rows(turvo: FakeTurvo, wire: requests.Session) -> list[JSON]:
    pages = [get(turvo, wire, start=start)["details"] for start in (0, 24, 48)]
    return [row for page in pages for row in page["shipments"]]


def test_nothing_moves_that_has_not_changed(wire: requests.Session, clock: Clock) -> None:
    """Time passes in odd steps, and what a row tells changes with its status alone."""
    with FakeTurvo(clock=clock) as turvo:
        before = rows(turvo, wire)
        for _ in range(5):
            clock.sleep(0.0123)
            after = rows(turvo, wire)
            assert [
                row for row, old in zip(after, before, strict=True) if row["status"] == old["status"]
            ] == before


def test_every_status_of_the_way_is_met_and_told_in_full(wire: requests.Session, clock: Clock) -> None:
    """Also by the details of each."""
    with FakeTurvo(speed=3600, clock=clock) as turvo:
        met = {}
        for _ in range(6):
            clock.sleep(11)
            for row in rows(turvo, wire):
                met[row["status"]["code"]["key"]] = row["status"]["code"]["value"]
        for row in rows(turvo, wire):
            pickup, delivery = get(turvo, wire, f"/shipments/{row['id']}")["details"]["globalRoute"]
            key = row["status"]["code"]["key"]
            assert pickup["state"] == ("COMPLETED" if key >= EN_ROUTE else "OPEN")
            assert delivery["state"] == ("COMPLETED" if key > EN_ROUTE else "OPEN")
            assert (delivery["etaToStop"]["etaValue"] is None) is (key > EN_ROUTE)

    assert met == {
        "2101": "Tendered",
        "2102": "Covered",
        "2103": "Dispatched",
        "2104": "At pickup",
        "2105": "En route",
        "2106": "At delivery",
        "2107": "Delivered",
        "2112": "Completed",
    }


def test_a_seed_tells_all(wire: requests.Session) -> None:
    """The same seed and the same time: the same tokens, shipments and details. Another seed: others."""

    def story(seed: int) -> list[JSON]:
        clock = Clock()
        with FakeTurvo(seed=seed, clock=clock) as turvo:
            token = login(turvo, wire).json()
            clock.sleep(1000)
            return [token, *rows(turvo, wire), get(turvo, wire, "/shipments/900000007")]

    assert story(1) == story(1)
    assert all(one != other for one, other in zip(story(1), story(2), strict=True))


# Levers


def test_revoke_ends_every_token(turvo: FakeTurvo, wire: requests.Session) -> None:
    tokens = [login(turvo, wire).json()["access_token"] for _ in range(2)]

    turvo.revoke()

    assert [status(turvo, wire, token) for token in tokens] == [401, 401]
    assert turvo.refused == 2


def test_the_next_requests_fail_as_told_and_no_more(turvo: FakeTurvo, wire: requests.Session) -> None:
    turvo.fail_next(418, times=2, path="/list", body="tea", headers=[("X-Pot", "1")])
    turvo.fail_next(500, where="token")
    url = f"{turvo.base_url}/shipments/list"

    assert wire.get(f"{turvo.base_url}/shipments/1", timeout=10).status_code == 403
    answers = [wire.get(url, timeout=10) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [418, 418, 403]
    assert (answers[0].text, answers[0].headers["X-Pot"]) == ("tea", "1")
    assert [login(turvo, wire).status_code for _ in range(2)] == [500, 200]


def test_a_lever_that_is_none_is_an_error_at_once(turvo: FakeTurvo) -> None:
    for odd in ({"times": 0}, {"times": float("nan")}, {"body": {"Status": "ERROR"}}, {"headers": ["x"]}):
        with pytest.raises((TypeError, ValueError)):
            turvo.fail_next(503, **cast(Any, odd))
    turvo.fail_next(503, headers={"Retry-After": "1"})
    assert requests.get(turvo.base_url, timeout=10).headers["Retry-After"] == "1"


def test_levers_are_pulled_in_order_and_taken_back(turvo: FakeTurvo, wire: requests.Session) -> None:
    turvo.fail_next(500)
    turvo.throttle("junk")
    turvo.redirect_next("/v1/elsewhere", status=307)
    turvo.fail_next(503, times=float("inf"))
    url = f"{turvo.base_url}/shipments/list"

    answers = [wire.get(url, timeout=10, allow_redirects=False) for _ in range(4)]
    turvo.heal()

    assert [answer.status_code for answer in answers] == [500, 429, 307, 503]
    assert answers[1].headers["Retry-After"] == "junk"
    assert answers[2].headers["Location"] == "/v1/elsewhere"
    assert wire.get(url, timeout=10).status_code == 403


@pytest.mark.parametrize("where", ["token", "api"])
def test_a_connection_is_dropped(turvo: FakeTurvo, wire: requests.Session, where: Any) -> None:
    path = "/oauth/token" if where == "token" else "/shipments"
    turvo.drop_next(where=where)

    with pytest.raises(requests.ConnectionError):
        wire.post(f"{turvo.base_url}{path}", timeout=10)

    assert turvo.requests[-1].status == 0
    assert wire.post(f"{turvo.base_url}{path}", timeout=10).status_code == 403


def test_a_login_takes_its_time_and_others_do_not_wait_for_it(wire: requests.Session) -> None:
    """A slow login is over when the server goes."""
    with FakeTurvo(login_seconds=30) as turvo:
        slow = threading.Thread(target=quietly, args=(login, turvo), daemon=True)
        slow.start()
        assert until(lambda: turvo.token_requests)
        assert status(turvo, wire, "x") == 401
        assert slow.is_alive()
        turvo.login_seconds = 0
        assert login(turvo, wire).status_code == 200
    slow.join(10)
    assert not slow.is_alive()


def quietly(call: Any, turvo: FakeTurvo) -> None:
    with requests.Session() as session:
        session.trust_env = False
        try:
            call(turvo, session)
        except requests.RequestException:
            return


def test_it_counts_and_keeps_what_many_threads_send(turvo: FakeTurvo) -> None:
    """16 threads with 5 requests each."""

    def send() -> None:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(5):
                status(turvo, session, "x")

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert turvo.api_requests == turvo.refused == len(turvo.requests) == 80


def test_it_listens_where_told_and_leaves_nothing_behind() -> None:
    """After it its port is free and idle connections are closed."""
    with FakeTurvo() as first:
        port = port_of(first)
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        idle.sendall(b"GET /v1/shipments HTTP/1.1\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 403"
    with idle:
        while idle.recv(1000):
            pass
    with FakeTurvo(port=port) as second:
        assert port_of(second) == port


def port_of(turvo: FakeTurvo) -> int:
    return int(turvo.base_url.split(":")[2].split("/")[0])


def test_it_answers_as_slowly_as_it_is_told() -> None:
    """Slower than the caller waits; and it can be hastened again while it runs."""
    with FakeTurvo(api_seconds=30) as turvo:
        url = f"{turvo.base_url}/shipments/list"
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=(5, 0.2))
        turvo.api_seconds = 0.0
        assert requests.get(url, timeout=5).status_code == 403
