"""Failed logins as values: what each kind means, whom it concerns, for how long."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.histories import (
    FULL,
    RECORDS,
    US,
    Memory,
    client,
    planted,
    proof_of,
    stored_form,
)
from turvo_session import errors
from turvo_session import failure as failures
from turvo_session.failure import (
    FOREIGN,
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Attempt,
    Budget,
    Client,
    Failure,
    History,
    Record,
)
from turvo_session.store import Slot
from turvo_session.tokens import Token

DAY = 86400.0
ELSEWHERE = client(endpoint="elsewhere")
NO_ROUTE = [5, 10, 20, 40, 60, 60]
NO_ANSWER = [15, 30, 60, 120, 240, 240]
AHEAD = [30, 60, 120, 240, 240]
HOURS = [900, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 86400]


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.mark.parametrize(
    ("kind", "ahead", "good", "pauses"),
    [
        *((kind, False, True, NO_ROUTE) for kind in (UNREACHABLE, UNAVAILABLE)),
        *((kind, False, False, NO_ANSWER) for kind in (UNANSWERED, FOREIGN)),
        *((kind, True, True, AHEAD) for kind in (UNREACHABLE, UNAVAILABLE)),
        *((kind, True, True, AHEAD) for kind in (UNANSWERED, FOREIGN)),
        (REJECTED, False, False, HOURS),
        # The first rejection beside a good token is more likely a gateway's mistake.
        (REJECTED, False, True, [60, *HOURS]),
        (REJECTED, True, True, [30, *HOURS]),
    ],
)
def test_each_failure_of_a_kind_has_a_longer_pause(
    memory: Memory, kind: str, ahead: bool, good: bool, pauses: list[float]
) -> None:
    """Also where each login begins late and then hangs for 29 seconds."""
    for number, pause in enumerate(pauses):
        record = memory.note(kind, ahead=ahead, good=good)
        assert record.left == pause
        assert record.soft is (ahead and (kind != REJECTED or number == 0))
        assert memory.history.records == (record._replace(reported=True),)
        memory.pass_time(2 * pause + 29.0)
    memory.pass_time(2.0)
    assert memory.history.records == ()


def test_failures_of_another_kind_or_url_are_counted_apart(memory: Memory) -> None:
    for who in (US, US, ELSEWHERE):
        memory.note(UNANSWERED, who)
    assert memory.note(UNAVAILABLE).left == 5.0
    assert memory.note(UNANSWERED, ELSEWHERE).left == 30.0
    assert memory.note(UNANSWERED).left == 60.0


def test_rejections_are_counted_for_the_whole_account(memory: Memory) -> None:
    """Or two wrong passwords would halve each other's pauses."""
    users = [client(user) for user in ("ann", "bob", "ann", "bob")]
    assert [memory.note(REJECTED, user).left for user in users] == HOURS[:4]
    # They are no evidence against credentials that worked, until these fail again.
    assert memory.note(REJECTED, good=True).left == 60.0
    assert memory.note(REJECTED, good=True).left == HOURS[4]


@pytest.mark.parametrize(
    ("kind", "retry_after", "ahead", "left", "soft"),
    [
        (UNAVAILABLE, 100.0, False, 100.0, False),
        (UNAVAILABLE, 100.0, True, 100.0, False),  # the server's own word
        (UNAVAILABLE, 30.0, True, 30.0, True),
        (UNAVAILABLE, 1e9, False, 900.0, False),
        (UNANSWERED, 100.0, False, 15.0, False),
    ],
)
def test_a_server_that_is_not_available_may_ask_for_a_longer_pause(
    kind: str, retry_after: float, ahead: bool, left: float, soft: bool
) -> None:
    failure = Failure(kind, "why", retry_after)
    _, record = History().with_failure(
        failure, US, salt="", ahead=ahead, had_token=True
    )
    assert (record.left, record.soft, record.kept) == (left, soft, 2 * left + 30.0)


ASKERS = [
    US,
    client(process="another process"),
    client("other credentials", "another process"),
    ELSEWHERE,
]


