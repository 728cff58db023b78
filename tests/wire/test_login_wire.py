"""The login over real sockets: what is sent, and what any answer comes to."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import ssl
import threading
import zlib
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from oauthlib.oauth2 import InsecureTransportError
from pytest import LogCaptureFixture, MonkeyPatch
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth2Session

from tests.support import answers, wire
from tests.support.clock import Clock
from tests.support.interrupts import interrupted, secrets_in_frames
from tests.support.servers import free_port
from tests.support.threads import Call, at_once, until
from tests.support.wire import HandMadeTime, Reply, Site, assert_failed, log_in
from turvo_session import failure as failures
from turvo_session import login, transport
from turvo_session.login import Credentials, Grant

ELSEWHERE = "https://turvo.example/v1/oauth/token"
BRIEF = (0.3, 0.4)
BLANKS = b" " * (1 << 20)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)


# What is sent


def test_the_request_is_the_one_that_turvo_documents(
    site: Site, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """JSON in the body and the key in a header; no Basic auth, also not by netrc."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    log_in(site.token_url)

    [arrived] = site.arrived
    assert (arrived.method, arrived.path) == ("POST", "/v1/oauth/token")
    assert json.loads(arrived.body) == {
        "grant_type": "password",
        "client_id": "publicapi",
        "client_secret": wire.CLIENT_SECRET,
        "username": wire.USERNAME,
        "password": wire.PASSWORD,
        "scope": "read+trust+write",
        "type": "business",
    }
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["accept"] == "application/json"
    assert arrived.headers["x-api-key"] == wire.API_KEY
    assert not arrived.headers.keys() & {"authorization", "cookie"}


def test_any_password_arrives_as_it_is(site: Site) -> None:
    """It passes through the form encoding of the OAuth library on its way."""

    @settings(wire.PATIENT, max_examples=60)
    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    def arrives_unchanged(text: str) -> None:
        credentials = Credentials("key", text, lambda: f"x{text}x", text, text)
        log_in(site.token_url, credentials=credentials)
        body = json.loads(site.arrived[-1].body)
        names = ("username", "client_id", "client_secret", "password")
        assert [body[name] for name in names] == [text] * 3 + [f"x{text}x"]

    arrives_unchanged()


@pytest.mark.parametrize("location", ["{}/v1/oauth/token", "http://[", "\xff"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(site: Site, status: int, location: str) -> None:
    with Site() as elsewhere:
        headers = (("Location", location.format(elsewhere.url)),)
        site.answer = lambda _: Reply(status, b"", headers)
        assert_failed(
            log_in(site.token_url, attempts=3), failures.FOREIGN, "a redirect"
        )
    assert (len(site.arrived), elsewhere.arrived) == (1, [])


def test_plain_http_to_loopback_changes_nothing_for_others(site: Site) -> None:
    assert isinstance(log_in(site.token_url), Grant)
    assert "OAUTHLIB_INSECURE_TRANSPORT" not in os.environ
    with OAuth2Session("client") as other, pytest.raises(InsecureTransportError):
        other.fetch_token(site.token_url, code="code")


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_proxy_is_used_for_https_and_named_if_it_refuses(
    site: Site, monkeypatch: MonkeyPatch, by_argument: bool
) -> None:
    proxies = {"https": site.url.replace("//", "//user:wrong:@")}
    if not by_argument:
        monkeypatch.setenv("https_proxy", proxies.pop("https"))
    site.answer = lambda _: Reply(403)
    result = log_in(ELSEWHERE, proxies=proxies)
    assert_failed(result, failures.UNREACHABLE, "the proxy", "HTTPS_PROXY", "`proxies`")
    assert site.arrived[0].path == "turvo.example:443"


def test_plain_http_goes_past_every_proxy(site: Site, monkeypatch: MonkeyPatch) -> None:
    """It is for loopback addresses; through a proxy the password would go in clear."""
    with Site() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        result = log_in(site.token_url, proxies={"http": proxy.url, "all": proxy.url})
    assert isinstance(result, Grant)
    assert proxy.arrived == []


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (requests.ConnectTimeout(), failures.UNREACHABLE, "within the connect timeout"),
        (requests.exceptions.InvalidSchema(), failures.UNREACHABLE, "PySocks"),
        (requests.ReadTimeout(), failures.UNANSWERED, "(ReadTimeout)"),
        (requests.ConnectionError(OSError()), failures.UNANSWERED, "(ConnectionErr"),
    ],
)
def test_a_mock_sees_the_real_url_and_its_error_is_judged_by_the_class(
    monkeypatch: MonkeyPatch, error: Exception, kind: str, words: str
) -> None:
    """Nobody knows whether the mock means before the request was sent or after it."""
    seen = []

    def send(_: object, request: requests.PreparedRequest, **__: object) -> None:
        seen.append(request.url)
        raise error

    monkeypatch.setattr(HTTPAdapter, "send", send)
    assert_failed(log_in("http://127.0.0.1:9/v1/oauth/token"), kind, words)
    assert seen == ["http://127.0.0.1:9/v1/oauth/token"]


