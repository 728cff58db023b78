"""``FakeTurvo`` behaves as Turvo is known to, and fails on request."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.support.clock import Clock
from tests.support.turvo_requests import JUNK, LIST, STATUS, UNDOCUMENTED
from tests.support.turvo_shapes import FILTERED, OWN
from tests.support.turvo_wire import KEY, TOKEN_REQUEST, Wire
from turvo_session.testing import EN_ROUTE, LOCKED_AFTER, LOCKED_FOR, FakeTurvo
from turvo_session.testing.lists import FILTERS

NAN, INF = float("nan"), float("inf")
DAY = datetime(2026, 1, 2, 22, 24, 31, tzinfo=UTC)
ANY: Any = FakeTurvo
TOKEN = "/v1/oauth/token"
DONE, OPEN = "COMPLETED", ["OPEN", "OPEN"]
DEAD = {"": "", "Bearer": "Bearer", "Bearer junk": "junk", "Basic eDp5": "Basic eDp5"}
LATER = ("base_url", "environ")
"""What there is only inside a ``with`` statement."""


def port_of(turvo: FakeTurvo) -> int:
    return int(turvo.base_url.split(":")[2].split("/")[0])


@pytest.fixture
def turvo(clock: Clock) -> Iterator[FakeTurvo]:
    """Run a Turvo whose time is made by hand, at a fixed date."""
    with FakeTurvo(clock=clock, now=DAY) as server:
        yield server


@pytest.fixture
def wire(turvo: FakeTurvo) -> Wire:
    return Wire(turvo)


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        *((lambda _, name=name: getattr(ANY(), name), "with Fake") for name in LATER),
        (lambda _: ANY(policy="fresch"), "policy must be"),
        (lambda turvo: setattr(turvo, "policy", "revok"), "or 'revoke'"),
        (lambda turvo: setattr(turvo, "token_life", -1), "token_life must be"),
        (lambda _: ANY(login_seconds="1"), "login_seconds must be"),
        (lambda _: ANY(speed=NAN), "speed must be"),
        (lambda _: ANY(clock=5), "clock must be a callable"),
        (lambda _: ANY(port=65536), "port must be a whole number, 0 to 65535"),
        *((lambda _, n=n: ANY(shipments=n), "shipments must") for n in (-1, True, 1.5)),
        (lambda _: ANY(shipments=[{"id": 9}, {"id": "9"}]), "have the id 9"),
        (lambda _: ANY(shipments=[{"customId": "A"}] * 2), "have the customId A"),
        (lambda _: ANY(now=DAY.replace(tzinfo=None)), "time zone"),
        (lambda _: ANY(now="2026-01-01"), "time zone"),
        (lambda _: ANY(shipments=[["id", 1]]), "must be a dict"),
        *(
            (lambda turvo, n=n: turvo.advance(n), "seconds must")
            for n in (-1, INF, NAN)
        ),
        (lambda turvo: turvo.answer("orders", 1), "path must begin"),
        (lambda turvo: turvo.answer("/orders?a=1", 1), "without a query"),
        (lambda turvo: turvo.answer("/orders", 1, method="GTE"), "method must be"),
        (lambda turvo: turvo.answer("/orders", 1, status=99), "status must be"),
        (lambda turvo: turvo.answer("/oauth/token", 1), "use fail_next"),
        (lambda turvo: turvo.answer("/orders", {1j}), "JSON serializable"),
        (lambda turvo: turvo.fail_next(503, times=0), "times must be"),
        (lambda turvo: turvo.fail_next(503, times=NAN), "times must be"),
        *(
            (lambda turvo, n=n: turvo.fail_next(n), "status must")
            for n in ("500", 99999)
        ),
        (lambda turvo: turvo.fail_next(503, path="/list?a=1"), "without a query"),
        (lambda turvo: turvo.fail_next(503, where="tokens"), "where must be"),
        (lambda turvo: turvo.fail_next(503, body={"a": 1}), "str"),
        (lambda turvo: turvo.fail_next(503, headers=["x"]), "unpack"),
    ],
)
def test_what_makes_no_sense_is_an_error_at_once(
    turvo: FakeTurvo, mistake: Callable[[Any], object], problem: str
) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError), match=problem):
        mistake(turvo)


def test_it_frees_its_port_and_closes_idle_connections() -> None:
    with FakeTurvo() as first:
        port = port_of(first)
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        idle.sendall(b"GET /v1/shipments HTTP/1.1\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 403"
    with idle:
        assert b"".join(iter(lambda: idle.recv(1000), b"")).endswith(b"}")
    with FakeTurvo(port=port) as second:
        assert port_of(second) == port


def test_a_login_is_answered_as_turvo_answers_it(turvo: FakeTurvo, wire: Wire) -> None:
    answer = wire.log_in().json()
    told = [answer[name] for name in ("token_type", "expires_in", "scope")]
    assert told == ["Bearer", 43199, "trust read write"]
    tenant = answer["linkedTenants"][0]
    assert tenant["token"] == answer["access_token"]
    assert tenant["refreshToken"] == answer["refresh_token"] != tenant["token"]
    assert (turvo.logins, turvo.token_requests, turvo.api_requests) == (1, 1, 0)


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"json": TOKEN_REQUEST | {name: "read trust write"}}
            for name in ("grant_type", "client_id", "client_secret", "scope", "type")
        ),
        *({"data": body} for body in (b"", b"{", b"[]", b"[" * 100_000)),
        *({"data": TOKEN_REQUEST}, {"json": TOKEN_REQUEST, "method": "PUT"}),
    ],
    ids=lambda options: str(options)[:60],
)
def test_a_token_request_must_be_complete_json(wire: Wire, options: Any) -> None:
    answer = wire.send(path="/v1/oauth/token", **{"method": "POST", **options})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


@pytest.mark.parametrize(
    ("path", "headers", "status", "told"),
    [
        *((path, {}, 403, "Forbidden") for path in (TOKEN, f"/v1{LIST}")),
        (TOKEN, {"x-api-key": "another"}, 403, "Forbidden"),
        *(
            (f"/v1{LIST}", KEY | {"Authorization": header}, 401, f"expired: {token}")
            for header, token in DEAD.items()
        ),
    ],
)
def test_nothing_is_answered_without_the_api_key_and_a_living_token(
    wire: Wire, path: str, headers: dict[str, str], status: int, told: str
) -> None:
    """A 401 repeats the token."""
    answer = wire.send("POST", path, json=TOKEN_REQUEST, headers=headers)
    assert answer.status_code == status
    assert answer.text.count(told) == 1
    assert wire.turvo.refused == (status == 401)


@pytest.mark.parametrize(
    ("policy", "is_new", "first_lives", "life"),
    [
        ("fresh", True, True, 43199),
        ("same", False, True, 99),
        ("revoke", True, False, 43199),
    ],
)
def test_a_login_beside_a_living_token_follows_the_policy(
    wire: Wire, clock: Clock, policy: Any, is_new: bool, first_lives: bool, life: int
) -> None:
    def serves(token: str) -> bool:
        return wire.call(LIST, token=token).status_code == 200

    wire.turvo.policy = policy
    first = wire.token()
    clock.sleep(43099.5)
    answer = wire.log_in().json()
    second = answer["access_token"]
    assert (second != first, answer["expires_in"]) == (is_new, life)
    assert serves(first) is first_lives and serves(second)
    clock.sleep(life + 0.5)
    assert not serves(second)
    third = wire.token()
    wire.turvo.revoke()
    assert not serves(third) and wire.token() not in (first, second, third)


def test_ten_wrong_passwords_lock_the_account(wire: Wire, clock: Clock) -> None:
    for _ in range(2):
        for _ in range(LOCKED_AFTER - 1):
            assert wire.log_in(password="wrong").json()["error"] == "invalid_grant"
        assert wire.log_in().ok  # the count begins again
    for _ in range(LOCKED_AFTER):
        wire.log_in(password="wrong")
    assert wire.log_in().json()["error_description"] == "User account is locked"
    clock.sleep(LOCKED_FOR - 1)
    assert wire.log_in().status_code == 400
    clock.sleep(1)
    assert wire.log_in().ok


def test_each_documented_filter_passes_what_it_names() -> None:
    documented = {f"{name}[{how}]" for name, hows in FILTERS.items() for how in hows}
    assert {row[0] for row in FILTERED} == documented
    with FakeTurvo(shipments=[OWN], now=DAY) as turvo:
        found = {
            name: [len(Wire(turvo).rows(**{name: value})) for value in values]
            for name, *values in FILTERED
        }
    assert found == {row[0]: [1, 0] for row in FILTERED}


def test_rows_are_sorted_on_request(wire: Wire) -> None:
    rows = wire.rows()
    by_date = sorted(rows, key=lambda row: str(row["updated"]))
    assert wire.rows(sortBy="updated") == by_date != rows
    assert wire.rows(sortBy="-updated") == by_date[::-1]


@pytest.mark.parametrize("identity", ["900000007", "L10007"])
def test_details_have_what_a_list_lacks(wire: Wire, identity: str) -> None:
    [row] = wire.rows(**{"customId[eq]": "L10007"})
    details = wire.details(f"/shipments/{identity}")
    for name in ("id", "customId", "status", "created", "updated"):
        assert details[name] == row[name]
    stops = [stop["stopType"]["key"] for stop in details["globalRoute"]]
    assert stops == ["1500", "1501"] and "globalRoute" not in row
    deleted, carrier_order = details["carrierOrder"]
    assert (deleted["deleted"], carrier_order["deleted"]) == (True, False)
    assert carrier_order["drivers"][0]["phone"]["number"].startswith("555-01")
    assert "drivers" not in row["carrierOrder"][1]
    assert details["customerOrder"][0]["route"][1]["address"]["zip"].isdecimal()


@pytest.mark.parametrize(
    ("method", "path", "data", "told"), UNDOCUMENTED, ids=lambda part: str(part)[:40]
)
def test_what_turvo_does_not_document_is_an_error_in_its_form(
    wire: Wire, method: str, path: str, data: str, told: str
) -> None:
    """Turvo may ignore a misspelt filter, and pass all rows; here a test finds it."""
    response = wire.call(path, method, data=data)
    answer = response.json()
    assert answer["Status"] == "ERROR"
    assert answer["details"]["errorCode"] == str(response.status_code)
    assert told in f"{answer['details']} {response.status_code}"
    assert wire.turvo.requests[-1].status == response.status_code


@pytest.mark.parametrize(("junk", "status"), JUNK)
def test_junk_is_answered(turvo: FakeTurvo, junk: bytes, status: bytes) -> None:
    address = ("127.0.0.1", port_of(turvo))
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert (status in answer, answer.count(b"HTTP/1.1 ")) == (True, 1)


def test_an_error_in_what_a_test_replaces_is_seen_by_the_client(wire: Wire) -> None:
    wire.turvo._routed = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
    answer = wire.send("GET", "/v1/shipments/list")
    assert (answer.status_code, "ZeroDivisionError: " in answer.text) == (500, True)


def test_turvos_other_lists_have_rows(wire: Wire) -> None:
    keys = ("carriers", "contacts", "customers", "documents", "locations")
    paths = {key: f"/{key}/list" for key in keys}
    for key, path in (*paths.items(), ("accounts", "/v2/accounts/parent/list")):
        details = wire.details(path)
        assert details[key][0].keys() == {"id", "name"}
        assert details["pagination"]["moreAvailable"] is False


@pytest.mark.parametrize("path", ["/shipments", "/v2/documents/upload-via-urls"])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_what_is_sent_arrives(wire: Wire, in_chunks: bool, path: str) -> None:
    data = iter([b"he", b"llo"]) if in_chunks else b"hello"
    answer = wire.call(path, "POST", params={"a": "1"}, data=data)
    assert answer.json() == {"Status": "SUCCESS", "details": {"received": 5}}
    seen = wire.turvo.requests[-1]
    assert (seen.method, seen.query, seen.body) == ("POST", {"a": "1"}, b"hello")
    assert seen.headers["x-api-key"] == wire.turvo.api_key
    head = wire.call(LIST, "HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_shipments_go_their_way_and_nothing_else_changes() -> None:
    clock, met = Clock(), set()
    with FakeTurvo(shipments=20, clock=clock, now=DAY) as turvo:
        wire = Wire(turvo)
        before = wire.details(LIST)["shipments"]
        for _ in range(60):
            clock.sleep(3600 * 2.3)
            after = wire.details(LIST)["shipments"]
            for old, new in zip(before, after, strict=True):
                key, old_key = (row["status"]["code"]["key"] for row in (new, old))
                assert new["updated"] > old["updated"] or new == old
                assert key >= old_key or new["created"] > old["created"]
                met.add(key)
            before = after
        for row in before:
            key = row["status"]["code"]["key"]
            pickup, delivery = wire.details(f"/shipments/{row['id']}")["globalRoute"]
            assert (pickup["state"] == "COMPLETED") is (key >= EN_ROUTE)
            assert (delivery["state"] == "COMPLETED") is (key > EN_ROUTE)
            assert (delivery["etaToStop"]["etaValue"] is None) is (key > EN_ROUTE)
    way = {"2101", "2102", "2103", "2104", EN_ROUTE, "2106", "2107", "2112"}
    assert met == way


def test_the_same_seed_and_day_give_the_same() -> None:
    def story(seed: int) -> list[Any]:
        with FakeTurvo(seed=seed, clock=Clock(), now=DAY) as turvo:
            wire = Wire(turvo)
            return [wire.token(), *wire.rows(), wire.details("/shipments/L10007")]

    assert story(1) == story(1)
    assert all(one != other for one, other in zip(story(1), story(2), strict=True))


@pytest.mark.parametrize("hour", [None, 0, 6, 12, 18, 23])
def test_something_is_to_be_delivered_today_at_any_hour(hour: int | None) -> None:
    now = None if hour is None else datetime(2026, 11, 25, hour, 59, tzinfo=UTC)
    today = (now or datetime.now(UTC)).strftime("%Y-%m-%dT")
    due = {"deliveryDate[gte]": f"{today}00", "deliveryDate[lte]": f"{today}24"}
    with FakeTurvo(now=now) as turvo:
        assert Wire(turvo).rows(**{"status[eq]": EN_ROUTE}, **due)


def test_a_moved_clock_moves_tokens_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    real_time, real_clock = time.time, time.monotonic
    with FakeTurvo() as turvo:
        wire = Wire(turvo)
        token, before = wire.token(), wire.rows()
        monkeypatch.setattr(time, "time", lambda: real_time() + 86400)
        assert wire.rows() != before
        assert wire.call(LIST, token=token).ok
        monkeypatch.setattr(time, "monotonic", lambda: real_clock() + 86400)
        assert wire.call(LIST, token=token).status_code == 401


def test_the_present_of_the_shipments_can_be_a_callable() -> None:
    """It gives the date; ``advance`` comes on top, times ``speed``, and ends tokens."""
    present = DAY
    with FakeTurvo(now=lambda: present, speed=60) as turvo:
        wire = Wire(turvo)
        token, first = wire.token(), wire.rows()
        turvo.advance(24 * 60)
        assert wire.rows() != first
        present -= timedelta(hours=24)
        assert wire.rows() == first
        assert wire.call(LIST, token=token).ok
        turvo.advance(43199 - 24 * 60)
        assert wire.call(LIST, token=token).status_code == 401


def test_own_shipments_are_completed_and_stay_as_they_are() -> None:
    odd = {"id": 9, "customerOrder": None, "carrierOrder": [7]}
    with FakeTurvo(shipments=iter([{"customId": "A1"}, OWN, odd]), now=DAY) as turvo:
        wire = Wire(turvo)
        rows = wire.rows()
        turvo.advance(10**6)
        assert wire.rows() == rows
        assert [row["customId"] for row in rows] == ["A1", "EXAMPLE-5", "L10003"]
        assert rows[0]["status"]["code"]["value"] == "En route"
        assert (rows[2]["customerOrder"], rows[2]["carrierOrder"]) == (None, [7])


PICKUP, DELIVERY = ({"stopType": {"value": kind}} for kind in ("Pickup", "Delivery"))


@pytest.mark.parametrize(
    ("status", "told", "states"),
    [
        ({"key": "2107"}, {"key": "2107", "value": "Delivered"}, [DONE, DONE]),
        ({"value": "Picked up"}, {"key": "2115", "value": "Picked up"}, [DONE, "OPEN"]),
        ({"key": "2101", "value": "Mine"}, {"key": "2101", "value": "Mine"}, OPEN),
        ({"key": "9999"}, {"key": "9999"}, OPEN),
    ],
)
def test_what_a_record_leaves_out_is_believable(
    status: Any, told: Any, states: list[str]
) -> None:
    """At every depth. What it says stays as it is, also where it is odd."""
    stop = {**DELIVERY, "address": {"city": "Reno"}, "name": None}
    drivers = [{"phone": {"number": "1"}}, {"phone": None, "context": {"phones": []}}]
    orders = [{"drivers": drivers}, {"carrier": {"name": "Mine"}}, {"deleted": True}]
    given = {"status": {"code": status}, "globalRoute": [PICKUP, stop, 7, {}]}
    with FakeTurvo(shipments=[given | {"carrierOrder": orders}], now=DAY) as turvo:
        wire = Wire(turvo)
        details = wire.details("/shipments/L10001")
        [row] = wire.rows()
    assert row["status"] == details["status"] == {"code": told}
    pickup, delivery, odd, other = details["globalRoute"]
    assert [pickup["state"], delivery["state"], odd] == [*states, 7]
    assert pickup["stopType"] == PICKUP["stopType"]  # Turvo leaves out some keys
    assert pickup["appointment"]["date"] < delivery["appointment"]["date"]
    assert delivery["address"].keys() == pickup["address"].keys() > {"city"}
    assert (delivery["address"]["city"], delivery["name"]) == ("Reno", None)
    assert other["stopType"]["value"] == "Delivery"
    first, second, deleted = details["carrierOrder"]
    assert len({first["id"], second["id"], deleted["id"]}) == 3
    assert first["carrier"].keys() == second["carrier"].keys() == {"id", "name"}
    assert second["carrier"]["name"] == "Mine" and second["drivers"][0]["phone"]
    assert deleted["drivers"][0]["deleted"] is True
    assert first["drivers"][0]["phone"]["isPrimary"] is True
    assert first["drivers"][1]["phone"] is None
    assert first["drivers"][1]["context"]["phones"] == []


@pytest.mark.parametrize(
    "path", [STATUS, "/shipments/900000007/status", "/shipments/900000007"]
)
def test_a_status_that_is_set_stays(wire: Wire, path: str) -> None:
    def row() -> Any:
        [found] = wire.rows(**{"customId[eq]": "L10007"})
        return found

    before = row()
    assert wire.call(path, "PUT", json={}).json()["details"]["id"] == before["id"]
    assert row() == before
    for key, value, states in (
        ("2107", "Delivered", [DONE, DONE]),
        (EN_ROUTE, "En route", [DONE, "OPEN"]),
        ("2113", "Canceled", ["OPEN", "OPEN"]),
    ):
        answer = wire.call(path, "PUT", json={"status": {"code": {"key": key}}}).json()
        wire.turvo.advance(10**6)
        assert answer["details"]["status"] == row()["status"]
        assert row()["status"] == {"code": {"key": key, "value": value}}
        stops = answer["details"]["globalRoute"]
        assert [stop["state"] for stop in stops] == states
        for stop in stops:
            assert bool(stop["etaToStop"]["etaValue"]) is (stop["state"] == "OPEN")
    assert before["updated"] < row()["updated"] == row()["lastUpdatedOn"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_a_request_changes_stays_changed(wire: Wire, method: str) -> None:
    """Objects field by field, lists as a whole."""
    before = wire.details("/shipments/L10007")
    change = {"customId": "MINE", "notes": {"a": 1}, "globalRoute": None}
    assert wire.call("/shipments/L10007", method, json=change).ok
    assert wire.call("/shipments/MINE", method, json={"notes": {"b": 2}}).ok
    status = {"status": {"code": {"key": "2107"}}}
    assert wire.call("/shipments/MINE", method, json=status).ok
    wire.turvo.advance(10**6)
    after = wire.details(f"/shipments/{before['id']}")
    assert (after["customId"], after["notes"]) == ("MINE", {"a": 1, "b": 2})
    assert (after["globalRoute"], after["carrierOrder"]) == (
        None,
        before["carrierOrder"],
    )
    [row] = wire.rows(**{"customId[eq]": "MINE"})
    assert row["notes"] == after["notes"] and row["status"] == after["status"]


def test_an_own_answer_is_given_for_its_path_and_method(wire: Wire) -> None:
    headers = {"X-Made-By": "me"}
    wire.turvo.answer("/orders/1", {"any": "method"})
    wire.turvo.answer("/orders/1", [1], method="post", status=201, headers=headers)
    wire.turvo.answer("/v2/orders/1", None)
    assert wire.call("/orders/1").json() == {"any": "method"}
    posted = wire.call("/orders/1", "POST")
    assert (posted.status_code, posted.json()) == (201, [1])
    assert posted.headers["X-Made-By"] == "me"
    assert wire.call("/v2/orders/1").json() is None
    assert wire.call("/orders/1", token="x").status_code == 401
    wire.turvo.answer("/orders/a b", "found")
    assert wire.call("/orders/a b").json() == "found"


def test_levers_fire_in_order_where_and_as_often_as_told(wire: Wire) -> None:
    turvo = wire.turvo
    turvo.fail_next(418, times=2, path="/list", body="tea", headers={"X-Pot": "1"})
    turvo.throttle("junk")
    turvo.redirect_next("/v1/elsewhere", status=307)
    turvo.fail_next(500, where="token")
    turvo.fail_next(503, times=float("inf"), headers=[("A", "1"), ("A", "2")])
    assert wire.send("GET", "/v1/x").headers["Retry-After"] == "junk"
    answers = [wire.send("GET", "/v1/shipments/list") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [418, 418, 307, 503]
    assert (answers[0].text, answers[0].headers["X-Pot"]) == ("tea", "1")
    assert answers[2].headers["Location"] == "/v1/elsewhere"
    assert answers[3].headers["A"] == "1, 2"
    assert [wire.log_in().status_code for _ in range(2)] == [500, 200]
    turvo.heal()
    assert wire.send("GET", "/v1/x").status_code == 401


def test_a_lever_that_never_fired_fails_the_test(wire: Wire) -> None:
    wire.turvo.fail_next(500, path="/shipment/list")
    wire.turvo.fail_next(500, times=3)
    wire.send("GET", "/v1/x")
    with pytest.raises(AssertionError, match=r"met: api /shipment/list\Z"):
        wire.turvo.assert_levers_fired()
    wire.turvo.heal()
    wire.turvo.answer("/orders/1", 1, method="get")
    wire.turvo.answer("/orders/2", 2)
    wire.call("/orders/2")
    with pytest.raises(AssertionError, match=r"answers .* met: GET /v1/orders/1\Z"):
        wire.turvo.assert_levers_fired()
    wire.call("/orders/1")
    wire.turvo.assert_levers_fired()


@pytest.mark.parametrize("where", ["token", "api"])
def test_a_connection_is_dropped(wire: Wire, where: Any) -> None:
    path = "/v1/oauth/token" if where == "token" else "/v1/shipments"
    wire.turvo.drop_next(where=where)
    with pytest.raises(requests.ConnectionError):
        wire.send("POST", path, headers={})
    assert wire.turvo.requests[-1].status == 0
    assert wire.send("POST", path, headers={}).status_code == 403


def test_a_slow_login_holds_up_nobody_and_ends_with_the_server() -> None:
    with ThreadPoolExecutor() as pool, suppress(requests.RequestException):
        with FakeTurvo(login_seconds=60) as turvo:
            slow = pool.submit(Wire(turvo).log_in)
            while not turvo.token_requests:
                threading.Event().wait(0.01)
            assert Wire(turvo).call("/shipments/list", token="x").status_code == 401
            turvo.login_seconds = 0
            assert Wire(turvo).log_in().ok
            assert not slow.done()
        slow.result(10)
