"""``TurvoSession``: URLs, timeouts, retries, Turvo's envelope, and its lists."""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Iterator
from itertools import islice, product
from traceback import walk_tb
from typing import Any

import pytest
import requests
from requests.exceptions import MissingSchema

from tests.support.answering import (
    BASE,
    SECRET,
    Pages,
    Row,
    answered,
    envelope,
    error_of,
    listed,
    rows,
)
from tests.support.wire import Site, auth_at
from turvo_session import SettingsError, TurvoAuth, TurvoResponseError, TurvoSession
from turvo_session.testing import FakeTurvo


@pytest.fixture
def session(turvo: FakeTurvo) -> Iterator[TurvoSession]:
    """A session that repeats a request once, which needs no pause."""
    with TurvoSession(TurvoAuth.from_env(turvo.environ), retries=1) as session:
        yield session


@pytest.mark.parametrize(
    ("auth", "given"),
    [
        ([], "nothing"),
        ([TurvoAuth], "the class TurvoAuth"),
        ([TurvoAuth.from_env], "a method"),
        ([("user", "pass-word")], "a tuple"),
    ],
)
def test_without_a_turvo_auth_there_is_no_session(auth: list[Any], given: str) -> None:
    text = f"^TurvoSession needs a TurvoAuth, such as .*; got {given}$"
    with pytest.raises(SettingsError, match=text):
        TurvoSession(*auth)
    session, _ = answered()
    session.auth = next(iter(auth), None)
    with pytest.raises(SettingsError, match=text):
        session.get("/shipments/list")
    session.auth = None  # type: ignore[assignment]
    assert session.get("https://elsewhere.example/").ok