# No connection


def test_a_certificate_has_to_be_trusted(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """Unless it is in the environment's bundle or in ``verify``, nothing is sent."""
    certificate = str(wire.self_signed(tmp_path))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Site(lambda _: wire.TOKEN, host="127.0.0.1", tls=tls) as site:
        refused = log_in(site.token_url)
        arrived = list(site.arrived)
        by_argument = log_in(site.token_url, verify=certificate)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        by_environment = log_in(site.token_url, cert=certificate)

    words = ("not trusted (self-signed", "REQUESTS_CA_BUNDLE", "`verify`", site.url[8:])
    assert_failed(refused, failures.UNREACHABLE, *words)
    assert arrived == []
    assert isinstance(by_argument, Grant)
    assert isinstance(by_environment, Grant)


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("http://127.0.0.1:{0}", {}, "to 127.0.0.1:{0} (Connection refused)"),
        ("https://turvo.invalid", {}, "turvo.invalid:443 was not"),
        ("https://{1}", {}, "TLS with {1} failed (SSLError)"),
        ("https://{1}", {"verify": "none"}, "REQUESTS_CA_BUNDLE"),
        ("https://{1}", {"cert": "none"}, "`cert`"),
        ("https://{1}", {"proxies": {"https": "http://:"}}, "`proxies`"),
        ("https://{1}", {"proxies": {"https": "http://127.0.0.1:{}"}}, "(InvalidURL"),
        ("https://{1}", {"proxies": {"https": "http://\u20ac:b@c"}}, "(UnicodeEncodeE"),
    ],
)
def test_what_keeps_a_request_from_turvo_is_named(
    site: Site, url: str, options: dict[str, Any], words: str
) -> None:
    places = (free_port(), site.url.removeprefix("http://"))
    result = log_in(f"{url}/v1/oauth/token".format(*places), **options)
    failure = assert_failed(result, failures.UNREACHABLE, words.format(*places))
    assert failure.attempts == 0
    assert site.arrived == []


def test_a_server_with_a_full_queue_is_left_after_the_connect_timeout() -> None:
    fillers = [socket.socket() for _ in range(4)]
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/oauth/token"
        result = Call(lambda: log_in(url, timeouts=(0.2, 20.0))).result()
    for filler in fillers:
        filler.close()
    assert_failed(result, failures.UNREACHABLE, "within the connect timeout")


def test_a_login_that_is_over_does_not_send_the_password_later(
    site: Site, monkeypatch: MonkeyPatch
) -> None:
    """What a slow name server delays might be one wrong password too many."""
    look_up = socket.getaddrinfo

    def look_up_slowly(*args: Any, **options: Any) -> Any:
        assert wire.timers_end()
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    result = log_in(site.token_url, timeouts=(0.1, 0.1))
    assert_failed(result, failures.UNREACHABLE, "no connection", "in 0.2 s")
    assert site.arrived == []