@pytest.mark.parametrize(
    ("kind", "concerned"),
    [(UNREACHABLE, 1), (UNAVAILABLE, 3), (UNANSWERED, 3), (FOREIGN, 3), (REJECTED, 2)],
)
def test_only_those_concerned_wait(memory: Memory, kind: str, concerned: int) -> None:
    pause = memory.note(kind).left
    delays = [memory.history.delay_of_due(who) for who in ASKERS]
    assert delays == [pause] * concerned + [0.0] * (4 - concerned)
    memory.pass_time(pause - 0.5)
    assert memory.blocked(ASKERS) == [True] * concerned + [False] * (4 - concerned)
    memory.pass_time(0.5)
    assert memory.blocked(ASKERS) == [False] * 4


def test_turvo_is_unreachable_for_all_once_it_is_for_a_second(memory: Memory) -> None:
    first, second, third = (client(process=name) for name in "abc")
    memory.note(UNREACHABLE, client(process="b", endpoint="elsewhere"))
    assert [memory.note(UNREACHABLE, first).process for _ in "12"] == ["a", "a"]
    assert memory.blocked([third]) == [False]
    memory.note(UNREACHABLE, second)
    memory.note(UNREACHABLE, first)
    assert memory.blocked([first, second, third]) == [True] * 3


def test_the_failure_that_applies_longest_counts(memory: Memory) -> None:
    """One ahead of time, and a hold, only delay the next try ahead of time."""
    for kind in (UNANSWERED, REJECTED, UNAVAILABLE):
        memory.note(kind)
    blocking = memory.history.blocking(US)
    assert blocking and blocking.kind == REJECTED
    memory.slot = None
    memory.note(UNAVAILABLE, ahead=True, good=True)
    assert memory.history.blocking(US) is None
    assert memory.history.delay_of_due(US) == 30.0
    assert memory.history._replace(hold=50.0).delay_of_due(US) == 50.0


def test_without_a_proof_no_credentials_are_recognized(memory: Memory) -> None:
    mute = Client("url", "a", lambda salt: "")
    memory.note(REJECTED, mute)
    assert memory.history.blocking(mute) is None


def test_the_eight_last_records_are_kept_under_one_salt(memory: Memory) -> None:
    users = [client(str(number)) for number in range(10)]
    for user in users:
        memory.note(REJECTED, user)
    assert memory.blocked(users) == [False] * 2 + [True] * 8
    history, record = memory.history.with_failure(
        Failure(REJECTED, ""), US, salt="another", ahead=False, had_token=False
    )
    assert (history.salt, record.proof) == ("salt", proof_of("us"))
    # A copy of another store's record takes the place of the last one like it.
    before = history.records
    copy = before[0]._replace(why="new")
    expected = history._replace(records=(*before[1:], copy), believed=0.5)
    assert history.with_copy(copy, 0.5) == expected
    assert (
        history.with_copy(copy._replace(kind=FOREIGN), 0.5).records[:-1] == (before[1:])
    )


@pytest.mark.parametrize("kinds", [[FOREIGN] * 8, [REJECTED, *[UNANSWERED] * 7]])
def test_a_ninth_attempt_waits_15_minutes(memory: Memory, kinds: list[str]) -> None:
    for number, kind in enumerate(kinds):
        assert memory.history.spent_budget(US) is None
        memory.note(kind, client(str(number)))
        memory.pass_time(10.0)
    assert memory.history.spent_budget(US) == Budget(REJECTED in kinds, 820.0)
    assert memory.history.spent_budget(ELSEWHERE) is None
    memory.pass_time(820.0)
    assert len(memory.history.attempts_of(US)) == 7
    for _ in range(30):
        memory.note(UNANSWERED)
    assert len(memory.history.attempts) == 24


def failed_with(kind: str, times: int, left: float = 10.0) -> History:
    records = (Record(kind, "why", "url", left=left, kept=40.0, process="b"),)
    return History(records=records, attempts=(Attempt("url", False, 500.0),) * times)


