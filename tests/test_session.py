"""``TurvoSession``: paths, timeouts, retries, and lists that are paged rightly."""

from __future__ import annotations

import io
import json
import pickle
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests import PreparedRequest, Response
from wire import Arrived, Recording, Reply, Site, auth_at, ok, store_with

from turvo_session import TurvoAuth, TurvoResponseError, TurvoSession
from turvo_session.session import PAGE_CAP
from turvo_session.testing import FakeTurvo


@pytest.fixture
def session(turvo: FakeTurvo) -> Iterator[TurvoSession]:
    """One that repeats a request once: the pause before the first repetition is none."""
    with TurvoSession(TurvoAuth.from_env(turvo.environ), retries=1) as session:
        yield session


# URLs and timeouts


@pytest.mark.parametrize(
    "path",
    [
        *("shipments/list", "/shipments/list", "/v1/shipments/list", "v1/shipments/list"),
        *("/shipments/list?next=https://evil.test/", "{base}/shipments/list", b"{base}/shipments/list"),
        b"/shipments/list",
    ],
)
def test_a_path_is_joined_to_the_base_url_and_a_whole_url_is_left_alone(
    turvo: FakeTurvo, session: TurvoSession, path: str | bytes
) -> None:
    base = turvo.base_url
    url = path.replace("{base}", base) if isinstance(path, str) else path.replace(b"{base}", base.encode())

    answer = session.get(url, params={"pageSize": 3})

    assert answer.json()["details"]["pagination"]["totalRecordsInPage"] == 3
    assert answer.url.startswith(f"{base}/shipments/list?")


def test_a_path_leads_to_no_other_host(turvo: FakeTurvo, session: TurvoSession) -> None:
    assert session.get("//evil.test/x").url == f"{turvo.base_url}//evil.test/x"


def test_a_whole_url_of_another_host_gets_neither_token_nor_key(session: TurvoSession) -> None:
    with Site() as elsewhere:
        assert session.get(f"{elsewhere.url}/x").ok

    assert not elsewhere.arrived[0].headers.keys() & {"authorization", "x-api-key"}


@pytest.mark.parametrize(
    ("made_with", "called_with", "sent_with"),
    [
        ({}, {}, (3.05, 30.0)),
        ({"timeout": 7}, {}, 7),
        ({"timeout": None}, {}, None),
        ({}, {"timeout": 9}, 9),
        ({}, {"timeout": None}, None),
    ],
)
def test_every_request_has_a_timeout_unless_told(
    turvo: FakeTurvo, made_with: dict[str, Any], called_with: dict[str, Any], sent_with: object
) -> None:
    with TurvoSession(TurvoAuth.from_env(turvo.environ), **made_with) as session:
        recording = Recording()
        session.mount("http://", recording)
        session.get("/shipments/list", **called_with)

    assert recording.calls[0][1]["timeout"] == sent_with