def test_a_session_from_the_environment_can_be_pickled(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in turvo.environ.items():
        monkeypatch.setenv(name, value)
    session = TurvoSession.from_env(timeout=5, retries=1)
    with session, pickle.loads(pickle.dumps(session)) as other:
        assert other.timeout == 5
        turvo.fail_next(503)
        assert other.put("/shipments/L10001", json={}).ok


def test_all_origins_share_pools(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.fail_next(503)
    assert session.put("/shipments/1", data=iter([b"x"])).status_code == 503
    assert session.get("/shipments/list").ok
    adapter: Any = session.get_adapter(BASE)
    assert adapter is session.get_adapter(turvo.base_url)
    session.close()
    assert not [*adapter.poolmanager.pools.keys()]
    assert not [*adapter._once.poolmanager.pools.keys()]


def test_from_env_takes_options_of_session_and_auth(turvo: FakeTurvo) -> None:
    environ = {**turvo.environ, "TURVO_USERNAME": "wrong"}
    options: Any = {"username": turvo.username, "timeout": 5}
    with TurvoSession.from_env(environ, **options) as session:
        assert session.get("/shipments/list").ok
        assert session.timeout == 5
    with pytest.raises(SettingsError, match=r"'timeuot' \(did you mean 'timeout'"):
        TurvoSession.from_env(turvo.environ, **{"timeuot": 5})  # type: ignore[arg-type]


LOCAL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("base_url", "given", "sent"),
    [
        (BASE, "/shipments/list", f"{BASE}/shipments/list"),
        (BASE, b"shipments/list", f"{BASE}/shipments/list"),
        (BASE, "/v1/shipments/list", f"{BASE}/shipments/list"),
        (BASE, "/shipments?next=http://x/", f"{BASE}/shipments?next=http://x/"),
        (BASE, "V2", "https://publicapi.turvo.com/V2"),
        (BASE, "/v2x/accounts", f"{BASE}/v2x/accounts"),
        (BASE, "///evil.example/x", f"{BASE}///evil.example/x"),
        ("https://gw.example/turvo", "/v2/a", "https://gw.example/turvo/v2/a"),
        (BASE, "https://elsewhere.example/x", "https://elsewhere.example/x"),
    ],
)
def test_a_path_is_joined_to_the_base_url_and_a_whole_url_is_left_alone(
    base_url: str, given: str | bytes, sent: str
) -> None:
    session, adapter = answered(base_url=base_url)
    session.get(given)
    [(request, _)] = adapter.sent
    assert request.url == sent
    assert ("Authorization" in request.headers) is ("elsewhere" not in sent)


@pytest.mark.parametrize(
    "url", ["publicapi.turvo.com/v1/x", "//evil.example/x", "localhost:8080/v1/x"]
)
def test_a_host_without_its_scheme_is_explained(url: str) -> None:
    session, _ = answered()
    with pytest.raises(MissingSchema, match="begins with https://"):
        session.get(url)


@pytest.mark.parametrize(
    ("made_with", "called_with", "sent_with"),
    [
        ({}, {}, (3.05, 30.0)),
        ({"timeout": None}, {}, None),
        ({"timeout": 7}, {"timeout": None}, None),
    ],
)
def test_every_request_has_a_timeout_unless_it_gives_one(
    made_with: Row, called_with: Row, sent_with: object
) -> None:
    session, adapter = answered(**made_with)
    session.get("/shipments/list", **called_with)
    prepared = session.prepare_request(requests.Request("GET", f"{BASE}/x"))
    session.send(prepared, **called_with)
    assert [options["timeout"] for _, options in adapter.sent] == [sent_with] * 2


def test_the_token_crosses_no_proxy_in_clear_text(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a base URL of plain http on this machine, requests go past every proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Site() as proxy, TurvoSession.from_env(turvo.environ) as session:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        session.proxies["http"] = proxy.url
        assert session.get("/shipments/list").ok
        assert session.get("/shipments/list", proxies={"http": proxy.url}).ok
        assert proxy.arrived == []
        session.get("http://elsewhere.example/")
        assert len(proxy.arrived) == 1
    session, adapter = answered()
    session.get("/x", proxies={"https": "http://proxy.example:1"})
    assert adapter.sent[0][1]["proxies"]["https"] == "http://proxy.example:1"


def test_a_request_to_this_machine_keeps_its_own_auth() -> None:
    session, adapter = answered(base_url=LOCAL)
    session.get("/x", auth=("user", "password"))
    request = requests.Request("GET", f"{LOCAL}/x".encode())
    session.send(session.prepare_request(request))
    sent = [request.headers["Authorization"].split()[0] for request, _ in adapter.sent]
    assert sent == ["Basic", "Bearer"]


REPEATED = (429, 502, 503, 504)


@pytest.mark.parametrize(
    ("methods", "statuses", "sent"),
    [
        (["GET", "HEAD", "OPTIONS", "PUT", "DELETE"], REPEATED, 2),
        (["POST", "PATCH"], REPEATED, 1),  # it could be done twice
        (["GET"], [400, 403, 404, 500], 1),  # it would not help
    ],
    ids=["again", "unsafe", "useless"],
)
def test_a_request_is_sent_again_where_that_is_safe_and_helps(
    turvo: FakeTurvo, session: TurvoSession, methods: Any, statuses: Any, sent: int
) -> None:
    for method, status in product(methods, statuses):
        before = turvo.api_requests
        turvo.fail_next(status)
        answer = session.request(method, "/shipments/list")
        assert turvo.api_requests - before == sent
        assert (answer.status_code == status) is (sent == 1)
        turvo.heal()


def test_the_last_answer_is_returned(turvo: FakeTurvo, session: TurvoSession) -> None:
    turvo.fail_next(503, times=9)
    assert session.get("/shipments/list").status_code == 503
    assert turvo.api_requests == 2


def test_a_lost_connection_is_tried_again_unless_turvo_may_have_acted(
    turvo: FakeTurvo, session: TurvoSession
) -> None:
    session.auth.token()
    turvo.drop_next()
    assert session.get("/shipments/list").ok
    turvo.drop_next()
    with pytest.raises(requests.ConnectionError):
        session.post("/shipments", json={})
    assert turvo.api_requests == 3
    turvo.api_seconds = 5
    with pytest.raises(requests.ReadTimeout):
        session.get("/shipments/list", timeout=0.2)
    assert turvo.api_requests == 4


@pytest.mark.parametrize(
    ("wanted", "status", "seconds"),
    [
        ("1", 200, 0.95),
        ("31", 429, 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 429, 0),
        *((nonsense, 200, 0) for nonsense in ("soon", "1.5", "-5", "", "9" * 5000)),
    ],
    ids=range(8),
)
def test_a_retry_after_is_waited_for_unless_it_is_long_or_nonsense(
    turvo: FakeTurvo, session: TurvoSession, wanted: str, status: int, seconds: float
) -> None:
    turvo.throttle(wanted)
    start = time.monotonic()
    assert session.get("/shipments/list").status_code == status
    assert time.monotonic() - start >= seconds
    assert turvo.api_requests == (2 if status == 200 else 1)


def test_a_401_is_left_to_the_auth(turvo: FakeTurvo, session: TurvoSession) -> None:
    session.auth.token()
    turvo.revoke()
    answer = session.get("/shipments/list")
    assert [each.status_code for each in (*answer.history, answer)] == [401, 200]
    assert (turvo.logins, turvo.api_requests) == (2, 2)


@pytest.mark.parametrize(
    ("body", "times"),
    [(b"whole", 2), (io.BytesIO(b"whole"), 2), ((part for part in (b"wh", b"ole")), 1)],
    ids=["bytes", "file", "generator"],
)
def test_a_body_is_repeated_in_full_or_not_at_all(
    turvo: FakeTurvo, session: TurvoSession, body: Any, times: int
) -> None:
    """Nothing is left of a generator: urllib3 would send an empty body instead."""
    turvo.fail_next(503)
    session.put("/shipments/1", data=body)
    bodies = [seen.body for seen in turvo.requests if seen.method == "PUT"]
    assert bodies == [b"whole"] * times


@pytest.mark.parametrize("details", [{"id": 1}, {}, None])
def test_details_returns_what_is_in_the_envelope(details: Any) -> None:
    session, adapter = answered(200, {"Status": "SUCCESS", "details": details})
    assert session.details("/x", params={"y": "1"}, timeout=3) == (details or {})
    [(request, options)] = adapter.sent
    assert (request.url, options["timeout"]) == (f"{BASE}/x?y=1", 3)


def test_details_that_are_not_an_object_are_an_error() -> None:
    error = error_of(200, {"Status": "SUCCESS", "details": [SECRET]})
    assert isinstance(error, TurvoResponseError) and error.code == "details"
    assert "must be an object, but Turvo sent a list" in str(error)


@pytest.mark.parametrize(
    ("status", "content", "code", "message"),
    [
        (200, envelope("ERROR", errorMessage="bad", errorCode="4"), "4", "bad"),
        (404, envelope("ERROR", errorMessage="none", errorCode=404), "404", "none"),
        (200, {"Status": "ERROR", "details": ["x"]}, "200", "no errorMessage"),
        (200, envelope(5, errorMessage=["x"], errorCode={}), "200", "no errorMessage"),
        (500, envelope("SUCCESS"), "500", "no errorMessage"),
        (302, envelope("SUCCESS"), "302", "no errorMessage"),
        (400, envelope("E", errorMessage="\x1b[2J\nx", errorCode="\r4"), "4", "[2J x"),
    ],
)
def test_the_error_repeats_what_turvo_says(
    status: int, content: Any, code: str, message: str
) -> None:
    """A 200 may be an error: the ``Status`` in its body counts."""
    error = error_of(status, content)
    assert isinstance(error, TurvoResponseError)
    assert (error.code, error.message) == (code, message)
    url = f'GET "{BASE}/shipments/1"'
    assert str(error) == f'{url}: Turvo says "{message}" (code {code})'


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, [], None, "SUCCESS", {"details": {}}],
    ids=range(8),
)
def test_an_answer_without_an_envelope_is_an_error(content: Any) -> None:
    error = error_of(200, content if content is not None else b"null")
    assert isinstance(error, TurvoResponseError) and error.code == "200"
    assert "the answer 200 must be JSON with a 'Status'" in str(error)
    refused = error_of(403, content, reason="Forbidden")
    assert isinstance(refused, requests.HTTPError)
    assert refused.response.status_code == 403
    assert 'is 403 "Forbidden"' in str(refused)


