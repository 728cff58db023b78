"""What is sent again, and what goes along where: bodies, options, redirects, netrc."""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import PreparedRequest, Request
from wire import Recording, Reply, Script, Site, auth_at, head, ok, until

from turvo_session import CredentialsRejected, TurvoAuth
from turvo_session.replay import DRAIN_CAP, replayable, rewound
from turvo_session.testing import FakeTurvo

SECRET_HEADERS = {"authorization", "x-api-key"}
REDIRECTS = [301, 302, 303, 307, 308]


@pytest.fixture
def session(turvo: FakeTurvo) -> Iterator[requests.Session]:
    """A session that has logged in."""
    with requests.Session() as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        session.auth.token()
        yield session


def api_calls(turvo: FakeTurvo) -> list[Any]:
    """What arrived, the logins aside."""
    return [seen for seen in turvo.requests if not seen.path.endswith("/oauth/token")]


def bearers(turvo: FakeTurvo) -> list[str]:
    return [seen.headers.get("authorization", "") for seen in api_calls(turvo)]


# Which body can be sent again


class Stream:
    """A body with a length, and no way back."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        yield self._content


class Tape(io.BytesIO):
    """A file that tells where it is and cannot go back there."""

    read_of = False

    def read(self, size: int | None = -1) -> bytes:
        self.read_of = True
        return super().read(size)

    def seek(self, *where: int) -> int:
        if self.read_of:
            raise OSError("no way back")
        return super().seek(*where)


class SelfClosing(io.BytesIO):
    """A file that is closed once it was read to its end."""

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        if not part:
            self.close()
        return part


def offset_file(tmp_path: Path) -> Any:
    path = tmp_path / "upload"
    path.write_bytes(b"the beginning, the rest")
    file = path.open("rb")
    file.seek(len(b"the beginning, "))
    return file


def offset_bytes() -> io.BytesIO:
    body = io.BytesIO(b"the beginning, the rest")
    body.seek(len(b"the beginning, "))
    return body


BODIES: list[tuple[str, Callable[[Path], dict[str, Any]], bytes | None]] = [
    ("none", lambda _: {}, b""),
    ("json", lambda _: {"json": {"a": ["\xfc", 1]}}, b'{"a": ["\\u00fc", 1]}'),
    ("form", lambda _: {"data": {"a": "1", "b": "2 3"}}, b"a=1&b=2+3"),
    ("pairs", lambda _: {"data": [("a", "1"), ("a", "2")]}, b"a=1&a=2"),
    ("bytes", lambda _: {"data": b"\x00\xff"}, b"\x00\xff"),
    ("text", lambda _: {"data": "f\xfcr"}, "f\xfcr".encode()),
    ("multipart", lambda _: {"files": {"f": ("n.txt", b"content")}, "data": {"a": "1"}}, None),
    ("file", lambda path: {"data": (path / "x").open("w+b")}, b""),
    ("file from an offset", lambda path: {"data": offset_file(path)}, b"the rest"),
    ("bytes from an offset", lambda _: {"data": offset_bytes()}, b"the rest"),
    ("text file", lambda _: {"data": io.StringIO("text")}, b"text"),
]


@pytest.mark.parametrize(("make", "whole"), [body[1:] for body in BODIES], ids=[body[0] for body in BODIES])
def test_a_body_is_sent_again_whole(
    turvo: FakeTurvo,
    session: requests.Session,
    tmp_path: Path,
    make: Callable[[Path], dict[str, Any]],
    whole: bytes | None,
) -> None:
    """With the headers that belong to it."""
    options = make(tmp_path)
    turvo.revoke()

    answer = session.post(f"{turvo.base_url}/shipments", timeout=10, **options)

    first, second = api_calls(turvo)
    assert answer.status_code == 200
    assert (first.status, second.status) == (401, 200)
    assert second.body == first.body
    assert whole is None or second.body == whole
    assert (b"content" in second.body) is (whole is None)
    assert second.headers == first.headers | {"authorization": second.headers["authorization"]}
    if hasattr(options.get("data"), "close"):
        options["data"].close()


@pytest.mark.parametrize(
    "body",
    [
        *(
            (part for part in (b"one", b"two")),
            Stream(b"onetwo"),
            iter([b"one", b"two"]),
            bytearray(b"onetwo"),
        ),
        *(Tape(b"onetwo"), SelfClosing(b"onetwo")),
    ],
    ids=["generator", "stream", "iterator", "bytearray", "no way back", "closed in between"],
)
def test_a_body_that_cannot_be_is_handed_back_with_its_401(
    turvo: FakeTurvo, session: requests.Session, body: Any
) -> None:
    """Never is half of it sent, or nothing; and the next call has a new token already."""
    turvo.revoke()

    answer = session.post(f"{turvo.base_url}/shipments", data=body, timeout=10)

    assert (answer.status_code, answer.history) == (401, [])
    assert b"invalid_token" in answer.content
    assert [seen.body for seen in api_calls(turvo)] == [b"onetwo"]
    assert session.get(f"{turvo.base_url}/shipments/list", timeout=10).history == []
    assert (turvo.logins, turvo.refused) == (2, 1)


def test_a_pipe_is_no_file(turvo: FakeTurvo, session: requests.Session) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"onetwo")
    os.close(writer)
    turvo.revoke()

    with open(reader, "rb") as body:
        answer = session.post(f"{turvo.base_url}/shipments", data=body, timeout=10)

    assert answer.status_code == 401
    assert [seen.body for seen in api_calls(turvo)] == [b"onetwo"]


@pytest.mark.parametrize(
    ("body", "position", "can"),
    [
        *((None, None, True), ("text", None, True), (b"bytes", None, True), (io.BytesIO(b"x"), 0, True)),
        *((io.BytesIO(b"x"), None, False), (io.BytesIO(b"x"), object(), False), (iter([b"x"]), None, False)),
        *((iter([b"x"]), 0, False), (bytearray(b"x"), None, False)),
    ],
)
def test_what_can_be_sent_again(body: Any, position: Any, can: bool) -> None:
    """Text, bytes, and files that told their position: nothing else."""
    request = PreparedRequest()
    request.body, request._body_position = body, position

    assert replayable(request) is can
    assert rewound(request) is can


# How it is sent again


def test_it_is_sent_as_it_was_sent_before(
    turvo: FakeTurvo, session: requests.Session, tmp_path: Path
) -> None:
    (tmp_path / "client.pem").touch()
    recording = Recording()
    session.mount("http://", recording)
    options: dict[str, Any] = {
        "timeout": (3.0, 7.0),
        "verify": False,
        "cert": str(tmp_path / "client.pem"),
        "proxies": {"https": "http://127.0.0.1:9"},
        "stream": True,
    }
    turvo.fail_next(401)

    with session.get(f"{turvo.base_url}/shipments/list", headers={"X-Mine": "1"}, **options) as answer:
        assert not answer._content_consumed
        assert answer.json()["Status"] == "SUCCESS"

    (first, with_first), (second, with_second) = recording.calls
    assert with_first == with_second
    assert with_second.items() >= options.items()
    assert (second.url, second.method) == (first.url, first.method)
    assert second.headers["X-Mine"] == "1"


def test_the_answer_tells_its_history_and_its_own_time(turvo: FakeTurvo, session: requests.Session) -> None:
    turvo.revoke()

    start = time.monotonic()
    answer = session.get(f"{turvo.base_url}/shipments/list", timeout=10)
    took = time.monotonic() - start

    [refused] = answer.history
    assert (answer.status_code, refused.status_code) == (200, 401)
    assert refused.json()["error"] == "invalid_token"
    assert refused.request.headers["Authorization"] != answer.request.headers["Authorization"]
    assert timedelta(0) < answer.elapsed < timedelta(seconds=took)


def test_cookies_of_the_refused_answer_go_along_and_stay(turvo: FakeTurvo, session: requests.Session) -> None:
    session.cookies.set("mine", "1")
    turvo.fail_next(401, headers=[("Set-Cookie", "theirs=2; Path=/")])

    answer = session.get(f"{turvo.base_url}/shipments/list", cookies={"once": "3"}, timeout=10)

    first, second = (seen.headers["cookie"] for seen in api_calls(turvo))
    assert answer.status_code == 200
    assert sorted(first.split("; ")) == ["mine=1", "once=3"]
    assert sorted(second.split("; ")) == ["mine=1", "once=3", "theirs=2"]
    assert session.cookies.get_dict() == {"mine": "1", "theirs": "2"}


def test_a_cookie_header_of_the_callers_own_stays(turvo: FakeTurvo, session: requests.Session) -> None:
    turvo.revoke()

    session.get(f"{turvo.base_url}/shipments/list", headers={"Cookie": "mine=1"}, timeout=10)

    assert [seen.headers["cookie"] for seen in api_calls(turvo)] == ["mine=1", "mine=1"]


def test_a_lost_connection_to_the_replay_is_an_error_of_requests(
    turvo: FakeTurvo, session: requests.Session
) -> None:
    turvo.fail_next(401)
    turvo.drop_next()

    with pytest.raises(requests.ConnectionError):
        session.get(f"{turvo.base_url}/shipments/list", timeout=10)


# The refused answer itself


def at(site: Site) -> requests.Session:
    session = requests.Session()
    session.auth = auth_at(site.url)
    return session


def test_its_connection_is_used_again() -> None:
    with Site(Script(Reply(401, b"x" * 1000), ok(b"{}")), host="127.0.0.1") as site, at(site) as session:
        assert session.get(f"{site.url}/v1/x", timeout=10).ok

    ports = [arrived.port for arrived in site.arrived if arrived.method == "GET"]
    assert len(ports) == 2
    assert len(set(ports)) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_it_may_be_long_and_is_kept_within_reason(stream: bool) -> None:
    """Its body never ends."""
    flood = itertools.chain([head(401)], itertools.repeat(b"x" * 65536))
    with Site(Script(flood, ok(b"{}")), host="127.0.0.1") as site, at(site) as session:
        answer = session.get(f"{site.url}/v1/x", timeout=10, stream=stream)

        assert answer.json() == {}
        assert len(answer.history[0].content) == DRAIN_CAP
        assert site.hung_up.wait(10)


@pytest.mark.parametrize("stream", [True, False])
def test_it_may_take_for_ever_and_is_not_waited_for(stream: bool) -> None:
    with Site(host="127.0.0.1") as site, at(site) as session:
        site.answer = Script(site.drip(head(401)), ok(b"{}"))
        start = time.monotonic()

        answer = session.get(f"{site.url}/v1/x", timeout=10, stream=stream)

        assert answer.json() == {}
        assert time.monotonic() - start < 6
        assert set(answer.history[0].content) == set(b"x")
        assert site.hung_up.wait(10)


@pytest.mark.parametrize(
    "broken",
    [
        (head(401, "Content-Length: 500") + b"short",),
        (head(401, "Content-Encoding: gzip", "Content-Length: 4") + b"junk",),
        (head(401, "Transfer-Encoding: chunked") + b"zz\r\n",),
    ],
    ids=["short", "packed", "chunked"],
)
def test_it_may_be_broken(broken: tuple[bytes]) -> None:
    with Site(Script(broken, ok(b"{}")), host="127.0.0.1") as site, at(site) as session:
        assert session.get(f"{site.url}/v1/x", timeout=10).ok


def test_its_connection_is_closed_where_there_is_no_other_token() -> None:
    """The error of the login comes out; nobody could close it afterwards."""
    script = Script(Reply(200), Reply(401, b"x" * 1000))
    with Site(script, host="127.0.0.1") as site, at(site) as session:
        session.get(f"{site.url}/v1/x", timeout=10)
        site.answer = lambda arrived: Reply(401) if arrived.method == "POST" else script(arrived)
        with pytest.raises(CredentialsRejected):
            session.get(f"{site.url}/v1/x", timeout=10)

        assert until(lambda: all(connection.fileno() < 0 for connection in site.connections))


# Redirects


@pytest.fixture(params=["another host", "another port"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server at another origin."""
    with Site(host="127.0.0.2" if request.param == "another host" else "127.0.0.1") as site:
        yield site