# An answer that is hardly one


@pytest.mark.parametrize("raw", answers.NO_WHOLE_ANSWERS, ids=range(9))
def test_a_request_without_a_whole_answer_is_unanswered(site: Site, raw: bytes) -> None:
    """Turvo may have counted it."""
    site.answer = lambda _: (raw,)
    failure = assert_failed(log_in(site.token_url), failures.UNANSWERED, "no whole")
    assert failure.attempts == 1


def test_an_answer_that_drips_forever_is_cut_off() -> None:
    """Each byte comes in time; the attempt ends after both timeouts together."""
    with ExitStack() as stack:
        sites = [stack.enter_context(Site()) for _ in range(4)]
        firsts = [answers.BEGINNINGS[0], *answers.BEGINNINGS]
        for site, first in zip(sites, firsts, strict=True):
            site.answer = lambda _, site=site, first=first: site.drip(first)
        logins = [partial(log_in, site.token_url, timeouts=BRIEF) for site in sites[1:]]
        proxies = {"https": sites[0].url}
        by_proxy = partial(log_in, ELSEWHERE, timeouts=BRIEF, proxies=proxies)

        connecting, *answered = [call.result() for call in at_once([by_proxy, *logins])]

        # The answer to CONNECT comes before the request, which is never sent.
        assert_failed(connecting, failures.UNREACHABLE, "no connection", "in 0.7 s")
        for result in answered:
            assert_failed(result, failures.UNANSWERED, "did not finish within 0.7 s")
        assert all(site.hung_up.wait(10) for site in sites)
    gc.collect()  # warns of a socket that is left open


@pytest.mark.parametrize("place", ["__init__", "start"])
def test_a_body_is_bounded_in_time_where_no_thread_can_be_had(
    site: Site, monkeypatch: MonkeyPatch, place: str
) -> None:
    """``__init__`` raises in an isolated sub-interpreter, ``start`` without memory."""
    regular = getattr(threading.Thread, place)

    def refuse(self: threading.Thread, *args: Any, **options: Any) -> None:
        if "turvo_session" in (options.get("name"), getattr(self, "_name", "")):
            raise RuntimeError("no thread")
        regular(self, *args, **options)

    monkeypatch.setattr(threading.Thread, place, refuse)
    assert isinstance(log_in(site.token_url), Grant)
    site.answer = lambda _: site.drip(wire.head(), b" ")
    result = Call(lambda: log_in(site.token_url, timeouts=BRIEF)).result()
    assert_failed(result, failures.UNANSWERED, "did not finish within 0.7 s")
    assert site.hung_up.wait(10)


def test_a_suspended_process_loses_only_a_part_of_its_time() -> None:
    """The timer waits in parts: one of them passes while the process is suspended."""
    waits: list[float] = []
    limit = transport.TimeLimit(13.0)
    limit._finished.wait = waits.append  # type: ignore
    limit.start()
    limit.finish()
    assert limit.is_over
    assert sum(waits) == pytest.approx(13.0)
    assert max(waits) < 2.0


def test_the_socket_of_a_mock_need_not_have_a_duplicate() -> None:
    limit = transport.TimeLimit(13.0)
    limit.watch_socket(SimpleNamespace(dup=lambda: None))
    limit.cut()
    limit.finish()