def test_the_token_and_the_key_are_left_out_of_what_turvo_says() -> None:
    """Also where the cut would leave a part of one."""
    both = f"{SECRET} of {FakeTurvo.api_key}"
    for content, said in (
        (envelope("ERROR", errorMessage=both, errorCode=SECRET), "*** of ***"),
        ({"message": both}, "*** of ***"),
        (envelope("ERROR", errorMessage="x" * 190 + both), "x***"),
        ({"error_description": SECRET}, "the answer is 400"),
    ):
        error = error_of(400, content)
        shown = f"{error} {vars(error)}"
        assert said in shown
        assert SECRET[:10] not in shown and FakeTurvo.api_key not in shown
        frames = [frame for frame, _ in walk_tb(error.__traceback__)][2:]
        assert SECRET not in repr([frame.f_locals for frame in frames])


@pytest.mark.parametrize(
    ("pages", "ids", "offsets"),
    [
        # A row that moved to the next page meanwhile comes once.
        ({0: (rows(1, 1, 2), 2, True), 2: (rows(2, 3), 4, False)}, [1, 2, 3], [0, 2]),
        # Deleted rows are left out, and a page of nothing else is not the end.
        ({0: (rows(1, deleted=True), 1, True), 1: (rows(3), 2, False)}, [3], [0, 1]),
        ({0: (rows(1, deleted=True), 1, True), 1: (rows(1), 2, False)}, [], [0, 1]),
        # An offset that does not grow, is missing or odd: go on by the number of rows.
        *(
            ({0: (rows(1, 2), odd, True), 2: (rows(3), 3, False)}, [1, 2, 3], [0, 2])
            for odd in (0, None, "2")
        ),
        # An offset beyond the rows: Turvo knows best.
        ({0: (rows(1, 2), 24, True), 24: (rows(3), 25, False)}, [1, 2, 3], [0, 24]),
        # An empty page, a page without a new row, and no word of more are the end.
        *(
            ({0: (rows(1), 1, True), 1: (last, 1, True)}, [1], [0, 1])
            for last in ([], None, rows(1))
        ),
        ({0: ([{"x": 1}], 1, True), 1: ([{"x": 1}], 1, True)}, [None], [0, 1]),
        ({0: (rows(1), 1, None)}, [1], [0]),
        # A row without an id cannot be recognised.
        ({0: ([{"x": 1}, {"x": 1}], 2, False)}, [None, None], [0]),
    ],
)
def test_each_row_comes_once_whatever_the_pages_are_like(
    pages: Pages, ids: list[int], offsets: list[int]
) -> None:
    assert listed(pages) == (ids, offsets)