@pytest.mark.parametrize(
    ("history", "ahead", "tries"),
    [
        (History(), True, (1, 2)),
        (failed_with(UNAVAILABLE, 0), False, (3, 2)),
        (failed_with(UNREACHABLE, 0, left=0.5), False, (1, 2)),
        (failed_with(UNREACHABLE, 0, left=0.0), False, (3, 2)),
        (failed_with(UNANSWERED, 1, left=0.0), False, (3, 1)),
        (failed_with(REJECTED, 6), False, (3, 2)),
        (failed_with(REJECTED, 7), False, (3, 1)),
        (failed_with(REJECTED, 9), False, (3, 1)),
    ],
)
def test_how_often_a_login_tries(
    history: History, ahead: bool, tries: tuple[int, int]
) -> None:
    assert history.tries(US, ahead=ahead) == tries
    assert history.tries(ELSEWHERE, ahead=ahead) == (1 if ahead else 3, 2)


@pytest.mark.parametrize(
    ("refill", "allowed", "after"),
    [(0.0, True, 60.0), (120.0, True, 180.0), (120.1, False, 180.0)],
)
def test_three_logins_after_a_401_are_allowed_and_one_more_a_minute(
    refill: float, allowed: bool, after: float
) -> None:
    history = History(refill=refill)
    assert history.allows_login_after_401() is allowed
    assert history.refill_after_login() == after


def test_a_doubt_is_about_one_token_and_has_an_end() -> None:
    token = Token("secret", 0, 9, 0)
    doubt = History(doubted=token.fingerprint, doubted_for=0.5)
    assert doubt.doubts(token) and not doubt.doubts(Token("other", 0, 9, 0))
    assert not doubt._replace(doubted_for=0.0).doubts(token)


def test_a_history_survives_its_stored_form_and_ages_with_its_slot() -> None:
    slot = FULL.slot()
    assert slot and slot.left == 900.0 and failures.load(slot) == FULL
    later = failures.load(Slot(slot.value, slot.left - 45.0))
    assert [(one.left, one.kept) for one in later.records] == [(0.0, 65.0), (0.0, 5.0)]
    assert later.attempts == (Attempt("url", True, 855.0),)
    times = later.refill, later.doubted_for, later.hold, later.believed
    assert times == (135.0, 15.0, 655.0, 0.0)
    assert History(salt="salt", doubted="1a2b3c4d").slot() is None
    for field in ("refill", "doubted_for", "hold", "believed"):
        only = History()._replace(**{field: 1.0})
        assert failures.load(only.slot()) == only
    # A record whose text others could not read would not concern them.
    long = FULL._replace(records=(RECORDS[0]._replace(why="x" * 5000),)).slot()
    assert failures.load(long).records[0].why == "x" * 200


NO_TEXTS = [None, 7, [], {}, True, "two\nlines", "umlaut-ä", "x" * 201]
NO_WORDS = [*NO_TEXTS, "two words", "x" * 129]


@pytest.mark.parametrize(
    ("field", "values", "left"),
    [
        ("kind", [*NO_WORDS, "unknown"], None),
        ("step", [None, "2", 1.5, True, -1, 100, 10**30, [], {}], None),
        ("kept", [None, [], 900.0, 1e9, float("nan"), "x"], None),
        ("why", NO_TEXTS, ""),
        *((field, NO_WORDS, "") for field in ("endpoint", "process", "proof")),
        ("soft", [1, "true", None], False),
    ],
)
def test_junk_of_a_record_is_void(
    field: str, values: list[object], left: object
) -> None:
    """And the whole record, if its kind, step or end makes none."""
    first, second = RECORDS
    expected = (first,) if left is None else (first, second._replace(**{field: left}))
    stored = stored_form()["records"]
    for value in values:
        records = [stored[0], stored[1] | {field: value}]
        assert planted(records=records).records == expected


@pytest.mark.parametrize(
    ("kind", "longest"),
    [(UNREACHABLE, 240), (UNAVAILABLE, 900), (UNANSWERED, 240), (REJECTED, DAY)],
)
def test_a_record_that_applies_too_long_is_void(kind: str, longest: float) -> None:
    def load(left: float, kept: float) -> list[float]:
        record = {"kind": kind, "step": 0, "left": end - left, "kept": end - kept}
        records = planted(end, records=[record]).records
        return [time for one in records for time in (one.left, one.kept)]

    end, kept = 2 * DAY + 31.0, 2 * longest + 30.0
    assert load(longest + 1, kept + 1) == [longest + 1, kept + 1]  # clocks round
    assert load(longest + 2, kept) == [0.0, kept]
    assert load(longest, kept + 2) == load(longest, 0.0) == []