def test_a_session_from_the_environment_also_pickles(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in turvo.environ.items():
        monkeypatch.setenv(name, value)

    with TurvoSession.from_env(timeout=5) as session, pickle.loads(pickle.dumps(session)) as other:
        assert (session.timeout, other.timeout) == (5, 5)
        assert other.get("/shipments/list").ok
        turvo.fail_next(503)
        assert other.put("/shipments/1", data=iter([b"x"])).status_code == 503
        turvo.fail_next(503)
        assert other.put("/shipments/1", data=b"x").ok


# Retries

RETRIED, OTHERS = (429, 502, 503, 504), (400, 403, 404, 500)


@pytest.mark.parametrize("status", RETRIED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_what_changes_nothing_twice_is_sent_again(
    turvo: FakeTurvo, session: TurvoSession, method: str, status: int
) -> None:
    turvo.fail_next(status)

    assert session.request(method, "/shipments/list").ok
    assert turvo.api_requests == 2


@pytest.mark.parametrize(
    ("method", "status"),
    [*(("POST", status) for status in RETRIED), *(("PATCH", 503),), *(("GET", status) for status in OTHERS)],
)
def test_what_might_be_done_twice_or_would_not_help_is_not(
    turvo: FakeTurvo, session: TurvoSession, method: str, status: int
) -> None:
    turvo.fail_next(status)

    assert session.request(method, "/shipments/list").status_code == status
    assert turvo.api_requests == 1


def test_the_last_answer_is_returned(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.fail_next(503, times=float("inf"))

    assert session.get("/shipments/list").status_code == 503
    assert turvo.api_requests == 2


def test_a_lost_connection_is_tried_again_unless_the_request_may_have_been_done(
    turvo: FakeTurvo, session: TurvoSession
) -> None:
    session.auth.token()
    turvo.drop_next()
    assert session.get("/shipments/list").ok

    turvo.drop_next()
    with pytest.raises(requests.ConnectionError):
        session.post("/shipments", json={})
    assert [seen.method for seen in turvo.requests if seen.path != "/v1/oauth/token"] == [
        "GET",
        "GET",
        "POST",
    ]


def test_the_servers_retry_after_is_waited_for(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.throttle("1")

    start = time.monotonic()
    answer = session.get("/shipments/list")

    assert answer.ok
    assert time.monotonic() - start >= 0.95


@pytest.mark.parametrize("wanted", ["31", "100000", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_long_retry_after_is_left_to_the_caller(
    turvo: FakeTurvo, session: TurvoSession, wanted: str
) -> None:
    """It gets the 429 at once, and can do something else meanwhile."""
    turvo.throttle(wanted)

    answer = session.get("/shipments/list")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, wanted)
    assert turvo.api_requests == 1


@pytest.mark.parametrize("wanted", ["soon", "1.5", "-5", "", "9" * 5000], ids=lambda wanted: wanted[:5])
def test_a_retry_after_that_is_none_is_as_good_as_none(
    turvo: FakeTurvo, session: TurvoSession, wanted: str
) -> None:
    turvo.throttle(wanted)

    assert session.get("/shipments/list").ok
    assert turvo.api_requests == 2


@pytest.mark.parametrize("timeout", [0.2, None], ids=["of the call", "of the session"])
def test_a_read_timeout_is_the_callers_at_once(turvo: FakeTurvo, timeout: float | None) -> None:
    """Four times the timeout would be none; and a prepared request has the session's as well."""
    turvo.api_seconds = 5
    with TurvoSession(TurvoAuth.from_env(turvo.environ), timeout=timeout or 0.2) as session:
        session.auth.token()
        prepared = session.prepare_request(requests.Request("GET", f"{turvo.base_url}/shipments/list"))
        options: Any = {"timeout": timeout} if timeout else {}

        with pytest.raises(requests.ReadTimeout):
            session.send(prepared, **options)
        with pytest.raises(requests.ReadTimeout):
            session.get("/shipments/list", **options)

    assert turvo.api_requests == 2


def test_a_401_is_not_among_them_but_healed_by_the_auth(turvo: FakeTurvo, session: TurvoSession) -> None:
    session.get("/shipments/list")
    turvo.revoke()

    answer = session.get("/shipments/list")

    assert answer.ok
    assert [each.status_code for each in answer.history] == [401]
    assert (turvo.logins, turvo.api_requests) == (2, 3)


@pytest.mark.parametrize("body", [b"whole", io.BytesIO(b"whole")], ids=["bytes", "file"])
def test_a_body_is_repeated_whole(turvo: FakeTurvo, session: TurvoSession, body: Any) -> None:
    turvo.fail_next(503)

    assert session.put("/shipments/1", data=body).ok
    assert [seen.body for seen in turvo.requests if seen.method == "PUT"] == [b"whole", b"whole"]


def test_a_generator_is_not_repeated_since_nothing_would_be_left_of_it(
    turvo: FakeTurvo, session: TurvoSession
) -> None:
    """Repeated, it would be an empty body that gets a 200."""
    turvo.fail_next(503)

    answer = session.put("/shipments/1", data=(part for part in (b"wh", b"ole")))

    assert answer.status_code == 503
    assert [seen.body for seen in turvo.requests if seen.method == "PUT"] == [b"whole"]


# Lists

Row = dict[str, Any]


class Pages:
    """A list of Turvo's whose pages are made by hand: by offset its rows, the next offset, whether there is more."""

    def __init__(self, pages: dict[int, tuple[list[Row] | None, object, object]]) -> None:
        self.pages = pages
        self.asked: list[dict[str, str]] = []

    def __call__(self, arrived: Arrived) -> Reply:
        query = {name: values[0] for name, values in parse_qs(urlsplit(arrived.path).query).items()}
        self.asked.append(query)
        rows, following, more = self.pages[int(query["start"])]
        details: Row = {"pagination": {"start": following, "moreAvailable": more}}
        if rows is not None:
            details["shipments"] = rows
        return ok(json.dumps({"Status": "SUCCESS", "details": details}).encode())


def read(
    pages: dict[int, tuple[list[Row] | None, object, object]], **params: Any
) -> tuple[list[Any], list[int]]:
    """The ids that ``records()`` gives, and the offsets that it asked for."""
    listed = Pages(pages)
    with (
        Site(listed, host="127.0.0.1") as site,
        TurvoSession(auth_at(site.url, store=store_with("token-1"))) as session,
    ):
        ids = [row.get("id") for row in session.records("/shipments/list", "shipments", params)]
    return ids, [int(asked["start"]) for asked in listed.asked]


def rows(*ids: int, **more: Any) -> list[Row]:
    return [{"id": each, **more} for each in ids]


def test_all_pages_of_a_list_are_read(turvo: FakeTurvo, session: TurvoSession) -> None:
    """60 shipments are three pages of 24 at most; none is lost, none comes twice, the last one too."""
    ids = [row["id"] for row in session.records("/shipments/list", "shipments")]

    assert ids == [900_000_001 + index for index in range(60)]
    assert turvo.api_requests == 3
    assert [seen.query["start"] for seen in turvo.requests if seen.query] == ["0", "24", "48"]


def test_a_page_larger_than_turvo_gives_loses_nothing(turvo: FakeTurvo, session: TurvoSession) -> None:
    """50 are asked for, 24 given: the next offset is the one that Turvo tells."""
    assert len(list(session.records("/shipments/list", "shipments", {"pageSize": 50}))) == 60


def test_filters_go_along_on_every_page(turvo: FakeTurvo, session: TurvoSession) -> None:
    found = list(session.records("/shipments/list", "shipments", {"status[eq]": "2105", "pageSize": 5}))

    assert len(found) > 5
    assert {row["status"]["code"]["key"] for row in found} == {"2105"}
    assert {seen.query["status[eq]"] for seen in turvo.requests if seen.query} == {"2105"}


def test_a_list_without_rows_lacks_the_key_and_is_empty(turvo: FakeTurvo, session: TurvoSession) -> None:
    assert list(session.records("/shipments/list", "shipments", {"customId[eq]": "none"})) == []
    assert turvo.api_requests == 1


def test_pages_are_asked_for_as_they_are_needed(turvo: FakeTurvo, session: TurvoSession) -> None:
    listed = session.records("/shipments/list", "shipments")
    assert turvo.api_requests == 0

    for _ in range(24):
        next(listed)
    assert turvo.api_requests == 1

    next(listed)
    assert turvo.api_requests == 2


@pytest.mark.parametrize(
    ("pages", "ids", "offsets"),
    [
        # a row moved to the next page meanwhile: it comes once
        ({0: (rows(1, 2), 2, True), 2: (rows(2, 3), 4, False)}, [1, 2, 3], [0, 2]),
        # marked deleted: left out, and a page of nothing else is not the end
        ({0: (rows(1, 2, deleted=True), 2, True), 2: (rows(3), 3, False)}, [3], [0, 2]),
        # deleted when first seen: not told of later either
        ({0: (rows(1, deleted=True), 1, True), 1: (rows(1, 2), 3, False)}, [2], [0, 1]),
        # an offset that does not move on, or lacks, or is odd: as many rows on as there were
        ({0: (rows(1, 2), 0, True), 2: (rows(3), 2, False)}, [1, 2, 3], [0, 2]),
        ({0: (rows(1, 2), None, True), 2: (rows(3), 3, False)}, [1, 2, 3], [0, 2]),
        ({0: (rows(1, 2), "2", True), 2: (rows(3), 3, False)}, [1, 2, 3], [0, 2]),
        # an offset further on than the rows are many: Turvo's word counts
        ({0: (rows(1, 2), 24, True), 24: (rows(3), 25, False)}, [1, 2, 3], [0, 24]),
        # an empty page is the end, whatever is promised
        ({0: (rows(1), 1, True), 1: ([], 1, True)}, [1], [0, 1]),
        ({0: (rows(1), 1, True), 1: (None, 1, True)}, [1], [0, 1]),
        # no word of more is the end
        ({0: (rows(1), 1, None)}, [1], [0]),
        # a row without an id cannot be one that was seen
        ({0: ([{"x": 1}, {"x": 2}], 2, False)}, [None, None], [0]),
    ],
)
def test_each_row_comes_once_whatever_the_pages_do(
    pages: dict[int, Any], ids: list[int], offsets: list[int]
) -> None:
    assert read(pages) == (ids, offsets)


@pytest.mark.parametrize("start", [24, "24"])
def test_a_list_may_be_read_from_an_offset(start: object) -> None:
    assert read({24: (rows(1), 24, True), 25: (rows(2), 26, False)}, start=start) == ([1, 2], [24, 25])


class Endless(TurvoSession):
    """Turvo has one more page for it, always; ten thousand real requests would take too long."""

    pages = 0

    def get(self, url: str | bytes, **options: Any) -> Response:
        self.pages += 1
        page = {"pagination": {"start": self.pages, "moreAvailable": True}, "shipments": rows(self.pages)}
        response = Response()
        response.status_code, response.url, response.request = 200, str(url), PreparedRequest()
        response._content = json.dumps({"Status": "SUCCESS", "details": page}).encode()
        return response


def test_a_list_without_end_is_an_error_and_no_endless_loop() -> None:
    with Endless(auth_at("https://publicapi.turvo.com")) as session:
        listed = session.records("/shipments/list", "shipments")

        assert [next(listed)["id"] for _ in range(PAGE_CAP)] == list(range(1, PAGE_CAP + 1))
        with pytest.raises(TurvoResponseError, match="no end after 10000 pages"):
            next(listed)
    assert session.pages == PAGE_CAP


# Answers that are none


def turvo_says(status: str, **details: object) -> bytes:
    return json.dumps({"Status": status, "details": details}).encode()


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (200, turvo_says("ERROR", errorMessage="Invalid filter", errorCode="400"), "400", "Invalid filter"),
        (200, turvo_says("WARNING", errorMessage="Careful"), "200", "Careful"),
        (200, turvo_says("success"), "200", "no errorMessage"),
        (200, b'{"Status": "ERROR"}', "200", "no errorMessage"),
        (200, b'{"Status": "ERROR", "details": ["x"]}', "200", "no errorMessage"),
        (
            404,
            turvo_says("ERROR", errorMessage="Shipment not found", errorCode=404),
            "404",
            "Shipment not found",
        ),
        (500, turvo_says("SUCCESS"), "500", "no errorMessage"),
    ],
)
def test_what_turvo_says_is_told(
    turvo: FakeTurvo, session: TurvoSession, status: int, body: bytes, code: str, message: str
) -> None:
    """A 200 may be an error: the ``Status`` in its body counts."""
    turvo.fail_next(status, body=body)

    with pytest.raises(TurvoResponseError) as caught:
        list(session.records("/shipments/list", "shipments"))

    assert (caught.value.code, caught.value.message) == (code, message)
    assert message in str(caught.value)
    assert f"GET {turvo.base_url}/shipments/list" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'"SUCCESS"', b'{"details": {}}', b"\xff\xfe", b"[" * 100_000],
    ids=range(8),
)
def test_what_is_no_turvo_answer_is_an_error_in_any_case(
    turvo: FakeTurvo, session: TurvoSession, body: bytes
) -> None:
    turvo.fail_next(200, body=body)
    with pytest.raises(TurvoResponseError, match="no Turvo answer") as caught:
        list(session.records("/shipments/list", "shipments"))
    assert caught.value.code == "200"

    turvo.fail_next(403, body=body)
    with pytest.raises(requests.HTTPError) as refused:
        list(session.records("/shipments/list", "shipments"))
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("path", "key", "there"),
    [
        ("/shipments/list", "shipment", "'shipments'"),
        ("/shipments/900000001", "shipments", "'customerOrder', 'carrierOrder', 'globalRoute'"),
    ],
)
def test_a_list_of_another_name_is_an_error_and_not_an_empty_one(
    session: TurvoSession, path: str, key: str, there: str
) -> None:
    with pytest.raises(
        TurvoResponseError, match=f"{path}: there is no list '{key}', but: {there}$"
    ) as caught:
        list(session.records(path, key))
    assert caught.value.code == "key"


