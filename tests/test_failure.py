"""A failure is a value: how long it binds, its stored form, and the error that it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turvo_session import (
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
    TurvoAuthError,
)
from turvo_session import failure as failures
from turvo_session.failure import BUSY, INVALID, REJECTED, THROTTLED, UNAVAILABLE, UNPROVEN, Failure
from turvo_session.store import Slot

WHY = "POST https://turvo.test/v1/oauth/token answered 500"


@pytest.mark.parametrize(
    ("kind", "error", "retry_after", "words"),
    [
        (REJECTED, CredentialsRejected, None, ("TURVO_PASSWORD", "12 s", "changed ones are tried at once")),
        (THROTTLED, TokenEndpointUnavailable, 12.3, ("Nobody", "12 s")),
        (UNAVAILABLE, TokenEndpointUnavailable, 12.3, ("Nobody", "12 s")),
        (INVALID, InvalidTokenResponse, None, ("TURVO_BASE_URL", "12 s")),
    ],
)
def test_a_failure_becomes_the_error_that_says_what_to_do(
    kind: str, error: type[TurvoAuthError], retry_after: float | None, words: tuple[str, ...]
) -> None:
    raised = Failure(kind, WHY, left=12.3).error()

    assert type(raised) is error
    assert getattr(raised, "retry_after", None) == retry_after
    assert str(raised).startswith(f"{WHY}. ") and all(word in str(raised) for word in words)


@pytest.mark.parametrize(
    ("kind", "transient"),
    [(THROTTLED, True), (UNAVAILABLE, True), (REJECTED, False), (INVALID, False), (UNPROVEN, False)],
)
def test_only_throttling_and_outages_are_transient(kind: str, transient: bool) -> None:
    assert Failure(kind).transient is transient


def before(kind: str, step: int = 0, *, soft: bool = False) -> Failure:
    return Failure(kind, WHY, left=0.0, soft=soft, step=step)


@pytest.mark.parametrize(
    ("kind", "retry_after", "last", "ahead", "left", "soft", "step"),
    [
        # Ahead of time: 30 s, doubling, at most 240 s, and soft.
        (UNAVAILABLE, None, None, True, 30.0, True, 0),
        (UNAVAILABLE, None, before(UNAVAILABLE, soft=True), True, 60.0, True, 1),
        (INVALID, None, before(THROTTLED, 1, soft=True), True, 120.0, True, 2),
        (UNAVAILABLE, None, before(INVALID, 2, soft=True), True, 240.0, True, 3),
        (UNAVAILABLE, None, before(UNAVAILABLE, 9, soft=True), True, 240.0, True, 10),
        # In earnest: 5 s, doubling, at most a minute, and hard.
        (UNAVAILABLE, None, None, False, 5.0, False, 0),
        (INVALID, None, before(UNAVAILABLE), False, 10.0, False, 1),
        (UNAVAILABLE, None, before(UNAVAILABLE, 3), False, 60.0, False, 4),
        (UNAVAILABLE, None, before(UNAVAILABLE, 16), False, 60.0, False, 17),
        # What went before counts only if it was a failed login for a reason that may pass.
        (UNAVAILABLE, None, before(REJECTED, 4), False, 5.0, False, 0),
        (UNAVAILABLE, None, before(UNPROVEN), True, 30.0, True, 0),
        (UNAVAILABLE, None, before(BUSY), True, 30.0, True, 0),
        # Tries ahead of time and tries in earnest are counted apart.
        (UNAVAILABLE, None, before(UNAVAILABLE, 3, soft=True), False, 5.0, False, 0),
        (UNAVAILABLE, None, before(UNAVAILABLE, 3), True, 30.0, True, 0),
        # The server's own word is kept, and binds everybody; a shorter one does not shorten ours.
        (THROTTLED, 100.0, None, False, 100.0, False, 0),
        (THROTTLED, 100.0, None, True, 100.0, False, 0),
        (THROTTLED, 2.0, None, False, 5.0, False, 0),
        (THROTTLED, 30.0, None, True, 30.0, True, 0),
        (UNAVAILABLE, 0.0, None, True, 30.0, True, 0),
        (UNAVAILABLE, 1.0, before(UNAVAILABLE, 1, soft=True), True, 120.0, True, 2),
        # Rejected credentials are left alone for a quarter of an hour, whatever else.
        (REJECTED, None, before(UNAVAILABLE, 3), True, 900.0, False, 0),
        (REJECTED, None, None, False, 900.0, False, 0),
    ],
)
def test_back_off(
    kind: str,
    retry_after: float | None,
    last: Failure | None,
    ahead: bool,
    left: float,
    soft: bool,
    step: int,
) -> None:
    failure = failures.back_off(Failure(kind, WHY, retry_after=retry_after), last, ahead=ahead)

    assert (failure.left, failure.soft, failure.step) == (left, soft, step)


FAILURES = st.builds(
    Failure,
    kind=st.sampled_from([REJECTED, THROTTLED, UNAVAILABLE, INVALID, BUSY, UNPROVEN]),
    why=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200),
    left=st.floats(0.001, 900.0),
    soft=st.booleans(),
    step=st.integers(0, 16),
    proof=st.sampled_from(["", "0" * 96]),
    token=st.sampled_from(["", "0a1b2c3d"]),
    retry_after=st.none(),
)


@given(failure=FAILURES, passed=st.floats(0.0, 1.0))
def test_a_failure_survives_its_stored_form(failure: Failure, passed: float) -> None:
    """... and what it has left is counted by the store's own clock."""
    slot = failures.dump(failure)
    later = Slot(slot.value, slot.left - failure.left * passed)

    read = failures.load(later)

    assert slot.value.isascii() and read is not None
    assert read.left == pytest.approx(failure.left * (1 - passed), abs=1e-6)
    assert read._replace(left=0.0) == failure._replace(left=0.0)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (UNAVAILABLE, 20.0),
        (THROTTLED, 20.0),
        (INVALID, 20.0),
        (REJECTED, 10.0),
        (BUSY, 10.0),
        (UNPROVEN, 10.0),
    ],
)
def test_a_back_off_is_kept_for_as_long_again_so_that_its_step_is_known(kind: str, kept: float) -> None:
    slot = failures.dump(Failure(kind, WHY, left=10.0, step=2))

    over = failures.load(Slot(slot.value, kept - 10.0))

    assert slot.left == kept
    assert over is not None and (over.left, over.step) == (0.0, 2)


