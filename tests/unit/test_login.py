"""The login without a server: what an answer means, and what holds the credentials."""

from __future__ import annotations

import functools
import hashlib
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import answers
from tests.support.interrupts import handled_by_raising
from tests.support.wire import CREDENTIALS, PATIENT, assert_failed, token_answer
from turvo_session import failure, login, tokens
from turvo_session.errors import CredentialsRejected, SettingsError
from turvo_session.failure import Failure
from turvo_session.login import Credentials, Grant, PasswordLogin, TlsOptions

URL = "https://publicapi.turvo.com/v1/oauth/token"


def judged(status: int, body: object, **headers: str) -> Grant | Failure:
    """Return what an answer means; ``body`` is sent as JSON unless it is bytes."""
    answer = requests.Response()
    answer.status_code = status
    answer._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer.headers.update({name.replace("_", "-"): headers[name] for name in headers})
    return login.judge(URL, answer, sent=5.0, received=6.0)


@pytest.mark.parametrize(("changed", "life"), answers.LIVES)
def test_a_token_response_is_a_grant(changed: dict[str, Any], life: float) -> None:
    grant = judged(200, token_answer(**changed))
    assert isinstance(grant, Grant)
    assert grant.access_token == changed.get("token", "token-1")
    assert (grant.expires_in, grant.sent, grant.received) == (life, 5.0, 6.0)


@pytest.mark.parametrize(("status", "body"), answers.FOREIGN_ANSWERS)
def test_an_answer_of_another_server_is_foreign(status: int, body: object) -> None:
    assert_failed(judged(status, body), failure.FOREIGN, f"answered {status}")


@pytest.mark.parametrize(("status", "body", "said"), answers.REJECTIONS)
def test_a_refusal_in_json_is_a_rejection(status: int, body: object, said: str) -> None:
    result = assert_failed(judged(status, body), failure.REJECTED)
    assert result.why == f"POST {URL} answered {said}"


@pytest.mark.parametrize("body", [b"", b"<html>", answers.ECHO, token_answer()])
@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (failure.UNAVAILABLE, (408, 425, 429, 502, 503)),
        (failure.UNANSWERED, (500, 501, 504, 599)),
    ],
)
def test_the_status_of_trouble_counts_more_than_the_body(
    kind: str, statuses: tuple[int, ...], body: object
) -> None:
    for status in statuses:
        assert_failed(judged(status, body), kind, f"answered {status}")


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error"])
def test_oauth_codes_of_trouble_are_not_rejections(status: int, code: str) -> None:
    judgment = judged(status, {"error": code}, Retry_After="7")
    result = assert_failed(judgment, failure.UNAVAILABLE, f"answered {status} {code}")
    assert result.retry_after == 7.0


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        *[("7", 7, 7), (" 7 ", 7, 7), ("0", 0, 0), ("100000000", 900, 900)],
        *[(600, 400, 601), (86400, 900, 900), (-600, 0, 0)],
    ],
)
def test_retry_after_is_seconds_or_a_date(
    header: str | int, low: float, high: float
) -> None:
    if isinstance(header, int):
        moment = datetime.now(UTC) + timedelta(seconds=header)
        header = format_datetime(moment, usegmt=True)
    result = assert_failed(judged(429, b"", Retry_After=header), failure.UNAVAILABLE)
    assert low <= (result.retry_after or 0.0) <= high


@PATIENT
@given(
    st.sampled_from(["soon", "-1", "1e3", "7.5", "9" * 6000, "Mon, 99 Foo 2026"])
    | st.text("0123456789abcdeMonJGT +-:,.()\t\xff\u0661", max_size=40)
)
def test_a_retry_after_that_is_junk_counts_as_none(header: str) -> None:
    seconds = login.parse_retry_after(header)
    assert seconds is None or 0 <= seconds <= 900
    assert seconds is None or header.strip()[:1].isdecimal()


@settings(PATIENT, max_examples=1000)
@given(st.just(200) | st.integers(201, 599), st.binary() | answers.mutated_answers())
def test_any_answer_is_a_usable_token_or_a_failure(status: int, body: bytes) -> None:
    result = judged(status, body)
    if isinstance(result, Grant):
        assert status == 200
        assert tokens.usable(result.access_token)
        assert 0 <= result.expires_in <= tokens.LONGEST_LIFE
    else:
        assert "token-1" not in result.why


# Credentials


def login_with(password: str | Callable[[], str], **changed: str) -> PasswordLogin:
    """Return a login with these credentials."""
    names = ("api_key", "username", "client_id", "client_secret")
    fields = {name: changed.get(name, name) for name in names}
    return PasswordLogin(Credentials(password=password, **fields), URL, (3.0, 10.0))