def test_paging_that_is_none_is_an_error(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.fail_next(200, body=turvo_says("SUCCESS", shipments=[], pagination=["more"]))

    with pytest.raises(TurvoResponseError, match="'pagination'"):
        list(session.records("/shipments/list", "shipments"))


@pytest.mark.parametrize(
    "value",
    [
        '{"a": {}}',
        '"text"',
        "5",
        "true",
        "[1]",
        "[null]",
        '[{"id": 1}, "x"]',
        '[{"id": [1]}]',
        '[{"id": {}}]',
    ],
)
def test_what_is_no_list_of_records_is_an_error(turvo: FakeTurvo, session: TurvoSession, value: str) -> None:
    turvo.fail_next(200, body=f'{{"Status": "SUCCESS", "details": {{"shipments": {value}}}}}')

    with pytest.raises(TurvoResponseError, match="no list of records"):
        list(session.records("/shipments/list", "shipments"))


@pytest.mark.parametrize("details", ["null", "[]", "{}", '{"shipments": null, "pagination": null}'])
def test_a_success_without_rows_is_an_empty_list(
    turvo: FakeTurvo, session: TurvoSession, details: str
) -> None:
    turvo.fail_next(200, body=f'{{"Status": "SUCCESS", "details": {details}}}')

    assert list(session.records("/shipments/list", "shipments")) == []


def test_the_token_is_left_out_of_what_turvo_says(turvo: FakeTurvo, session: TurvoSession) -> None:
    secret = session.auth.token().access_token
    turvo.fail_next(400, body=turvo_says("ERROR", errorMessage=f"token {secret} may not", errorCode=secret))

    with pytest.raises(TurvoResponseError) as caught:
        list(session.records("/shipments/list", "shipments"))

    assert (caught.value.message, caught.value.code) == ("token *** may not", "***")
    assert secret not in str(caught.value)


def test_the_key_is_left_out_too(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.fail_next(403, body=turvo_says("ERROR", errorMessage=f"API key {turvo.api_key} is not enabled"))

    with pytest.raises(TurvoResponseError, match=r"API key \*\*\* is not enabled"):
        list(session.records("/shipments/list", "shipments"))


def test_a_list_of_another_host_is_read_without_a_token(session: TurvoSession) -> None:
    with (
        Site(lambda _: Reply(200, turvo_says("ERROR", errorMessage="no"))) as elsewhere,
        pytest.raises(TurvoResponseError, match="no"),
    ):
        list(session.records(f"{elsewhere.url}/list", "shipments"))
    assert "authorization" not in elsewhere.arrived[0].headers