def test_a_body_of_100_megabytes_is_cut_off(site: Site) -> None:
    """Read to its end, it would hold a token."""
    length = f"Content-Length: {100 * len(BLANKS) + len(wire.token_answer())}"
    parts = (wire.head(200, length), *[BLANKS] * 100, wire.token_answer())
    site.answer = lambda _: iter(parts)
    assert_failed(log_in(site.token_url), failures.FOREIGN)
    assert site.hung_up.wait(10)
    assert site.sent < 20 * len(BLANKS)


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_a_packed_answer_is_unpacked_up_to_a_megabyte(
    site: Site, encoding: str, wbits: int
) -> None:
    """Some gateways pack every answer. To its end, the large one would hold a token."""
    results = []
    for blanks in (0, 64):
        packer = zlib.compressobj(wbits=wbits)
        parts = [packer.compress(part) for part in [BLANKS] * blanks]
        parts += [packer.compress(wire.token_answer()), packer.flush()]
        packed = b"".join(parts)
        reply = Reply(200, packed, (("Content-Encoding", encoding),))
        site.answer = lambda _, reply=reply: reply
        results.append(log_in(site.token_url))
    assert isinstance(results[0], Grant)
    assert_failed(results[1], failures.FOREIGN)
    assert site.arrived[0].headers["accept-encoding"] == "identity"


def test_a_login_leaves_neither_a_thread_nor_a_connection(site: Site) -> None:
    log_in(site.token_url)
    assert wire.timers_end()
    assert until(lambda: [one.fileno() for one in site.connections] == [-1])


# Tries


@pytest.fixture
def hand_made(site: Site, monkeypatch: MonkeyPatch) -> HandMadeTime:
    """Return the time of a test's logins."""
    made = HandMadeTime(site)
    monkeypatch.setattr(login, "time", made)
    return made


@pytest.mark.parametrize(
    ("answers", "kind", "limits", "tries", "counted"),
    [
        ([Reply(429)], failures.UNAVAILABLE, (3, 2), 3, 0),
        ([Reply(503, b"<html>")], failures.UNAVAILABLE, (1, 2), 1, 0),
        ([Reply(408)], failures.UNAVAILABLE, (2, 1), 2, 0),
        ([Reply(500)], failures.UNANSWERED, (3, 2), 2, 2),
        ([Reply(504)], failures.UNANSWERED, (3, 1), 1, 1),
        ([()], failures.UNANSWERED, (3, 9), 3, 3),
        ([Reply(500), Reply(503)], failures.UNAVAILABLE, (3, 2), 3, 1),
        ([Reply(401, b"{}")], failures.REJECTED, (3, 2), 1, 1),
        ([Reply(404)], failures.FOREIGN, (3, 2), 1, 1),
    ],
)
def test_a_failure_is_tried_again_if_that_can_help_and_does_no_harm(
    hand_made: HandMadeTime,
    answers: list[Any],
    kind: str,
    limits: tuple[int, int],
    tries: int,
    counted: int,
) -> None:
    attempts, may_count = limits
    result = hand_made.log_in(*answers, attempts=attempts, may_count=may_count)
    assert assert_failed(result, kind).attempts == counted
    assert len(hand_made.site.arrived) == tries


def test_pauses_double_and_differ_and_the_lease_is_extended_for_them(
    hand_made: HandMadeTime,
) -> None:
    """If they did not differ, the processes of a fleet would come back together."""
    for _ in range(5):
        hand_made.extended.clear()
        hand_made.log_in(Reply(503), Reply(408), wire.TOKEN)
    first, second = hand_made.pauses[-2:]
    assert 0.25 <= first <= 0.5 <= second <= 1.0
    assert hand_made.extended == [first, 13.05, second, 13.05]
    assert len(set(hand_made.pauses)) > 5


def test_the_server_decides_on_a_short_pause_and_the_caller_on_a_long_one(
    hand_made: HandMadeTime,
) -> None:
    hand_made.log_in(Reply(429, b"", (("Retry-After", "4"),)))
    assert hand_made.pauses == [4.0, 4.0]
    result = hand_made.log_in(Reply(429, b"", (("Retry-After", "11"),)))
    assert assert_failed(result, failures.UNAVAILABLE).retry_after == 11.0
    assert len(hand_made.pauses) == 2