@pytest.mark.parametrize("refused", [False, True], ids=["first answer", "replay"])
@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("foreign", [200, 401])
def test_no_redirect_takes_token_or_key_to_another_origin(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site, status: int, refused: bool, foreign: int
) -> None:
    """Nor does a 401 there cause a login."""
    elsewhere.answer = lambda _: Reply(foreign)
    if refused:
        turvo.fail_next(401)
    turvo.redirect_next(f"{elsewhere.url}/x", status=status)

    answer = session.post(f"{turvo.base_url}/shipments", json={"a": 1}, timeout=10)

    assert answer.status_code == foreign
    [arrived] = elsewhere.arrived
    assert not arrived.headers.keys() & SECRET_HEADERS
    assert "3b_-" not in str(arrived)
    assert (turvo.logins, len(api_calls(turvo))) == (1 + refused, 1 + refused)
    # and the session is as good as before
    assert session.get(f"{turvo.base_url}/shipments/list", timeout=10).ok
    assert turvo.logins == 1 + refused


@pytest.mark.parametrize("refused", [False, True], ids=["first answer", "replay"])
@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("whole", [False, True], ids=["path", "url"])
def test_a_redirect_to_the_same_origin_goes_on_with_the_current_token(
    turvo: FakeTurvo, session: requests.Session, status: int, refused: bool, whole: bool
) -> None:
    if refused:
        turvo.fail_next(401)
    turvo.redirect_next(f"{turvo.base_url if whole else '/v1'}/shipments/list", status=status)

    answer = session.get(f"{turvo.base_url}/shipments", timeout=10)

    current = f"Bearer {session.auth.token().access_token}"
    assert answer.status_code == 200
    assert bearers(turvo)[-2:] == [current, current]
    assert turvo.logins == 1 + refused


