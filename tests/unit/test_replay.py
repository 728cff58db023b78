"""Requests that carry the token, and what is remembered of 401s."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from requests import PreparedRequest, Request

import turvo_session.auth
from tests.support.clock import Clock
from tests.support.wire import API_KEY, auth_at, store_with
from turvo_session import TurvoAuth
from turvo_session.replay import (
    MOST_UNCURED,
    FalseAlarms,
    TurvoRequest,
    UncuredRequests,
    replayable,
    rewound,
)

BASE = "https://publicapi.turvo.com/v1"
ATTACHED = {"Authorization": "Bearer token-1", "X-API-Key": API_KEY}


class OwnRequest(PreparedRequest):
    """The request class of another library."""


def secrets_of(request: PreparedRequest) -> dict[str, Any]:
    return {name: value for name, value in request.headers.items() if name in ATTACHED}


@pytest.fixture
def auth() -> TurvoAuth:
    return auth_at(BASE, store=store_with("token-1"))


@pytest.fixture(params=[PreparedRequest, OwnRequest])
def prepared(auth: TurvoAuth, request: pytest.FixtureRequest) -> PreparedRequest:
    prepared: PreparedRequest = request.param()
    prepared.prepare("GET", f"{BASE}/shipments/list", {"X-Mine": "1"}, auth=auth)
    assert type(prepared) is TurvoRequest or isinstance(prepared, OwnRequest)
    return prepared


@pytest.mark.parametrize(
    ("url", "stays"),
    [
        *[(f"{BASE}/other", True), ("HTTPS://PUBLICAPI.turvo.com:443/x", True)],
        *[("http://publicapi.turvo.com/v1", False), ("https://evil.test/v1", False)],
        *[("https://user@publicapi.turvo.com/v1", False), ("", False), (None, False)],
    ],
)
@pytest.mark.parametrize(
    "make_copy",
    [
        lambda request: request,
        lambda request: request.copy().copy(),
        copy.copy,
        copy.deepcopy,
        lambda request: pickle.loads(pickle.dumps(request)),
    ],
    ids=["itself", "copy of a copy", "copy", "deepcopy", "pickle"],
)
def test_token_and_key_leave_a_request_with_the_url_of_another_origin(
    prepared: PreparedRequest, make_copy: Callable[..., Any], url: Any, stays: bool
) -> None:
    """The original and every copy, whose class stays what the caller knows."""
    moved = make_copy(prepared)
    assert type(moved) is type(prepared)
    assert secrets_of(moved) == ATTACHED

    for each in (url, f"{BASE}/shipments/list"):  # what was dropped does not come back
        moved.url = each
        assert secrets_of(moved) == (ATTACHED if stays else {})
        assert (moved.url, moved.method, moved.headers["X-Mine"]) == (each, "GET", "1")


def test_copies_continue_with_the_token_of_a_replay(auth: TurvoAuth) -> None:
    request: Any = Request("GET", BASE, auth=auth).prepare()
    newer = auth_at(BASE, store=store_with("token-2"))
    newer.token()
    request.continue_with(newer._attachment.put_on)
    assert secrets_of(request) == ATTACHED
    copied = request.copy()
    assert secrets_of(copied) == ATTACHED | {"Authorization": "Bearer token-2"}
    assert [len(one.hooks["response"]) for one in (request, copied)] == [1, 2]
    request.url = "https://evil.test/"
    assert secrets_of(request.copy()) == {}


def test_other_credentials_take_the_place_of_the_token(auth: TurvoAuth) -> None:
    request = Request("GET", BASE, auth=auth).prepare()
    request.prepare_auth(("user", "password"))
    assert str(request.headers["Authorization"]).startswith("Basic")


@pytest.mark.parametrize("keeps_pairs", [True, False])
def test_headers_are_set_as_requests_sets_them(
    auth: TurvoAuth, monkeypatch: pytest.MonkeyPatch, keeps_pairs: bool
) -> None:
    """Also if a ``requests`` to come keeps them otherwise."""
    monkeypatch.setattr(turvo_session.auth, "_KEEPS_PAIRS", keeps_pairs)
    request = Request("GET", BASE, {"authorization": "old", "X-Mine": "1"}).prepare()
    assert dict(auth(request).headers.items()) == ATTACHED | {"X-Mine": "1"}


@pytest.mark.parametrize(
    ("body", "position", "can_be"),
    [
        *[(None, None, True), ("text", None, True), (b"bytes", None, True)],
        *[(io.BytesIO(b"x"), 0, True), (io.BytesIO(b"x"), None, False)],
        *[(io.BytesIO(b"x"), object(), False), (iter([b"x"]), None, False)],
        *[(iter([b"x"]), 0, False), (bytearray(b"x"), None, False)],
    ],
)
def test_only_whole_bodies_are_resent(body: Any, position: Any, can_be: bool) -> None:
    request = PreparedRequest()
    request.body, request._body_position = body, position
    assert replayable(request) is can_be
    assert rewound(request) is can_be


def to(path: str, method: str = "GET") -> PreparedRequest:
    return Request(method, f"{BASE}{path}").prepare()


def test_uncured_requests_are_remembered_for_a_minute_by_method_and_path(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a number, of which the newest are kept."""
    monkeypatch.setattr("time.monotonic", clock)
    uncured = UncuredRequests()
    for number in range(MOST_UNCURED + 1):
        uncured.remember(to(f"/{number}?page=1"))
    known = [to(f"/{number}?page=2") in uncured for number in (0, 1, 2)]
    assert known == [False, True, True]
    assert to("/1", "POST") not in uncured
    uncured.forget(to("/1"))
    assert to("/1") not in uncured
    clock.sleep(60.0)
    assert to("/2") not in uncured
    uncured.forget(to("/3"))
    assert uncured.is_empty


def test_an_alarm_can_be_false_for_a_minute(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", clock)
    alarms = FalseAlarms()
    for note, likely in ((alarms.note_replaced, False), (alarms.note_false, True)):
        assert (alarms.are_possible, alarms.are_likely) == (False, False)
        note()
        assert (alarms.are_possible, alarms.are_likely) == (True, likely)
        clock.sleep(60.0)
    alarms.note_false()
    alarms.note_true()
    assert not alarms.are_likely
