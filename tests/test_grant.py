"""The login: what goes over the wire, and what any answer at all comes to."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from requests import Request, Response
from requests_oauthlib import OAuth2Session
from servers import free_port
from wire import (
    CREDENTIALS,
    PATIENT,
    SECRETS,
    Reply,
    Site,
    at_once,
    auth_at,
    head,
    log_in,
    ok,
    token_answer,
    until,
)

from turvo_session import CredentialsRejected, InvalidTokenResponse, TokenEndpointUnavailable, renewal, tokens
from turvo_session.failure import Failure
from turvo_session.grant import UNKNOWN_LIFE, Credentials, Grant, PasswordGrant, judge
from turvo_session.testing import FakeTurvo

OVERDUE = "did not finish within"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A token endpoint that answers what it is told to."""
    with Site(host="127.0.0.1") as server:
        yield server


@pytest.fixture
def token_url(site: Site) -> str:
    site.arrived.clear()
    site.hung_up.clear()
    site.sent = 0
    return f"{site.url}/v1/oauth/token"


def unfinished() -> list[threading.Thread]:
    """Threads of logins that are still there."""
    return [thread for thread in threading.enumerate() if thread.name == "turvo_session"]


# What is sent


def test_the_request_is_the_one_that_turvo_documents(site: Site, token_url: str) -> None:
    """JSON in the body, the key in a header, and nothing anywhere else."""
    site.answer = lambda _: ok(token_answer())

    log_in(token_url)

    [arrived] = site.arrived
    assert (arrived.method, arrived.path) == ("POST", "/v1/oauth/token")
    assert json.loads(arrived.body) == {
        "grant_type": "password",
        "client_id": "publicapi",
        "client_secret": "client-secret-0001",
        "username": FakeTurvo.username,
        "password": FakeTurvo.password,
        "scope": "read+trust+write",
        "type": "business",
    }
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["accept"] == "application/json"
    assert arrived.headers["x-api-key"] == FakeTurvo.api_key
    assert not arrived.headers.keys() & {"authorization", "cookie"}