@pytest.mark.parametrize(
    ("took", "pause", "attempts", "last"),
    [
        (14.6, 0.4, 3, (3.05, 10.0)),  # too late for a third one
        (0.0, 28.0, 2, (2.0, 2.0)),
        (0.0, 600.0, 2, (1.0, 1.0)),  # the process was suspended in the pause
    ],
)
def test_all_tries_together_have_half_a_minute(
    hand_made: HandMadeTime,
    monkeypatch: MonkeyPatch,
    took: float,
    pause: float,
    attempts: int,
    last: tuple[float, float],
) -> None:
    given = []

    def send(*_: object, **options: Any) -> None:
        given.append(options["timeout"])
        Clock.sleep(hand_made, took)
        raise requests.ConnectTimeout

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setattr(hand_made, "sleep", lambda _: Clock.sleep(hand_made, pause))
    assert_failed(hand_made.log_in(attempts=attempts), failures.UNREACHABLE)
    assert given == [(3.05, 10.0), last]


def test_a_life_counts_from_before_the_request(hand_made: HandMadeTime) -> None:
    def answer_slowly(_: object) -> Reply:
        hand_made.now += 7.0
        return wire.TOKEN

    hand_made.site.answer = answer_slowly
    grant = hand_made.log_in()
    assert isinstance(grant, Grant)
    assert (grant.sent, grant.received) == (hand_made.now - 7.0, hand_made.now)
    assert (grant.access_token, grant.expires_in) == ("token-1", 43198.0)


def test_a_callable_password_is_called_once_a_login(hand_made: HandMadeTime) -> None:
    """In the caller's thread, so that it may use what belongs to the thread."""
    asked = []

    def password() -> str:
        asked.append(threading.get_ident())
        return f"password-{len(asked)}"

    credentials = Credentials("key", "user", password, "client", "secret")
    for _ in range(2):
        hand_made.log_in(Reply(503), credentials=credentials, attempts=2)
    sent = [json.loads(arrived.body)["password"] for arrived in hand_made.site.arrived]
    assert sent == ["password-1"] * 2 + ["password-2"] * 2
    assert asked == [threading.get_ident()] * 2


# What gets out


def test_handlers_hear_the_oauth_library_for_others_only(
    site: Site, caplog: LogCaptureFixture
) -> None:
    """Others may log in at the same time, and do so with the library themselves."""
    caplog.set_level(logging.DEBUG)
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: object) -> Reply:
        asked.set()
        go_on.wait(10)
        return wire.TOKEN

    def heard() -> list[str]:
        records = [one for one in caplog.records if one.name.startswith("requests_o")]
        return [one.getMessage() for one in records]

    def use_library() -> list[str]:
        assert asked.wait(10)
        other = OAuth2Session("client", token={"access_token": "theirs"})
        with other, suppress(OSError):
            other.get(f"https://127.0.0.1:{free_port()}/", timeout=1)
        go_on.set()
        return heard()

    site.answer = answer
    ours, other = at_once([lambda: log_in(site.token_url), use_library])

    assert isinstance(ours.result(), Grant)
    assert any("theirs" in message for message in other.result())
    assert heard() == other.result()


class TimeIsUp(Exception):
    """The time limit of somebody's job queue."""


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), TimeIsUp(), TimeoutError("job"), requests.Timeout("job")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("phase", ["waiting", "reading", "pausing"])
def test_what_a_signal_handler_raises_comes_out_unchanged(
    site: Site, phase: str, error: BaseException
) -> None:
    """At once and with no try after it, and no frame on its way shows a secret."""
    answers: dict[str, Any] = {
        "waiting": site.silence(),
        "reading": site.drip(wire.head() + b'{"access_token": "token-1", '),
        "pausing": Reply(429, b"", (("Retry-After", "9"),)),
    }
    site.answer = lambda _: answers[phase]
    extended: list[float] = []
    awaited = extended if phase == "pausing" else site.arrived

    with pytest.raises(type(error)) as caught, interrupted(lambda: awaited, error):
        log_in(site.token_url, attempts=3, extend=extended.append)

    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(site.arrived) == 1
    assert wire.timers_end()
    assert secrets_in_frames(error, (*wire.SECRETS, "token-1")) == []
