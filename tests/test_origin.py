"""Token and key go to one origin: which URLs are of it, and where a redirect leads."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests import PreparedRequest, Request, Response
from urllib3.util import parse_url
from wire import PATIENT, auth_at, store_with

from turvo_session.origin import is_loopback, origin, redirect_target, same_origin

BASE = "https://publicapi.turvo.com/v1"

SAME = [
    (BASE, "https://publicapi.turvo.com/v1/shipments/list?x=1#y"),
    (BASE, "https://publicapi.turvo.com"),
    (BASE, "https://publicapi.turvo.com?x=1"),
    (BASE, "https://publicapi.turvo.com/other/https://evil.test/"),
    (BASE, "HTTPS://PublicAPI.Turvo.COM/v1"),
    (BASE, "https://publicapi.turvo.com:443/v1"),
    ("https://publicapi.turvo.com:443/v1", "https://publicapi.turvo.com/v1"),
    ("http://127.0.0.1/v1", "http://127.0.0.1:80/v1"),
    ("http://[::1]:8080/v1", "http://[::1]:8080/x"),
    ("https://xn--bcher-kva.example/v1", "https://xn--bcher-kva.example/x"),
]
OTHER = [
    (BASE, "http://publicapi.turvo.com/v1"),
    (BASE, "http://publicapi.turvo.com:443/v1"),
    (BASE, "https://publicapi.turvo.com:80/v1"),
    (BASE, "https://publicapi.turvo.com:8443/v1"),
    (BASE, "https://publicapi.turvo.com:99999/v1"),
    (BASE, "https://publicapi.turvo.com:4x3/v1"),
    (BASE, "https://my-sandbox-publicapi.turvo.com/v1"),
    (BASE, "https://turvo.com/v1"),
    (BASE, "https://publicapi.turvo.com.evil.test/v1"),
    (BASE, "https://publicapi.turvo.community/v1"),
    (BASE, "https://evilpublicapi.turvo.com/v1"),
    (BASE, "https://publicapi.turvo.com./v1"),
    (BASE, "https://publicapi.turvo.com@evil.test/v1"),
    (BASE, "https://publicapi.turvo.com:443@evil.test/v1"),
    (BASE, "https://user@publicapi.turvo.com/v1"),
    (BASE, "https://user:pass@publicapi.turvo.com/v1"),
    (BASE, "https://evil.test/https://publicapi.turvo.com/v1"),
    (BASE, "https://evil.test#@publicapi.turvo.com/v1"),
    (BASE, "https://evil.test\\@publicapi.turvo.com/v1"),
    (BASE, "https://publicapi.turvo.com\\.evil.test/v1"),
    (BASE, "https://publicapi.turvo.com\\/v1"),
    (BASE, "https://publicapi%2Eturvo.com/v1"),
    (BASE, "https://publicapi.turvo.com%2F@evil.test/v1"),
    (BASE, "https://publicapi.turvo.com%00.evil.test/v1"),
    (BASE, "https://publicapi\N{IDEOGRAPHIC FULL STOP}turvo.com/v1"),
    (BASE, "https://publicapi.turv\N{CYRILLIC SMALL LETTER O}.com/v1"),
    (BASE, "https://publicapi.turvo.com\t/v1"),
    (BASE, "https://publicapi.turvo.com\n/v1"),
    (BASE, " https://publicapi.turvo.com/v1"),
    (BASE, "https://[publicapi.turvo.com]/v1"),
    (BASE, "https://[::1/v1"),
    (BASE, "https:///v1"),
    (BASE, "https://:443/v1"),
    (BASE, "https:publicapi.turvo.com/v1"),
    (BASE, "//publicapi.turvo.com/v1"),
    (BASE, "ftp://publicapi.turvo.com/v1"),
    (BASE, "/v1"),
    (BASE, ""),
    ("http://[::1]:8080/v1", "http://[::1]:8081/v1"),
    ("http://[::1]:8080/v1", "http://[::2]:8080/v1"),
    ("http://[::1]:8080/v1", "http://[0:0:0:0:0:0:0:1]:8080/v1"),
    ("https://xn--bcher-kva.example/v1", "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/v1"),
    ("", ""),
    ("nonsense", "nonsense"),
]


@pytest.mark.parametrize(("base", "url"), SAME)
def test_of_the_same_origin(base: str, url: str) -> None:
    assert same_origin(url, base)


@pytest.mark.parametrize(("base", "url"), OTHER)
def test_of_another_origin_or_in_doubt(base: str, url: str) -> None:
    assert not same_origin(url, base)


@pytest.mark.parametrize(("base", "url"), SAME + OTHER)
def test_headers_are_attached_by_that_rule(base: str, url: str) -> None:
    """``requests`` rewrites a URL before the auth sees it; what it then sends to our origin has both headers."""
    auth = auth_at(base if origin(base) else BASE, store=store_with("token-1"))
    try:
        request = Request("GET", url, auth=auth).prepare()
    except requests.RequestException:
        return

    ours = same_origin(request.url or "", auth.base_url)
    assert (request.headers.get("Authorization"), "x-api-key" in request.headers) == (
        ("Bearer token-1", True) if ours else (None, False)
    )
    assert bool(request.hooks["response"]) is ours
    assert auth.stats.requests == int(ours)


def test_a_request_without_a_url_is_left_alone() -> None:
    request = PreparedRequest()

    assert auth_at(BASE)(request) is request
    assert request.headers is None


PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "https",
                "http",
                "HTTPS",
                ":",
                "//",
                "/",
                "\\",
                "@",
                "#",
                "?",
                "%2e",
                "%00",
                "\t",
                "\n",
                " ",
                "..",
                ".",
            ),
            *(
                "publicapi.turvo.com",
                "evil.test",
                "PUBLICAPI.",
                ":443",
                ":80",
                "[::1]",
                "[",
                "]",
                "user:pw",
                ";",
                "\xe4",
            ),
        ]
    ),
    max_size=9,
).map("".join)


@PATIENT
@given(PIECES)
def test_what_counts_as_ours_is_where_the_connection_goes(url: str) -> None:
    """Whatever is made of a URL on the way, the one who connects reads the same scheme, host and port in it."""
    if same_origin(url, BASE):
        parts = parse_url(url)
        assert (parts.scheme, parts.host, parts.port or 443) == ("https", "publicapi.turvo.com", 443)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *[("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("localhost", True)],
        *[
            ("10.0.0.1", False),
            ("0.0.0.0", False),
            ("::", False),
            ("127.0.0.1.evil.test", False),
            ("127.1", False),
        ],
        *[("localhost.evil.test", False), ("localhost.", False), ("publicapi.turvo.com", False), ("", False)],
    ],
)
def test_loopback_is_this_machine_and_no_other(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def redirect(location: str, status: int = 302, url: str = f"{BASE}/shipments/list") -> Response:
    """A redirect as ``requests`` would hand it to a hook: header values are Latin-1."""
    response = Response()
    response.status_code, response.url = status, url
    response.headers["Location"] = location
    response._content, response._content_consumed = b"", True
    response.request = Request("GET", url).prepare()
    return response


def followed(response: Response) -> str | None:
    """The URL to which ``requests`` follows a redirect."""
    with requests.Session() as session:
        session.trust_env = False
        steps = session.resolve_redirects(response, response.request, yield_requests=True)
        return next((str(request.url) for request in steps), None)  # type: ignore[attr-defined]


LOCATIONS = [
    ("/v1/next", f"{BASE}/next"),
    ("next?a=b c", f"{BASE}/shipments/next?a=b%20c"),
    ("?page=2", f"{BASE}/shipments/list?page=2"),
    ("//evil.test/x", "https://evil.test/x"),
    ("https://evil.test/x", "https://evil.test/x"),
    ("HTTPS://Publicapi.turvo.com/x", "https://Publicapi.turvo.com/x"),
    ("../../../x", "https://publicapi.turvo.com/x"),
    ("/a\tb", "https://publicapi.turvo.com/ab"),
    ("/f\xc3\xbcr", "https://publicapi.turvo.com/f%C3%BCr"),
]


@pytest.mark.parametrize(("location", "target"), LOCATIONS)
def test_a_redirect_leads_where_requests_goes(location: str, target: str) -> None:
    response = redirect(location)

    assert redirect_target(response) == target
    assert str(followed(response)).lower() == target.lower()


@pytest.mark.parametrize("location", ["http://[", "https://[::1/x", "/\xff", "/\u20ac", "http://a\u2100b/"])
def test_a_redirect_to_who_knows_where_is_to_nowhere_of_ours(location: str) -> None:
    assert redirect_target(redirect(location)) == ""


@pytest.mark.parametrize("status", [200, 201, 300, 304, 401])
def test_what_requests_does_not_follow_is_no_redirect(status: int) -> None:
    response = redirect("https://evil.test/", status)

    assert redirect_target(response) is None
    assert followed(response) is None


@PATIENT
@given(PIECES)
def test_no_redirect_is_taken_for_ours_that_leads_elsewhere(location: str) -> None:
    """Where the guard sees our origin, ``requests`` goes there, or nowhere."""
    response = redirect(location)
    target = redirect_target(response)
    if target is not None and same_origin(target, BASE):
        try:
            url = followed(response)
        except (requests.RequestException, ValueError):
            return
        parts = parse_url(str(url)) if url else parse_url(BASE)
        assert (parts.scheme, parts.host, parts.port or 443) == ("https", "publicapi.turvo.com", 443)