@pytest.mark.parametrize(
    ("field", "longest"),
    [("refill", 180), ("hold", 900), ("believed", 1), ("doubted_for", 60)],
)
def test_a_time_that_is_too_long_is_void(field: str, longest: float) -> None:
    def load(left: float) -> float:
        planted_fields = {field: 2e3 - left, "doubted": ["ab", 2e3 - left]}
        return float(getattr(planted(2e3, **planted_fields), field))

    times = [load(left) for left in (longest, longest + 1, longest + 2, -1.0)]
    assert times == [longest, longest + 1, 0.0, 0.0]


def test_an_attempt_counts_for_15_minutes() -> None:
    ends = [["url", True, 2e3 - left] for left in (900, 901, 902, -1)]
    attempts = planted(2e3, attempts=ends).attempts
    assert [one.left for one in attempts] == [900, 901]


@pytest.mark.parametrize(
    ("field", "empty"),
    [
        *((field, {field: ()}) for field in ("records", "attempts")),
        *((field, {field: 0.0}) for field in ("refill", "hold")),
        ("doubted", {"doubted": "", "doubted_for": 0.0}),
        ("salt", {"salt": ""}),
    ],
)
def test_a_junk_field_is_as_good_as_missing(field: str, empty: dict[str, Any]) -> None:
    for junk in [None, -7, "x y", True, {}, [], [1], [[1, 2]], [["url", 1, "x"]]]:
        assert planted(**{field: junk}) == FULL._replace(**empty)


def test_a_value_without_sense_or_that_is_kept_too_long_is_an_empty_history() -> None:
    for value in (b"", b"?", b"[]", b"1", b"{}", b"{" * 5000, b"\xff"):
        assert failures.load(Slot(value, 20.0)) == failures.load(None) == History()
    assert planted(2 * DAY + 31.0).salt == "salt"
    assert planted(2 * DAY + 32.0) == History()


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (UNREACHABLE, errors.TokenEndpointUnavailable, ["TURVO_BASE_URL", "proxy"]),
        (UNAVAILABLE, errors.TokenEndpointUnavailable, ["not available"]),
        (UNANSWERED, errors.TokenEndpointUnavailable, ["no answer", "network"]),
        (FOREIGN, errors.InvalidTokenResponse, ["TURVO_BASE_URL", "firewall"]),
        (REJECTED, errors.CredentialsRejected, ["TURVO_PASSWORD", "Changed"]),
    ],
)
def test_a_failure_becomes_the_error_that_says_what_to_do(
    kind: str, error: type[Exception], words: list[str]
) -> None:
    record = Record(kind, "POST answered 503", "url", left=12.3)
    raised = record.error()
    assert type(raised) is error
    assert getattr(raised, "retry_after", 12.3) == 12.3
    for word in [*words, "in 12 s", "(POST answered 503)"]:
        assert word in str(raised)
    recorded = str(record._replace(reported=True).error())
    assert "(recorded as 'POST answered 503')" in recorded


@pytest.mark.parametrize("rejected", [True, False])
def test_the_error_of_a_spent_budget_names_the_way_out(rejected: bool) -> None:
    raised = Budget(rejected, 61.0).error()
    assert isinstance(raised, errors.CredentialsRejected) is rejected
    assert getattr(raised, "retry_after", 61.0) == 61.0
    for word in ("1 min 1 s", "turvo-session login --force", "turvo-session forget"):
        assert word in " ".join(str(raised).split())


@pytest.mark.parametrize(
    ("left", "text"),
    [
        *((0.4, "0 s"), (59.4, "59 s"), (59.5, "1 min 0 s"), (3599.0, "59 min 59 s")),
        *((3600.0, "1 h 0 min"), (DAY + 60, "24 h 1 min")),
    ],
)
def test_a_pause_is_told_in_words(left: float, text: str) -> None:
    assert f"allowed in {text}." in str(Record(FOREIGN, "", "url", left=left).error())