@pytest.mark.parametrize("refused", [False, True], ids=["first answer", "replay"])
@pytest.mark.parametrize("hops", [1, 2])
def test_a_second_redirect_is_as_guarded_as_the_first(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site, refused: bool, hops: int
) -> None:
    """Within our origin at first, then away from it."""
    if refused:
        turvo.fail_next(401)
    turvo.redirect_next("/v1/shipments/list", times=hops)
    turvo.redirect_next(f"{elsewhere.url}/x")

    session.get(f"{turvo.base_url}/shipments", timeout=10)

    assert all(bearer.startswith("Bearer") for bearer in bearers(turvo))
    assert not elsewhere.arrived[0].headers.keys() & SECRET_HEADERS


def test_a_redirect_that_leaves_and_comes_back_comes_without_token_and_key(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site
) -> None:
    """What there is of an answer to that is handed back; no login, no token brought in by another host's word."""
    elsewhere.answer = lambda _: Reply(302, b"", (("Location", f"{turvo.base_url}/shipments/list"),))
    turvo.redirect_next(f"{elsewhere.url}/x")

    answer = session.get(f"{turvo.base_url}/shipments", timeout=10)

    assert answer.status_code == 403
    assert len(answer.history) == 2
    assert not elsewhere.arrived[0].headers.keys() & SECRET_HEADERS
    assert not api_calls(turvo)[-1].headers.keys() & SECRET_HEADERS
    assert turvo.logins == 1