def test_tls_options_are_frozen_and_lend_copies() -> None:
    """requests adds the environment's proxies to the dict that it gets."""
    proxies = {"https": "http://proxy"}
    options = TlsOptions(verify="ca.pem", cert=("a", "b"), proxies=proxies)
    options.for_request()["proxies"].clear()
    proxies.clear()
    kept = options.for_request()
    assert (kept["verify"], kept["cert"]) == ("ca.pem", ("a", "b"))
    assert kept["proxies"] == {"https": "http://proxy"}
    with pytest.raises(AttributeError, match="cannot be changed"):
        options.verify = False


@pytest.mark.parametrize(
    ("timeouts", "seconds"),
    [((3.05, 10.0), 13.05), ((5, 60), 30.0), ((3.05, 500.0), 30.0)],
)
def test_an_attempt_takes_both_timeouts_or_half_a_minute(
    timeouts: tuple[float, float], seconds: float
) -> None:
    made = PasswordLogin(CREDENTIALS, URL, timeouts)
    assert made.attempt_seconds == seconds
    assert made.url_hash == hashlib.sha256(URL.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        (functools.partial({}.__getitem__, "hush"), "partial raised KeyError"),
        (lambda: {}["hush"], "<lambda> raised KeyError"),
        *((lambda: None, "a non-empty str"), (lambda: b"hush", "a non-empty str")),
        *((lambda: "", "a non-empty str"), (lambda: "hush\n", "without blanks at")),
        (lambda: "hush\udcff", "that UTF-8 can encode"),
    ],
)
def test_a_callable_that_gives_no_password_is_a_wrong_setting(
    password: Callable[[], Any], problem: str
) -> None:
    """Its own exception may hold a secret, so it is neither cause nor context."""
    with pytest.raises(SettingsError, match=problem) as caught:
        login_with(password)(attempts=1, may_count=1, extend=lambda _: None)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("error", [CredentialsRejected("of another"), KeyError()])
def test_errors_that_pass_through_a_password_callable(error: Exception) -> None:
    def password() -> str:
        if isinstance(error, CredentialsRejected):
            raise error
        signal.raise_signal(signal.SIGUSR1)
        return "never"

    with pytest.raises(type(error)) as caught, handled_by_raising(error):
        login_with(password).proof("ab" * 16)
    assert caught.value is error


def test_a_proof_shows_the_same_credentials_and_nothing_else() -> None:
    proof = login_with("password").proof("ab" * 16)
    assert proof == login_with(lambda: "password").proof("ab" * 16)
    assert proof != login_with("password").proof("cd" * 16)
    assert proof != login_with("another").proof("ab" * 16)
    for name in ("api_key", "username", "client_id", "client_secret"):
        assert proof != login_with("password", **{name: "another"}).proof("ab" * 16)


def test_a_proof_is_made_once_for_a_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(hashlib, "scrypt", lambda *a, **b: made.append(a) or b"\1")
    passwords = ["first", "first", "second"]
    one = login_with(lambda: passwords.pop(0))
    assert {one.proof("ab") for _ in range(3)} == {"01"}
    assert len(made) == 2


def test_a_proof_costs_what_owasp_asks_for() -> None:
    """The sets of its Password Storage Cheat Sheet of 2024."""
    scrypt, pbkdf2 = (options for _, options in login.SLOW_HASHES)
    assert (scrypt["n"], scrypt["r"], scrypt["p"]) == (2**14, 8, 5)
    assert (pbkdf2["hash_name"], pbkdf2["iterations"]) == ("sha256", 600_000)


def test_a_proof_is_made_without_scrypt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under FIPS 140 there is PBKDF2 only. Without either, nothing is proved."""
    assert login_with("password").proof("not hex") == ""
    monkeypatch.delattr(hashlib, "scrypt")
    proof = login_with("password").proof("ab" * 16)
    assert proof == login_with("password").proof("ab" * 16)
    assert proof != login_with("another").proof("ab" * 16)
    monkeypatch.delattr(hashlib, "pbkdf2_hmac")
    assert login_with("password").proof("ab" * 16) == ""


class Alarm:
    """A signal handler, as an object and as a method."""

    def __call__(self, *_: object) -> None:
        raise TimeoutError("time limit")


@pytest.mark.parametrize(
    "handler",
    [Alarm(), Alarm().__call__, lambda *_: Alarm()(), functools.partial(Alarm())],
    ids=["object", "method", "function", "partial"],
)
def test_the_exception_of_a_signal_handler_is_found(
    handler: Callable[..., None],
) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError) as caught:
            signal.raise_signal(signal.SIGUSR1)
        unrelated = OSError("broken")
        unrelated.__context__ = limit = caught.value
        assert login.raised_by_signal_handler(limit) is limit
        wrapped = requests.ConnectionError(OSError("broken", limit))
        assert login.raised_by_signal_handler(wrapped) is limit
        assert login.raised_by_signal_handler(unrelated) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
