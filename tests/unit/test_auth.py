"""``TurvoAuth``: how it is made, what it attaches and tells. No server is asked."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from requests import PreparedRequest, Request

from tests.support.clock import Clock
from tests.support.interrupts import secrets_in_frames
from tests.support.requests_sent import SharedStore
from tests.support.wire import API_KEY, PASSWORD, auth_at, store_with
from turvo_session import SettingsError, TurvoAuth
from turvo_session.auth import MOST_ORIGINS_TOLD

BASE = "https://publicapi.turvo.com/v1"
LOOPBACK = "http://127.0.0.1:8080/v1"
ENVIRON = {
    "TURVO_API_KEY": API_KEY,
    "TURVO_USERNAME": "dispatcher",
    "TURVO_PASSWORD": PASSWORD,
}


def prepared(auth: Any, url: str = f"{BASE}/shipments/list") -> PreparedRequest:
    return Request("GET", url, auth=auth).prepare()


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda: prepared(TurvoAuth), r"TurvoAuth\.from_env\(\), with parentheses"),
        (lambda: prepared(TurvoAuth.from_env), r"from_env\(\), with parentheses"),
        (lambda: TurvoAuth("user", PASSWORD), "takes its arguments by name"),
        (lambda: TurvoAuth.from_env({}), "TURVO_API_KEY is not set; TURVO_USERNAME"),
    ],
)
def test_a_mistake_is_explained(use: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        use()


def test_an_auth_with_arguments_of_its_own_cannot_be_pickled() -> None:
    for own in (TurvoAuth.from_env(ENVIRON), auth_at(BASE)):
        with pytest.raises(TypeError, match=r"use TurvoAuth\.from_env\(\) without"):
            pickle.dumps(own)


def test_a_token_serves_until_due(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", clock)
    store = SharedStore()
    auth = auth_at(BASE, store=store)
    for looks, token in enumerate(("token-1", "token-1", "token-2"), 1):
        store.put(token, 3600.0)  # one is served again
        for seconds in (3299.0, 1.0):
            assert prepared(auth).headers["Authorization"] == f"Bearer {token}"
            assert store.looks == looks
            clock.sleep(seconds)
    assert (auth.stats.requests, auth.stats.adopted, auth.stats.logins) == (6, 2, 0)
    auth.forget()
    store.put("token-3", 3600.0)
    assert auth.token().access_token == "token-3"


@pytest.mark.parametrize("put_on", [TurvoAuth.__call__, TurvoAuth.put_on_directly])
def test_a_request_keeps_its_token_when_no_other_can_be_had(put_on: Any) -> None:
    store = store_with("token-0815")
    auth = TurvoAuth.from_env(ENVIRON, store=store, password=lambda: "")
    request = prepared(auth)
    auth.forget()
    with pytest.raises(SettingsError, match="password") as caught:
        request.prepare_auth(lambda one: put_on(auth, one))
    assert request.headers["Authorization"] == "Bearer token-0815"
    assert secrets_in_frames(caught.value, ["token-0815", API_KEY]) == []


def test_a_few_other_origins_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "turvo_session")
    auth = auth_at(BASE)
    for number in [0, *range(MOST_ORIGINS_TOLD + 1)]:
        prepared(auth, f"https://elsewhere-{number}.test/x?secret")
    told = caplog.messages
    assert len(told) == len(set(told)) == MOST_ORIGINS_TOLD
    assert "requests to https://elsewhere-0.test carry no token" in told[0]
    assert "because TURVO_BASE_URL is https://publicapi.turvo.com/v1" in told[0]
    assert "secret" not in "".join(told)


@pytest.mark.parametrize(
    ("base_url", "url", "warned"),
    [
        (BASE, "https://my-sandbox-publicapi.turvo.com/v1/x", True),
        (BASE, "http://publicapi.turvo.com/v1/x", True),
        (LOOPBACK, "http://localhost:1/v1/x", True),
        (LOOPBACK, f"{LOOPBACK}/v1/x", False),
        (BASE, f"{LOOPBACK}/webhook", False),
        (LOOPBACK, "https://hooks.example/x", False),
        (BASE, "https://user:pass-word@publicapi.turvo.com/x", False),
    ],
)
def test_a_url_that_only_looks_like_the_base_url_is_warned_of_once(
    base_url: str, url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    auth = auth_at(base_url, store=store_with("token-1"))
    for _ in range(2):
        prepared(auth, url)
    assert len(caplog.messages) == warned
    assert all("because TURVO_BASE_URL is http" in text for text in caplog.messages)


def test_a_proxy_that_could_read_the_token_gets_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    auth = auth_at(LOOPBACK, store=store_with("token-1"))
    auth.token()
    for _ in range(2):
        request = prepared(auth, f"{LOOPBACK}/x")
        assert not request.headers.keys() & {"Authorization", "X-API-Key"}
        assert request.hooks["response"] == []
    assert "Authorization" in prepared(auth.put_on_directly, f"{LOOPBACK}/x").headers
    assert "Authorization" not in prepared(auth.put_on_directly, f"{BASE}/x").headers
    assert sum("set NO_PROXY" in message for message in caplog.messages) == 1
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "Authorization" in prepared(auth, f"{LOOPBACK}/x").headers
