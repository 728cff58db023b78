"""Token and key go to one origin: which URLs are of it."""

from __future__ import annotations

from contextlib import suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests import PreparedRequest, Request
from urllib3.util import parse_url

from tests.support.urls import BASE, HOST, OTHER, PIECES, SAME
from tests.support.wire import PATIENT, auth_at, store_with
from turvo_session.origin import (
    goes_to_proxy_in_clear,
    is_loopback,
    origin,
    same_origin,
    shown_origin,
)

NOT_PLAIN = "a URL that is not plain http or https"
PROXY = "http://proxy.test:3128"
LOCAL = "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(("base_url", "url"), SAME + OTHER)
def test_token_and_key_go_to_an_undoubted_origin(base_url: str, url: str) -> None:
    """``requests`` rewrites a URL first, so the rule applies to what it sends."""
    assert same_origin(url, base_url) is ((base_url, url) in SAME)
    assert origin("https://:443/v1") is None
    auth = auth_at(base_url if origin(base_url) else BASE, store=store_with("token-1"))
    with suppress(requests.RequestException):
        request = Request("GET", url, auth=auth).prepare()
        served = same_origin(request.url or "", auth.base_url)
        assert (request.headers.get("Authorization") == "Bearer token-1") is served
        assert ("x-api-key" in request.headers) is served
        assert bool(request.hooks["response"]) is served
        assert auth.stats.requests == int(served)


def test_a_request_without_a_url_is_left_as_it_is() -> None:
    request = PreparedRequest()
    assert auth_at(BASE)(request) is request
    assert request.headers is None


@PATIENT
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_what_counts_as_the_same_is_where_the_connection_goes(url: str) -> None:
    if same_origin(url, BASE):
        parts = parse_url(url)
        assert (parts.scheme, parts.host, parts.port or 443) == ("https", HOST, 443)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost")],
        *[(host, False) for host in ("10.0.0.1", "0.0.0.0", "::", "127.1", "", HOST)],
        *[(f"{host}.evil.test", False) for host in ("127.0.0.1", "localhost")],
        ("localhost.", False),
    ],
)
def test_loopback_is_this_machine_and_no_other(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://evil.test:8443/a?token=secret", "https://evil.test:8443"),
        ("http://[::1]?x", "http://[::1]"),
        ("https://user:secret@evil.test/", NOT_PLAIN),
        ("https://evil.test\x1b[2J/", NOT_PLAIN),
        ("https://" + "a" * 300, "https://" + "a" * 189 + "..."),
    ],
)
def test_an_origin_is_shown_without_secrets_and_escapes(url: str, shown: str) -> None:
    assert shown_origin(url) == shown


@pytest.mark.parametrize(
    ("url", "environ", "in_clear"),
    [
        (LOCAL, {"HTTP_PROXY": PROXY}, True),
        (LOCAL, {"ALL_PROXY": PROXY}, True),
        (LOCAL, {"HTTPS_PROXY": PROXY}, False),
        (LOCAL, {"HTTP_PROXY": PROXY, "NO_PROXY": "127.0.0.1"}, False),
        (LOCAL, {}, False),
        ("https://127.0.0.1:8080/v1", {"ALL_PROXY": PROXY}, False),
    ],
)
def test_only_plain_http_can_be_read_by_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str], in_clear: bool
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, environ.get(name, ""))
    assert goes_to_proxy_in_clear(url) is in_clear