def test_netrc_has_no_say_in_it(
    site: Site, token_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.answer = lambda _: ok(token_answer())

    assert isinstance(log_in(token_url), Grant)
    assert "authorization" not in site.arrived[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(site: Site, token_url: str, status: int) -> None:
    with Site(lambda _: ok(token_answer())) as elsewhere:
        site.answer = lambda _: Reply(status, b"", (("Location", f"{elsewhere.url}/v1/oauth/token"),))

        result = log_in(token_url)

    assert isinstance(result, Failure)
    assert isinstance(result.error(), InvalidTokenResponse)
    assert "redirect" in result.why
    assert not elsewhere.arrived
    assert len(site.arrived) == 1


def test_plain_http_to_loopback_needs_no_leave_and_grants_none(site: Site, token_url: str) -> None:
    """The OAuth library's own switch for http stays off for everybody else in the process."""
    site.answer = lambda _: ok(token_answer())

    assert isinstance(log_in(token_url), Grant)
    assert "OAUTHLIB_INSECURE_TRANSPORT" not in os.environ
    with OAuth2Session("client") as other, pytest.raises(Exception, match="(?i)insecure|https"):
        other.fetch_token(token_url, code="code")


def test_a_proxy_of_the_environment_is_used(
    site: Site, token_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", site.url)
    site.answer = lambda _: Reply(403)

    assert_failed(log_in("https://turvo.example/v1/oauth/token"), TokenEndpointUnavailable)
    assert (site.arrived[0].method, site.arrived[0].path) == ("CONNECT", "turvo.example:443")


def test_plain_http_goes_past_a_proxy_where_the_password_would_travel_in_clear(
    site: Site, token_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for loopback addresses alone, and to those there is no way but the direct one."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    site.answer = lambda _: ok(token_answer())
    with Site(lambda _: Reply(403)) as proxy:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        assert isinstance(log_in(token_url), Grant)
    assert proxy.arrived == []


def test_a_certificate_is_checked_against_the_environments_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown: the password does not leave. In ``REQUESTS_CA_BUNDLE``: it does."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Site(lambda _: ok(token_answer()), host="127.0.0.1", tls=context) as server:
        url = f"{server.url}/v1/oauth/token"

        refused = log_in(url)
        arrived = list(server.arrived)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        taken = log_in(url)

    assert isinstance(refused, Failure)
    assert isinstance(refused.error(), TokenEndpointUnavailable)
    assert "SSLError" in refused.why
    assert arrived == []
    assert isinstance(taken, Grant)


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1, with its key, in one file."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turvo.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


# What comes back


def granted(**changed: Any) -> Reply:
    return ok(token_answer(**changed))


LIVES = [
    (granted(), 43198.0),
    (granted(expires_in=...), UNKNOWN_LIFE),
    (granted(expires_in=None), UNKNOWN_LIFE),
    (granted(expires_in="43198"), 43198.0),
    (granted(expires_in="3600.0"), 3600.0),
    (granted(expires_in=59.5), 59.5),
    (granted(expires_in=0), 0.0),
    (granted(expires_in=1e308), tokens.LONGEST_LIFE),
    (granted(token_type=...), 43198.0),
    (granted(token_type="bearer"), 43198.0),
    (granted(token="!" + "~" * 8191), 43198.0),
    (granted(scope="something else", linkedTenants=[{"token": "another"}]), 43198.0),
    (Reply(200, token_answer(), (("Content-Type", "text/html"),)), 43198.0),
    (Reply(200, token_answer()), 43198.0),
]


@pytest.mark.parametrize(("answer", "life"), LIVES)
def test_a_good_answer_is_a_token(site: Site, token_url: str, answer: Reply, life: float) -> None:
    site.answer = lambda _: answer

    before = time.monotonic()
    result = log_in(token_url)

    assert isinstance(result, Grant)
    assert result.access_token == json.loads(answer.body)["access_token"]
    assert result.expires_in == life
    assert before <= result.sent <= result.received <= time.monotonic()
    assert result.access_token not in repr(result)


NO_TOKEN = [
    ok(b""),
    ok(b"<html><body>Sign in</body></html>"),
    ok(b"[]"),
    ok(b"null"),
    ok(b'"token-1"'),
    ok(b"17"),
    ok(b"{}"),
    ok(token_answer()[:-1]),
    ok(b'{"access_token": "token-1", "expires_in": 1' + b"0" * 5000 + b"}"),
    ok(b"[" * 100_000),
    ok(b'{"access_token":' * 50_000),
    ok(b"\xff\xfe\xff"),
    ok(b"\x00" * 50),
    granted(access_token=...),
    granted(access_token=None),
    granted(access_token=5),
    granted(access_token=True),
    granted(access_token=["token-1"]),
    granted(access_token={"token": "token-1"}),
    granted(token=""),
    granted(token=" "),
    granted(token="token 1"),
    granted(token=" token-1"),
    granted(token="token-1\n"),
    granted(token="token-1\r\nX-Evil: 1"),
    granted(token="token\x00"),
    granted(token="token\x7f"),
    granted(token="t\xf6ken"),
    granted(token="\ud800"),
    granted(token="x" * 8193),
    granted(token_type="mac"),
    granted(token_type=5),
    granted(token_type=["Bearer"]),
    granted(token_type="wrong:type"),
    granted(expires_in="wrong:life"),
    granted(expires_in=-1),
    granted(expires_in="-1"),
    granted(expires_in="soon"),
    granted(expires_in=""),
    granted(expires_in=True),
    granted(expires_in=[3600]),
    granted(expires_in={}),
    granted(expires_in=math.nan),
    granted(expires_in="nan"),
    granted(expires_in=math.inf),
    granted(expires_in=10**400),
    ok(b'{"access_token": "token-1", "expires_in": 1e999}'),
    Reply(200, b"\x1b\x00junk", (("Content-Encoding", "br"),)),
    Reply(204),
    Reply(302),
    Reply(304),
    Reply(404, token_answer()),
    Reply(405, token_answer()),
    Reply(201, token_answer()),
]


@pytest.mark.parametrize("answer", NO_TOKEN, ids=range(len(NO_TOKEN)))
def test_an_answer_without_a_usable_token_is_invalid(site: Site, token_url: str, answer: Reply) -> None:
    site.answer = lambda _: answer

    result = log_in(token_url, attempts=3)

    assert_failed(result, InvalidTokenResponse)
    assert len(site.arrived) == 1


ECHO = json.dumps({"error_description": f"wrong: {' '.join(SECRETS)} token-1", "access_token": "token-1"})

REJECTED = [
    (400, {"error": "invalid_grant", "error_description": "Bad credentials"}, "400 invalid_grant"),
    (400, {"error": "invalid_client"}, "400 invalid_client"),
    (400, {"error": FakeTurvo.password}, "400"),
    (400, {"error": ["invalid_grant"]}, "400"),
    (400, [], "400"),
    (401, {"error": "invalid_client"}, "401 invalid_client"),
    (401, json.loads(ECHO), "401"),
    (403, {"message": "Forbidden"}, "403"),
    (423, {}, "423"),
]


@pytest.mark.parametrize(("status", "body", "said"), REJECTED)
def test_rejected_credentials_are_tried_once_and_never_again(
    site: Site, token_url: str, status: int, body: object, said: str
) -> None:
    site.answer = lambda _: Reply(status, json.dumps(body).encode())

    result = log_in(token_url, attempts=3)

    assert_failed(result, CredentialsRejected)
    assert result.why == f"POST {token_url} answered {said}"
    assert len(site.arrived) == 1
    assert CREDENTIALS.match(result.proof)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [b"", b"<html>", ECHO.encode(), token_answer()], ids=range(4))
def test_a_server_in_trouble_gives_no_token_even_if_there_is_one_in_its_answer(
    site: Site, token_url: str, status: int, body: bytes
) -> None:
    site.answer = lambda _: Reply(status, body)

    result = log_in(token_url)

    assert_failed(result, TokenEndpointUnavailable)
    assert result.why == f"POST {token_url} answered {status}"


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        (" 7 ", 7, 7),
        ("0", 0, 0),
        ("100000000", 900, 900),
        ("in 600 s", 400, 601),
        ("in 86400 s", 900, 900),
        ("in -600 s", 0, 0),
        *[
            (junk, None, None)
            for junk in ("soon", "", "-1", "1e3", "7.5", "9" * 6000, "Mon, 99 Foo 2026", "\xff")
        ],
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_in_every_spelling(
    site: Site, token_url: str, status: int, header: str, low: float | None, high: float | None
) -> None:
    """Seconds or a date, 15 minutes at most; junk is as good as none."""
    if header.startswith("in "):
        header = in_seconds(float(header.split()[1]))
    site.answer = lambda _: Reply(status, ECHO.encode(), (("Retry-After", header),))

    result = log_in(token_url)

    assert_failed(result, TokenEndpointUnavailable)
    if low is None or high is None:
        assert result.retry_after is None
    else:
        assert result.retry_after is not None
        assert low <= result.retry_after <= high


@PATIENT
@given(st.text("0123456789abcdeMonJGT +-:,.()\t\xff\u0661", max_size=40))
def test_no_retry_after_breaks_anything(header: str) -> None:
    result = judge("url", answered(429, b"", {"Retry-After": header}), sent=0.0, received=1.0)

    assert isinstance(result, Failure)
    assert result.retry_after is None or 0 <= result.retry_after <= 900


def assert_failed(result: Grant | Failure, kind: type[Exception]) -> None:
    """It failed as it should, and tells neither what was sent nor what came back."""
    assert isinstance(result, Failure)
    error = result.error()
    assert type(error) is kind
    told = f"{error} {error!r} {error.args} {vars(error)} {error.__cause__} {error.__context__} {result}"
    assert not [secret for secret in (*SECRETS, "token-1", "wrong:") if secret in told]


# An answer that is hardly one


def test_a_dropped_connection_is_an_endpoint_out_of_reach(site: Site, token_url: str) -> None:
    site.answer = lambda _: ()

    result = log_in(token_url)

    assert_failed(result, TokenEndpointUnavailable)
    assert "ConnectionError" in result.why


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + token_answer(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=range(8),
)
def test_a_garbled_answer_is_an_endpoint_out_of_order(site: Site, token_url: str, raw: bytes) -> None:
    site.answer = lambda _: (raw,)

    assert_failed(log_in(token_url), TokenEndpointUnavailable)


def test_nobody_there_is_an_endpoint_out_of_reach() -> None:
    assert_failed(log_in(f"http://127.0.0.1:{free_port()}/v1/oauth/token"), TokenEndpointUnavailable)


def test_silence_ends_with_the_read_timeout(site: Site, token_url: str) -> None:
    site.answer = lambda _: site.silence()

    start = time.monotonic()
    result = log_in(token_url, timeout=(5.0, 0.2))

    assert_failed(result, TokenEndpointUnavailable)
    assert "ReadTimeout" in result.why
    assert time.monotonic() - start < 4
    assert until(lambda: not unfinished())


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nX: ", head(), head(200, "Transfer-Encoding: chunked") + b"ffff\r\n"],
    ids=["headers", "body", "chunks"],
)
def test_an_answer_that_drips_for_ever_is_cut_off(site: Site, token_url: str, first: bytes) -> None:
    """Each byte comes in time, the whole does not: an attempt ends after both timeouts together, thread, socket and all."""
    site.answer = lambda _: site.drip(first)

    start = time.monotonic()
    [result] = at_once([lambda: log_in(token_url, timeout=(0.3, 0.4))], 10)

    assert_failed(result, TokenEndpointUnavailable)
    assert f"{OVERDUE} 0.7 s" in result.why
    assert time.monotonic() - start < 5
    assert until(lambda: not unfinished())
    assert site.hung_up.wait(5)


def test_a_server_that_lets_nobody_go_on_is_cut_off_within_the_connect_timeout() -> None:
    """Its queue of connections is full: nobody answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(server.getsockname())
            start = time.monotonic()
            result = log_in(f"http://127.0.0.1:{server.getsockname()[1]}/v1/oauth/token", timeout=(0.3, 0.4))
        finally:
            for filler in fillers:
                filler.close()

    assert_failed(result, TokenEndpointUnavailable)
    assert time.monotonic() - start < 5
    assert until(lambda: not unfinished())


def test_an_attempt_that_was_given_up_does_not_send_the_password_later(
    site: Site, token_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server keeps it waiting; what it would send then might be one wrong password too many."""
    given_up, look_up = threading.Event(), socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        assert given_up.wait(30)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    result = log_in(token_url, timeout=(0.1, 0.1))
    given_up.set()

    assert_failed(result, TokenEndpointUnavailable)
    assert OVERDUE in result.why
    assert until(lambda: not unfinished())
    assert site.arrived == []


def test_an_attempt_that_was_cut_off_is_followed_by_another(site: Site, token_url: str) -> None:
    site.answer = lambda _: ok(token_answer()) if len(site.arrived) > 1 else site.drip(head())

    grant = PasswordGrant(CREDENTIALS, token_url, (0.3, 0.4), sleep=lambda _: None)
    [result] = at_once([lambda: grant(3, lambda _: None)], 10)

    assert isinstance(result, Grant)
    assert len(site.arrived) == 2


BLANKS = b" " * (1 << 20)


def test_a_body_of_100_megabytes_is_cut_off(site: Site, token_url: str) -> None:
    """Were it read to its end, it would hold a token."""
    length = f"Content-Length: {100 * len(BLANKS) + len(token_answer())}"
    site.answer = lambda _: (part for part in (head(200, length), *[BLANKS] * 100, token_answer()))

    assert_failed(log_in(token_url), InvalidTokenResponse)
    assert site.hung_up.wait(10)
    assert site.sent < 20 * len(BLANKS)


def test_a_small_body_that_grows_to_64_megabytes_is_cut_off(site: Site, token_url: str) -> None:
    """Were it unpacked to its end, it would hold a token."""
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(
        [*(packer.compress(BLANKS) for _ in range(64)), packer.compress(token_answer()), packer.flush()]
    )
    site.answer = lambda _: Reply(200, packed, (("Content-Encoding", "gzip"),))

    assert len(packed) < len(BLANKS)
    assert_failed(log_in(token_url), InvalidTokenResponse)


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_a_packed_answer_is_unpacked_though_none_was_asked_for(
    site: Site, token_url: str, encoding: str, wbits: int
) -> None:
    """Some gateways pack whatever they are asked."""
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(token_answer()) + packer.flush()
    site.answer = lambda _: Reply(200, packed, (("Content-Encoding", encoding),))

    assert isinstance(log_in(token_url), Grant)
    assert site.arrived[0].headers["accept-encoding"] == "identity"


def test_a_login_leaves_neither_a_thread_nor_a_connection(site: Site, token_url: str) -> None:
    """The server sees each connection end."""
    site.answer = lambda _: ok(token_answer())
    before = len(site.connections)

    for _ in range(5):
        log_in(token_url)

    assert until(lambda: not unfinished())
    opened = site.connections[before:]
    assert len(opened) == 5
    assert until(lambda: all(connection.fileno() < 0 for connection in opened))


# Again


class Steps:
    """A clock that a login sleeps on; it keeps the pauses and the leases that were asked for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pauses: list[float] = []
        self.told: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.sleep(seconds)

    def log_in(self, url: str, attempts: int = 3) -> Grant | Failure:
        grant = PasswordGrant(CREDENTIALS, url, (3.05, 10.0), sleep=self.sleep, clock=self.clock)
        return grant(attempts, self.told.append)


@pytest.mark.parametrize("trouble", [Reply(500), Reply(503, b"<html>"), Reply(408), Reply(429), ()], ids=repr)
def test_passing_trouble_is_tried_again_after_a_pause(site: Site, token_url: str, trouble: Any) -> None:
    steps = Steps()
    site.answer = lambda _: trouble if len(site.arrived) < 3 else ok(token_answer())

    result = steps.log_in(token_url)

    assert isinstance(result, Grant)
    assert len(site.arrived) == 3
    assert 0.25 <= steps.pauses[0] <= 0.5 <= steps.pauses[1] <= 1.0


@pytest.mark.parametrize(
    ("timeout", "attempt"), [((3.05, 10.0), 13.05), ((5, 60), 30.0), ((3.05, 500.0), 30.0)]
)
def test_an_attempt_ends_with_both_timeouts_or_after_half_a_minute(
    timeout: tuple[float, float], attempt: float
) -> None:
    """A lease that were to cover more would be taken for nobody's."""
    assert PasswordGrant(CREDENTIALS, "https://turvo.example", timeout).attempt == attempt


def test_one_that_was_stopped_in_a_pause_has_a_second_left_for_its_attempt(
    site: Site, token_url: str
) -> None:
    """Its login counts, also where the half minute is over by then."""
    steps = Steps()
    site.answer = lambda _: Reply(500) if len(site.arrived) < 2 else ok(token_answer())
    grant = PasswordGrant(
        CREDENTIALS, token_url, (3.05, 10.0), sleep=lambda _: steps.clock.sleep(600.0), clock=steps.clock
    )

    assert isinstance(grant(3, steps.told.append), Grant)


def test_it_is_tried_as_often_as_asked_and_no_more(site: Site, token_url: str) -> None:
    site.answer = lambda _: Reply(500)

    for attempts in (1, 2, 3):
        site.arrived.clear()
        assert_failed(Steps().log_in(token_url, attempts), TokenEndpointUnavailable)
        assert len(site.arrived) == attempts


def test_the_pauses_differ_so_that_a_fleet_does_not_march_in_step(site: Site, token_url: str) -> None:
    site.answer = lambda _: Reply(500)
    steps = Steps()

    for _ in range(12):
        steps.log_in(token_url, attempts=2)

    assert len(set(steps.pauses)) > 3


def test_the_pause_is_the_one_that_the_server_asks_for(site: Site, token_url: str) -> None:
    site.answer = lambda _: Reply(429, b"", (("Retry-After", "4"),))
    steps = Steps()

    steps.log_in(token_url)

    assert steps.pauses == [4.0, 4.0]


def test_a_long_pause_is_left_to_the_caller(site: Site, token_url: str) -> None:
    site.answer = lambda _: Reply(429, b"", (("Retry-After", "11"),))
    steps = Steps()

    result = steps.log_in(token_url)

    assert isinstance(result, Failure)
    assert result.retry_after == 11.0
    assert (len(site.arrived), steps.pauses) == (1, [])


def test_all_attempts_together_end_within_thirty_seconds(site: Site, token_url: str) -> None:
    steps = Steps()
    start = steps.clock()

    def slow_trouble(_: object) -> Reply:
        steps.clock.sleep(14.6)
        return Reply(500)

    site.answer = slow_trouble

    assert_failed(steps.log_in(token_url), TokenEndpointUnavailable)
    assert len(site.arrived) == 2
    assert steps.clock() - start <= 30.0


def test_the_last_attempt_has_only_what_is_left_of_them(site: Site, token_url: str) -> None:
    steps = Steps()

    def slow_trouble(_: object) -> Any:
        steps.clock.sleep(28.0)
        return Reply(500) if len(site.arrived) == 1 else site.drip(head())

    site.answer = slow_trouble

    result = steps.log_in(token_url)

    assert_failed(result, TokenEndpointUnavailable)
    assert OVERDUE in result.why
    assert float(result.why.rpartition(OVERDUE)[2].split()[0]) < 2
    assert until(lambda: not unfinished())


def test_the_lease_is_extended_before_each_pause_and_each_further_attempt(site: Site, token_url: str) -> None:
    site.answer = lambda _: Reply(500)
    steps = Steps()

    steps.log_in(token_url)

    first, second = steps.pauses
    assert steps.told == [first, 13.05, second, 13.05]


# What is not told


def records(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [
        f"{record.getMessage()} {record.args}" for record in caplog.records if record.name.startswith(name)
    ]


def test_the_oauth_library_says_nothing_of_our_logins(
    site: Site, token_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG it would print the password, the client secret and the token."""
    caplog.set_level(logging.DEBUG)
    site.answer = lambda _: ok(token_answer())

    log_in(token_url)

    assert records(caplog, "requests_oauthlib") == []
    assert not [text for text in records(caplog, "") for secret in (*SECRETS, "token-1") if secret in text]


def test_others_hear_the_oauth_library_also_during_a_login_of_ours(
    site: Site, token_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: object) -> Reply:
        asked.set()
        go_on.wait(10)
        return ok(token_answer())

    site.answer = answer

    def somebody_else() -> list[str]:
        assert asked.wait(10)
        with OAuth2Session("client", token={"access_token": "theirs"}) as session, suppress(OSError):
            session.get("https://127.0.0.1:9/", timeout=1)
        go_on.set()
        return records(caplog, "requests_oauthlib")

    result, heard = at_once([lambda: log_in(token_url), somebody_else])

    assert isinstance(result, Grant)
    assert any("theirs" in text for text in heard)
    assert len(records(caplog, "requests_oauthlib")) == len(heard)


def test_credentials_show_nothing_and_do_not_pickle() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(CREDENTIALS)
    assert repr(CREDENTIALS) == str(CREDENTIALS) == "<Credentials>"


def test_a_proof_tells_the_same_credentials_from_others_and_nothing_else() -> None:
    """Salted: two proofs of the same credentials differ. Keyed: the API key, which no store holds, is in it."""
    names = ("api_key", "username", "password", "client_id", "client_secret")
    mine = [getattr(CREDENTIALS, name).reveal() for name in names]
    proof = CREDENTIALS.proof()

    assert Credentials(*mine).match(proof)
    assert [PasswordGrant(CREDENTIALS, "url", (1.0, 1.0)).ours(proof) for _ in range(2)] == [True, True]
    assert proof != CREDENTIALS.proof()
    for index in range(len(names)):
        other = Credentials(*(f"{value}{'x' * (place == index)}" for place, value in enumerate(mine)))
        assert not other.match(proof)
    assert not CREDENTIALS.match("no hex at all")
    assert not CREDENTIALS.match("")


# Whatever an answer may be


def answered(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    response = Response()
    response.status_code, response._content = status, body
    response.headers.update(headers or {})
    return response


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["access_token", "token_type", "expires_in", "scope", "refresh_token", "error"])


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A good answer in which a field or a stretch of bytes is another, or lacking."""
    fields = {**json.loads(token_answer()), "refresh_token": "refresh-1", "busId": "200001"}
    for name in draw(st.lists(FIELDS, max_size=2)):
        if draw(st.booleans()):
            fields[name] = draw(ANYTHING)
        else:
            fields.pop(name, None)
    text = json.dumps(fields).encode()
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 6))
        text = text[:start] + draw(st.binary(max_size=4)) + text[end:]
    return text


def assert_token_or_invalid(result: Grant | Failure) -> None:
    if isinstance(result, Grant):
        token = renewal.granted(result, (), 300.0)
        assert tokens.usable(token.access_token)
        assert math.isfinite(token.life)
        assert 0 < token.life <= tokens.LONGEST_LIFE
        assert 0 <= token.buffer < token.life
    else:
        assert_failed(result, InvalidTokenResponse)


@settings(PATIENT, max_examples=1000)
@given(mutations())
def test_a_mutated_answer_is_a_usable_token_or_invalid(body: bytes) -> None:
    assert_token_or_invalid(judge("url", answered(200, body), sent=5.0, received=6.0))


def test_a_mutated_answer_is_so_over_the_wire_too(site: Site, token_url: str) -> None:
    @settings(PATIENT, max_examples=200, database=None)
    @given(mutations())
    def each(body: bytes) -> None:
        site.answer = lambda _: ok(body)
        assert_token_or_invalid(log_in(token_url))

    each()


@settings(PATIENT, max_examples=300)
@given(st.integers(201, 599), st.binary(max_size=20) | mutations())
def test_no_status_but_200_gives_a_token(status: int, body: bytes) -> None:
    result = judge("url", answered(status, body), sent=5.0, received=6.0)

    assert isinstance(result, Failure)
    assert result.transient is (status in (408, 425, 429) or status >= 500)


def test_the_error_comes_out_of_the_call_that_needed_the_token(site: Site, token_url: str) -> None:
    """With nothing behind it: no cause, no context, no frame of the libraries below."""
    site.answer = lambda _: Reply(401, ECHO.encode())

    with pytest.raises(CredentialsRejected) as caught:
        Request("GET", f"{site.url}/v1/shipments", auth=auth_at(site.url)).prepare()

    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert (caught.value.request, caught.value.response) == (None, None)
