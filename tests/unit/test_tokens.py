"""A token as a value: its three states, its stored form, and what counts as a token."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turvo_session import tokens
from turvo_session.tokens import LONGEST_LIFE, Token

SECRET = "3b_-secret-of-a-token"
NINES = b"9" * 5000
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


@pytest.mark.parametrize(
    ("now", "state", "left"),
    [
        *((100.0, "fresh", 1000.0), (1049.5, "fresh", 50.5), (1050.0, "due", 50.0)),
        *((1099.5, "due", 0.5), (1100.0, "expired", 0.0), (9999.0, "expired", 0.0)),
    ],
)
def test_a_token_is_fresh_then_due_then_expired(
    now: float, state: str, left: float
) -> None:
    token = Token(SECRET, start=100.0, life=1000.0, buffer=50.0)
    assert (token.state(now), token.seconds_left(now)) == (state, left)
    assert (token.due, token.end) == (1050.0, 1100.0)


def test_tokens_are_equal_with_their_times_and_the_same_by_their_secret() -> None:
    token, twin, later = (Token(SECRET, start, 1, 0) for start in (0, 0, 5))
    other = Token("x", 0, 1, 0)
    assert token == twin and (token == SECRET) is False
    assert len({token, twin, later, other}) == 3
    assert tokens.same_secret(token, later)
    assert not tokens.same_secret(token, other) and not tokens.same_secret(token, None)
    name = sha256(SECRET.encode()).hexdigest()[:8]
    assert token.fingerprint == tokens.fingerprint(SECRET) == name
    assert repr(token) == f"<Token {name}>"


def test_only_visible_ascii_is_usable_as_a_token() -> None:
    assert all(map(tokens.usable, [SECRET, "!", "~" * 8192]))
    unusable = ["", "~" * 8193, "two words", "a\r\nX-Evil: 1", "a\n", "a\0", "a\x7f"]
    others = ["umlaut-ä", "surrogate-\ud800", b"bytes", None, 7, ["list"]]
    assert not any(map(tokens.usable, [*unusable, *others]))


def test_the_stored_form_is_what_existing_scripts_read() -> None:
    """``expires_at`` is ISO 8601 in UTC: the moment from which the token is due."""
    token = Token(SECRET, start=50.0, life=43200.0, buffer=300.0)
    fields = json.loads(tokens.dump(token, now=1050.0))
    assert set(fields) == {"access_token", "expires_at", "buffer"}
    expires_at = datetime.fromisoformat(fields["expires_at"])
    assert expires_at.utcoffset() == timedelta(0)
    due_in = timedelta(seconds=43200 - 1000 - 300)
    assert abs(expires_at - datetime.now(UTC) - due_in) < timedelta(minutes=1)


@given(
    st.text(VISIBLE, min_size=1, max_size=60),
    st.floats(0.001, LONGEST_LIFE),
    st.floats(0, 0.1),
    st.floats(0, 0.99),
)
def test_a_token_survives_its_stored_form(
    secret: str, life: float, share: float, age: float
) -> None:
    token = Token(secret, start=1000.0, life=life, buffer=life * share)
    now = 1000.0 + life * age
    value, left = tokens.dump(token, now), token.seconds_left(now)
    read = tokens.load(value, left, now=7.0)
    assert value.isascii() and read
    assert (read.access_token, read.buffer) == (secret, token.buffer)
    assert read.end - 7.0 == pytest.approx(left)


@pytest.mark.parametrize(
    ("more", "left", "buffer"),
    [
        ({}, 43000.0, 300.0),
        ({}, 100.0, 300.0),  # due: the first process to read it renews it
        ({"buffer": None}, 1000.0, 300.0),
        ({"buffer": "a lot"}, 1000.0, 300.0),
        ({"buffer": 0}, 1000.0, 0.0),
        ({"buffer": "60"}, 1000.0, 60.0),
        ({"buffer": 1e300}, 1e12, LONGEST_LIFE),  # beyond the calendar
        ({"expires_at": "1999-01-01T00:00:00", "refresh_token": "x"}, 9.0, 300.0),
    ],
)
def test_a_value_that_another_script_wrote_is_a_token(
    more: dict[str, Any], left: float, buffer: float
) -> None:
    """Its life is the key's time to live, not ``expires_at``; its buffer is 300 s."""
    value = json.dumps({"access_token": SECRET, **more}).encode()
    token = tokens.load(value, left, now=20.0)
    assert token == Token(SECRET, 20.0, min(left, 30 * 86400.0), buffer)
    assert tokens.load(tokens.dump(token, 25.0), 9.0, now=25.0)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        *((b'{"access_token": "abc"}', left) for left in (0.0, -1.0, float("nan"))),
        *((value, 9.0) for value in (b"", b"null", b'["access_token"]', b"\xff\xfe\0")),
        *((b'{"access_token": %s' % rest, 9.0) for rest in (b"", b"7}", b'"two x"}')),
        *((b'{"access_token": "\\ud800"}', 9.0), (b'{"token": "abc"}', 9.0)),
        *((b"[" * 100_000, 9.0), (b'{"access_token": "a", "buffer": %s}' % NINES, 9.0)),
    ],
    ids=lambda part: repr(part)[:30],
)
def test_a_value_that_holds_no_token_is_none(value: bytes, left: float) -> None:
    assert tokens.load(value, left, 0.0) is None


def test_seconds_are_finite_and_not_negative() -> None:
    good: list[object] = [0, 43198, 1.5, "43198", "3600.0", " 7 "]
    found = [tokens.parse_seconds(value) for value in good]
    assert found == [0.0, 43198.0, 1.5, 43198.0, 3600.0, 7.0]
    bad: list[object] = [-0.001, "-1", "abc", "", True, False, None, [7], 10**400]
    bad += [float("nan"), float("inf"), "Infinity", "1e999"]
    assert {tokens.parse_seconds(value) for value in bad} == {None}