@pytest.mark.parametrize("look_alike", [False, True])
def test_a_401_of_another_origin_is_not_answered_even_if_our_header_got_there(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site, look_alike: bool
) -> None:
    """By a caller who changes the URL of a prepared request: the token of a new login would follow the old one."""
    request = session.prepare_request(Request("GET", f"{turvo.base_url}/x"))
    origin = turvo.base_url.removesuffix("/v1")
    request.url = elsewhere.url.replace("http://", f"{origin}@") if look_alike else elsewhere.url
    elsewhere.answer = lambda _: Reply(401)

    assert session.send(request, timeout=10).status_code == 401
    assert len(elsewhere.arrived) == 1
    assert turvo.logins == 1


@pytest.mark.parametrize(
    "location", ["http://user:pw@127.0.0.1:{port}/v1/x", "http://[", "//127.0.0.2:{port}/v1/x"]
)
def test_a_redirect_in_doubt_takes_nothing_along(
    turvo: FakeTurvo, session: requests.Session, location: str
) -> None:
    port = turvo.base_url.split(":")[2].split("/")[0]
    turvo.redirect_next(location.format(port=port))

    try:
        session.get(f"{turvo.base_url}/shipments", timeout=10)
    except (requests.RequestException, ValueError):  # nobody there, or no URL
        assert len(api_calls(turvo)) == 1
    else:
        assert not api_calls(turvo)[1].headers.keys() & SECRET_HEADERS