def test_a_list_is_read_from_the_offset_that_is_asked_for() -> None:
    pages: Pages = {24: (rows(1), 24, True), 25: (rows(2), 26, False)}
    assert listed(pages, start="24") == ([1, 2], [24, 25])


def test_pages_are_read_when_needed(turvo: FakeTurvo, session: TurvoSession) -> None:
    """Turvo gives 24 rows where 50 are asked for, and tells the next offset."""
    rows = session.records("/shipments/list", "shipments", {"pageSize": 50})
    assert turvo.api_requests == 0
    ids = [next(rows)["id"] for _ in range(24)]
    assert turvo.api_requests == 1
    ids += [row["id"] for row in rows]
    assert ids == [900_000_001 + index for index in range(60)]


def test_a_list_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def details(_: TurvoSession, path: str, params: Row, **more: Any) -> Row:
        paging = {"start": params["start"] + 1, "moreAvailable": True}
        return {"pagination": paging, "rows": rows(params["start"])}

    monkeypatch.setattr(TurvoSession, "details", details)
    with TurvoSession(auth_at(BASE)) as session:
        everything = session.records("/x/list", "rows")
        assert len(list(islice(everything, 10_000))) == 10_000
        with pytest.raises(TurvoResponseError, match="not ended after 10000 pages"):
            next(everything)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"a": [], "b": 5}, "no list 'rows'; the lists are: \"a\"$"),
        ({"b": 5}, "no list 'rows'; the lists are: none$"),
        ({"a": [1], "pagination": {"totalRecordsInPage": 1}}, "no list 'rows'"),
        *(
            ({"rows": value}, "'rows' must be a list of records")
            for value in ({"id": 1}, 5, [{"id": 1}, "x"], [{"id": [1]}])
        ),
        ({"pagination": ["more"]}, "'pagination' must be an object"),
    ],
)
def test_an_answer_without_the_wanted_list_is_an_error(details: Row, said: str) -> None:
    session, _ = answered(200, envelope(**details))
    with pytest.raises(TurvoResponseError, match=f"^/x/list: .*{said}") as caught:
        list(session.records("/x/list", "rows"))
    assert caught.value.code in ("key", "pagination")


@pytest.mark.parametrize("details", [{}, {"rows": None, "pagination": None}])
def test_a_list_without_rows_may_be_left_out(details: Row) -> None:
    session, _ = answered(200, envelope(**details))
    assert list(session.records("/x/list", "rows")) == []