def test_a_failure_can_be_kept_for_less_than_it_binds() -> None:
    slot = failures.dump(Failure(REJECTED, WHY, left=900.0), 1.0)

    read = failures.load(slot)

    assert slot.left == 1.0 and read is not None and read.left == 900.0


def test_a_long_reason_is_shared_shortened() -> None:
    """A failure that others could not read would not bind them."""
    read = failures.load(failures.dump(Failure(REJECTED, "x" * 5000, left=900.0, proof="0" * 96)))

    assert read is not None and (read.why, read.proof) == ("x" * 200, "0" * 96)


def stored(**fields: Any) -> bytes:
    good = {"kind": UNAVAILABLE, "why": WHY, "over": 10.0}
    return json.dumps({**good, **fields}).encode()


def test_no_slot_is_no_failure() -> None:
    assert failures.load(None) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"?",
        b"[]",
        b"1",
        b"{}",
        b"{" * 5000,
        stored(kind=None),
        stored(kind=7),
        stored(over=None),
        stored(over=10),
        stored(over="10"),
        stored(step="2"),
        stored(step=1.5),
        stored(step=None),
        stored(why=None),
        stored(why="two\nlines"),
        stored(why="x" * 201),
        stored(why="umlaut-ä"),
        stored(proof=7),
        stored(token=["a"]),
    ],
    ids=lambda value: repr(value[:60]),
)
def test_what_is_no_failure_is_none(value: bytes) -> None:
    assert failures.load(Slot(value, 20.0)) is None


@pytest.mark.parametrize(
    ("value", "left", "step"),
    [
        (stored(), 20.0, 0),
        (stored(over=-1e308), 900.0, 0),
        (stored(over=float("-inf")), 900.0, 0),
        (stored(over=float("nan")), 0.0, 0),
        (stored(over=1e308), 0.0, 0),
        (stored(step=10**30), 20.0, 16),
        (stored(step=-(10**30)), 20.0, 16),
        (stored(soft="yes", more=1), 20.0, 0),
    ],
)
def test_a_failure_that_somebody_else_wrote_binds_for_a_quarter_of_an_hour_at_most(
    value: bytes, left: float, step: int
) -> None:
    assert failures.load(Slot(value, 30.0)) == Failure(UNAVAILABLE, WHY, left, step=step)