def test_a_hook_that_copies_the_request_does_not_let_them_out(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site
) -> None:
    """A user's own, called between ours and the redirect: each copy is without them."""
    copies: list[PreparedRequest] = []
    session.hooks["response"].append(lambda answer, **_: copies.append(answer.request.copy()))
    turvo.redirect_next(f"{elsewhere.url}/x")

    answer = session.get(f"{turvo.base_url}/shipments", timeout=10)

    assert not elsewhere.arrived[0].headers.keys() & SECRET_HEADERS
    assert "Authorization" not in copies[0].headers
    assert "Authorization" in answer.history[0].request.headers


def test_a_copy_of_the_users_own_is_a_plain_one_where_nothing_leaves(
    turvo: FakeTurvo, session: requests.Session
) -> None:
    """With the token that it was sent with, and open to another auth."""
    turvo.redirect_next("/v1/shipments/list")

    answer = session.get(f"{turvo.base_url}/shipments", timeout=10)
    copy = answer.history[0].request.copy()

    assert copy.headers == answer.history[0].request.headers
    copy.prepare_auth(("user", "pw"))
    assert copy.headers["Authorization"].startswith("Basic")


@pytest.mark.parametrize("refused", [False, True], ids=["first answer", "replay"])
def test_a_redirect_followed_by_hand_is_guarded_too(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site, refused: bool
) -> None:
    for location in (f"{elsewhere.url}/x", "/v1/shipments/list"):
        if refused:
            turvo.fail_next(401)
        turvo.redirect_next(location)
        answer = session.get(f"{turvo.base_url}/shipments", timeout=10, allow_redirects=False)
        assert answer.status_code == 302
        assert answer.next is not None
        assert session.send(answer.next, timeout=10).ok

    assert not elsewhere.arrived[0].headers.keys() & SECRET_HEADERS
    assert bearers(turvo)[-1] == f"Bearer {session.auth.token().access_token}"


def test_a_prepared_request_can_be_sent_again_after_a_redirect_away(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site
) -> None:
    request = session.prepare_request(Request("GET", f"{turvo.base_url}/shipments/list"))
    turvo.redirect_next(f"{elsewhere.url}/x")

    session.send(request, timeout=10)

    assert session.send(request, timeout=10).json()["Status"] == "SUCCESS"
    turvo.revoke()
    assert session.send(request, timeout=10).json()["Status"] == "SUCCESS"


# netrc


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc that knows every host."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\ndefault login c password d\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("refused", [False, True], ids=["first answer", "replay"])
def test_netrc_never_takes_the_place_of_our_header(turvo: FakeTurvo, refused: bool, hops: int) -> None:
    """Not on a first request, not on a replay, not along redirects; and the login goes without it."""
    with requests.Session() as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        if refused:
            turvo.fail_next(401)
        if hops:
            turvo.redirect_next("/v1/shipments/list", times=hops)

        answer = session.get(f"{turvo.base_url}/shipments/list", timeout=10)

    assert answer.status_code == 200
    assert len(bearers(turvo)) == 1 + refused + hops
    assert all(bearer.startswith("Bearer 3b_-") for bearer in bearers(turvo))
    assert "authorization" not in turvo.requests[0].headers


@pytest.mark.usefixtures("netrc")
def test_netrc_serves_other_hosts_as_ever(
    turvo: FakeTurvo, session: requests.Session, elsewhere: Site
) -> None:
    turvo.redirect_next(f"{elsewhere.url}/x")

    session.get(f"{turvo.base_url}/shipments", timeout=10)

    assert elsewhere.arrived[0].headers["authorization"].startswith("Basic ")
    assert "x-api-key" not in elsewhere.arrived[0].headers
