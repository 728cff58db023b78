"""A token is a value: its three states, its stored form, and what it does not show."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turvo_session import tokens
from turvo_session.tokens import Token

SECRET = "3b_-secret-of-a-token"
SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
SECONDS = st.floats(min_value=0.001, max_value=tokens.LONGEST_LIFE)


@pytest.mark.parametrize(
    ("now", "state", "left"),
    [
        (100.0, "fresh", 1000.0),
        (1049.9, "fresh", 50.1),
        (1050.0, "due", 50.0),
        (1099.9, "due", 0.1),
        (1100.0, "expired", 0.0),
        (9999.0, "expired", 0.0),
    ],
)
def test_a_token_is_fresh_then_due_then_expired(now: float, state: str, left: float) -> None:
    token = Token(SECRET, start=100.0, life=1000.0, buffer=50.0)

    assert token.state(now) == state
    assert token.seconds_left(now) == pytest.approx(left)


def test_a_token_without_a_buffer_is_never_due() -> None:
    token = Token(SECRET, start=0.0, life=10.0, buffer=0.0)

    assert [token.state(now) for now in (0.0, 9.999, 10.0)] == ["fresh", "fresh", "expired"]


def test_a_token_shows_its_fingerprint_and_never_its_secret() -> None:
    token = Token(SECRET, 0.0, 1.0, 0.0)

    assert token.fingerprint == tokens.fingerprint(SECRET) == sha256(SECRET.encode()).hexdigest()[:8]
    assert repr(token) == str(token) == f"{token}" == f"<Token {token.fingerprint}>"


def test_a_token_is_frozen_and_has_no_room_for_more() -> None:
    token = Token(SECRET, 0.0, 1.0, 0.0)

    for name in ("access_token", "start", "life", "buffer"):
        with pytest.raises(AttributeError, match=name):
            setattr(token, name, "other")
    assert not hasattr(token, "__dict__")
    assert token == Token(SECRET, 0.0, 1.0, 0.0) != Token("other", 0.0, 1.0, 0.0)


def test_a_token_does_not_pickle_and_a_copy_of_it_is_the_token_itself() -> None:
    token = Token(SECRET, 0.0, 1.0, 0.0)
    with pytest.raises(TypeError, match="does not pickle") as caught:
        pickle.dumps(token)

    assert SECRET not in str(caught.value)
    assert copy.copy(token) is copy.deepcopy(token) is token


@pytest.mark.parametrize(
    ("secret", "usable"),
    [
        (SECRET, True),
        ("!", True),
        ("~" * 8192, True),
        ("~" * 8193, False),
        ("", False),
        ("two words", False),
        ("line\r\nX-Evil: 1", False),
        ("line\n", False),
        ("nul\0", False),
        ("del\x7f", False),
        ("umlaut-ä", False),
        ("surrogate-\ud800", False),
        (b"bytes", False),
        (None, False),
        (7, False),
        (["list"], False),
    ],
)
def test_only_visible_ascii_is_usable_as_a_token(secret: object, usable: bool) -> None:
    assert tokens.usable(secret) is usable


def test_the_stored_form_is_what_existing_scripts_read() -> None:
    """``expires_at`` is ISO 8601 in UTC, the moment at which the buffer begins."""
    token = Token(SECRET, start=50.0, life=43200.0, buffer=300.0)

    fields = json.loads(tokens.dump(token, now=1050.0))

    assert set(fields) == {"access_token", "expires_at", "buffer"}
    assert (fields["access_token"], fields["buffer"]) == (SECRET, 300.0)
    expires_at = datetime.fromisoformat(fields["expires_at"])
    assert expires_at.utcoffset() == timedelta(0)
    assert abs(expires_at - datetime.now(UTC) - timedelta(seconds=43200 - 1000 - 300)) < timedelta(minutes=1)


@given(secret=SECRETS, life=SECONDS, share=st.floats(0, 0.1), age=st.floats(0, 0.99))
def test_a_token_survives_its_stored_form(secret: str, life: float, share: float, age: float) -> None:
    """What is read is the same secret with the same end and the same window, whatever the clock of the reader."""
    token = Token(secret, start=1000.0, life=life, buffer=life * share)
    now = 1000.0 + life * age
    left = token.seconds_left(now)

    value = tokens.dump(token, now)
    read = tokens.load(value, left, now=7.0)

    assert value.isascii() and read is not None and read.access_token == secret
    assert read.end - 7.0 == pytest.approx(left) and read.buffer == token.buffer
    assert read.due - 7.0 == pytest.approx(token.due - now, abs=1e-6)


@pytest.mark.parametrize(
    ("more", "left", "buffer"),
    [
        ({}, 43000.0, 300.0),
        ({}, 1000.0, 300.0),
        ({"buffer": None}, 1000.0, 300.0),
        ({"buffer": "a lot"}, 1000.0, 300.0),
        ({"buffer": True}, 1000.0, 300.0),
        ({"buffer": -5}, 1000.0, 300.0),
        ({"buffer": 0}, 1000.0, 0.0),
        ({"buffer": "60"}, 1000.0, 60.0),
        ({"expires_at": "1999-01-01T00:00:00"}, 1000.0, 300.0),
        ({"expires_at": 17, "refresh_token": "x"}, 1000.0, 300.0),
        ({}, 100.0, 300.0),  # due: the first of us to meet it sees to another
    ],
)
def test_a_value_of_somebody_elses_script_is_a_token(
    more: dict[str, Any], left: float, buffer: float
) -> None:
    """The life is that of the key, never ``expires_at``; where no buffer is told it is 300 s."""
    value = json.dumps({"access_token": SECRET, **more}).encode()

    assert tokens.load(value, left, now=20.0) == Token(SECRET, 20.0, left, buffer)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"?",
        SECRET.encode(),
        b"null",
        b'["access_token"]',
        b'{"access_token": ',
        b'{"access_token": 7}',
        b'{"access_token": null}',
        b'{"access_token": ""}',
        b'{"access_token": "two words"}',
        b'{"access_token": "a\\u0000b"}',
        b'{"access_token": "\\ud800"}',
        b'{"token": "abc"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"access_token": "abc", "buffer": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_is_no_token_is_none(value: bytes) -> None:
    assert tokens.load(value, 1000.0, 0.0) is None


@pytest.mark.parametrize(("left", "buffer"), [(1e12, 300.0), (1e12, 1e15), (1000.0, 1e300)])
def test_a_value_that_is_for_ever_is_a_token_and_can_be_stored_again(left: float, buffer: float) -> None:
    """Whatever somebody wrote: no date of ours is beyond the calendar."""
    value = json.dumps({"access_token": SECRET, "buffer": buffer}).encode()

    token = tokens.load(value, left, now=20.0)

    assert token is not None and token.access_token == SECRET
    assert token.life <= tokens.LONGEST_LIFE
    assert json.loads(tokens.dump(token, now=25.0))["access_token"] == SECRET


@pytest.mark.parametrize("left", [0.0, -1.0, float("nan")])
def test_a_value_without_a_life_is_none(left: float) -> None:
    assert tokens.load(tokens.dump(Token(SECRET, 0.0, 9.0, 0.0), 0.0), left, 0.0) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_or_none(value: bytes) -> None:
    token = tokens.load(value, 10.0, 0.0)

    assert token is None or tokens.usable(token.access_token)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (-0.0, 0.0),
        (43198, 43198.0),
        (1.5, 1.5),
        ("43198", 43198.0),
        ("3600.0", 3600.0),
        (" 7 ", 7.0),
        (-1, None),
        ("-1", None),
        ("abc", None),
        ("", None),
        (True, None),
        (False, None),
        (None, None),
        ([7], None),
        (float("nan"), None),
        (float("inf"), None),
        ("Infinity", None),
        ("1e999", None),
        (10**400, None),
    ],
)
def test_numbers_are_finite_and_not_negative_or_none(value: object, number: float | None) -> None:
    assert tokens.number(value) == number
