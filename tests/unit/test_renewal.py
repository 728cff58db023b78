"""The rules of renewal as tables: each row follows from the essay in ``renewal``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.histories import proof_of
from tests.support.renewal_words import (
    DUE,
    FRESH,
    ME,
    NEW,
    NOW,
    OUTCOMES,
    US,
    asking,
    holding,
    record,
    records,
    rows_of,
    told,
)
from turvo_session import failure as failures
from turvo_session import renewal, tokens
from turvo_session.failure import (
    REJECTED,
    UNANSWERED,
    UNAVAILABLE,
    UNREACHABLE,
    Attempt,
    Failure,
    History,
)
from turvo_session.login import Grant
from turvo_session.renewal import RELEASE, Adopt, Fail, Got, Lead, Wait, Write
from turvo_session.store import KEEP, Change, Slot
from turvo_session.tokens import Token

DECISIONS = """
# the store holds      | who asks              | at the last level      | above it
                       |                       | lead 3/2               |
fresh                  |                       | adopt fresh            |
fresh, led             |                       | adopt fresh            |
fresh, doubt           |                       | adopt fresh, in doubt  |
# A due token is renewed by one caller, with one try; the others go on with it.
due                    |                       | lead 1/2 beside due    |
due, mine              |                       | lead 1/2 beside due    |
due, led               |                       | adopt due for 12 s     |
due, led, held         |                       | adopt due for 12 s     |
due, held              |                       | adopt due for 7 s      |
due, failed ahead      |                       | adopt due for 20 s     |
due, outage over       |                       | lead 1/2 beside due    |
due, rejected          |                       | adopt due for 800 s    |
due, they rejected     |                       | lead 1/2 beside due    |
due, spent             |                       | adopt due for 50 s     |
# Without a token one caller leads, and the others wait.
led                    |                       | wait 12 s              |
mine                   |                       | lead 3/2               |
longest lease          |                       | wait 180 s             |
too long lease         |                       | lead 3/2               |
junk lease             |                       | lead 3/2               |
rubbish                |                       | lead 3/2               |
script's               |                       | adopt script           |
script's due           |                       | lead 1/2 beside script |
                       | beside due            | lead 1/2 beside due    | lead 3/2
led                    | beside due            | adopt due for 12 s     |
longest lease          | beside expired        | wait 180 s             |
# A refused token is replaced by any other.
fresh                  | not fresh             | lead 3/2               |
fresh, led             | not fresh             | wait 12 s              |
fresh                  | not new               | adopt fresh            |
due, failed ahead      | not due               | lead 3/2               |
fresh                  | fresh was refused     | lead 3/2               |
# A failed login decides at the last level; the level above may be out of date.
outage                 |                       | unavailable 20 s       | lead 3/2
outage, led            |                       | unavailable 20 s       | wait 12 s
fresh, outage          | not fresh             | unavailable 20 s       | lead 3/2
believed               |                       | unavailable 20 s       |
outage over            |                       | lead 3/2               |
failed ahead           |                       | lead 3/2               |
hung                   |                       | lead 3/1               |
they cut off           |                       | lead 1/2               |
all cut off            |                       | unreachable 20 s       | lead 1/2
rejected               |                       | rejected 800 s         | lead 3/2
they rejected          |                       | lead 3/2               |
spent                  |                       | spent 500 s, rejected  | lead 3/1
junk                   |                       | lead 3/2               |
# A 401 that no token cures causes no login each time.
fresh, doubt           | not fresh             | stay                   | lead 3/2
doubt                  | not fresh             | stay                   | lead 3/2
doubt                  | not fresh, beside due | stay                   | lead 3/2
fresh, doubt           | not fresh, known good | lead 3/2               |
new, doubt             | not new               | lead 3/2               |
fresh, no allowance    | not fresh, known good | stay                   | lead 3/2
no allowance           |                       | lead 3/2               |
fresh                  | not fresh, no login   | stay                   | lead 3/2
new                    | not fresh, no login   | adopt new              |
# An operator's login is made whatever is remembered, the budget aside.
fresh                  | forced                | lead 3/2               |
fresh, led             | forced                | wait 12 s              |
fresh, rejected        | forced                | lead 3/2               |
fresh, spent           | forced                | spent 500 s, rejected  | lead 3/1
fresh, spent           | forced over it        | lead 3/1               |
"""


@pytest.mark.parametrize(
    ("words", "who", "at_last", "above"), rows_of(DECISIONS), ids=lambda cell: cell
)
def test_what_a_caller_does(words: str, who: str, at_last: str, above: str) -> None:
    seen, ask = holding(words), asking(who)
    assert told(renewal.decide(seen, ask, is_last=True)) == at_last
    assert told(renewal.decide(seen, ask, is_last=False)) == (above or at_last)


def test_a_leader_takes_the_lease_and_another_caller_writes_nothing() -> None:
    step = renewal.enter(holding(""), asking(), lease=15.0, is_last=True)
    assert step == Write(Change(lease=Slot(ME, 15.0)), Lead(3, 2))
    step = renewal.enter(holding("led"), asking(), lease=15.0, is_last=True)
    assert step == Wait(12.0)


SETTLEMENTS = """
# the store holds   | who asks        | came of it  | writes  | what holds then
# A leader that holds its lease writes what it brings.
mine                |                 | got         | put     | got new
due, mine           | beside due      | got         | put     | got new
fresh, mine         | not fresh       | got         | put     | got new
fresh, mine         | not fresh       | got fresh   | put     | got fresh
fresh, mine         |                 | got         | put     | got new
mine                |                 | got expired | release | got expired
mine                |                 | adopt       | put     | adopt new
due, mine           | beside due      | adopt due   | put     | adopt due for 5 s
mine                |                 | failed      | note    | unavailable 5 s
due, mine           | beside due      | failed      | note    | unavailable 30 s
fresh, mine         | forced          | failed      | note    | unavailable 5 s
# The level below found a due token, and could write neither it nor the failure.
mine                |                 | failed, due | put     | adopt due for 30 s
mine                |                 | failed late | note    | unavailable 30 s
mine                |                 | known       | note    | unavailable 20 s
mine                |                 | spent       | release | spent 60 s, rejected
fresh, mine         | not fresh       | stay        | release | stay
# A script without leases has put a token meanwhile.
fresh, mine         |                 | failed      | note    | adopt fresh
fresh, mine         | not new         | stay        | release | adopt fresh
# Suspended past the lease, and nobody came: as if in time.
                    |                 | got         | put     | got new
                    |                 | failed      | note    | unavailable 5 s
due                 | beside due      | got         | put     | got new
due                 | due was refused | got         | put     | got new
due                 | beside due      | failed      | note    | unavailable 30 s
fresh               | not fresh       | stay        |         | stay
# Somebody was faster: the newer token stands, even one that is due by now.
fresh               |                 | got         |         | adopt fresh
due-too             | beside due      | got         |         | adopt due-too
fresh, doubt        |                 | got         |         | adopt fresh, in doubt
fresh               | forced          | got         |         | adopt fresh
fresh               | forced          | failed      | note    | unavailable 5 s
# Another caller leads: its lease is left alone.
led                 |                 | got         |         | got new
led                 |                 | failed      |         | wait 12 s
due, led            | beside due      | failed      |         | adopt due for 12 s
led                 | beside due      | failed      |         | adopt due for 12 s
led, outage         |                 | failed      |         | unavailable 20 s
led, outage         |                 | known       |         | unavailable 20 s
# The reply to the put was lost: the token is there, and came of this login.
new                 |                 | got         |         | got new
new, led, doubt new | not fresh       | got         |         | got new
new                 |                 | adopt       |         | adopt new
"""


@pytest.mark.parametrize(
    ("words", "who", "came", "writes", "result"),
    rows_of(SETTLEMENTS),
    ids=lambda cell: cell,
)
def test_what_a_leader_does_with_the_outcome(
    words: str, who: str, came: str, writes: str, result: str
) -> None:
    step = renewal.settle(holding(words), asking(who), OUTCOMES[came])
    if not writes:
        assert told(step) == result
        return
    assert isinstance(step, Write) and told(step.result) == result
    change = step.change
    kind = "put" if change.token is not KEEP else "note"
    assert writes == (kind if change.failure is not KEEP else "release")
    assert (change.lease, change.wake) == (None, True)


def noted(words: str, who: str, outcome: Any) -> History:
    step = renewal.settle(holding(words), asking(who), outcome)
    assert isinstance(step, Write)
    return failures.load(step.change.failure)


@pytest.mark.parametrize(
    ("words", "who", "left"),
    [
        ("mine", "", 900.0),
        ("due, mine", "beside due", 30.0),
        ("mine", "not fresh", 60.0),
        ("new, mine", "", 60.0),
        ("fresh, mine", "fresh was refused", 900.0),
    ],
)
def test_a_good_token_softens_a_rejection(words: str, who: str, left: float) -> None:
    [rejection] = noted(words, who, Failure(REJECTED, "no")).records
    assert (rejection.left, rejection.proof) == (left, proof_of(US))


def test_a_failure_is_added_to_what_is_remembered() -> None:
    history = noted("mine, they cut off", "", Failure(UNANSWERED, "no", attempts=2))
    assert [one.kind for one in history.records] == [UNREACHABLE, UNANSWERED]
    assert history.attempts == (Attempt("url", False, 900.0),) * 2


@pytest.mark.parametrize(
    ("who", "left", "believed"),
    [("", 200.0, 1.0), ("", 0.5, 0.5), ("forced", 200.0, 0.0)],
)
def test_a_copy_is_believed_for_1_s(who: str, left: float, believed: float) -> None:
    """It may be cleared there meanwhile. What is told of it is its whole rest."""
    copy = noted("mine", who, Fail(record(UNANSWERED, left)))
    assert (copy.believed, copy.records[0].left) == (believed, left)


@pytest.mark.parametrize("words", ["mine", "mine, they rejected"])
def test_a_copied_rejection_is_recognized_by_the_credentials(words: str) -> None:
    """Each store has a salt of its own."""
    rejection = record(REJECTED, 900.0, proof=proof_of(US, "another salt"))
    above = holding("", failure=noted(words, "", Fail(rejection)).slot())
    assert told(renewal.decide(above, asking(), is_last=False)) == "rejected 900 s"


IN_DOUBT = History(doubted=tokens.fingerprint("new"), doubted_for=60.0)


@pytest.mark.parametrize(
    ("who", "outcome", "before", "after"),
    [
        ("", Got, "outage", History()),
        ("beside due", Got, "spent", History()),
        ("beside due", Got, "no allowance", History(refill=121.0)),
        ("not fresh", Got, "outage", IN_DOUBT._replace(refill=60.0)),
        ("not fresh", Got, "no allowance", IN_DOUBT._replace(refill=180.0)),
        ("not fresh", Adopt, "no allowance", History(refill=121.0)),
        ("", lambda token: Adopt(token, 0.0, True), "doubt", IN_DOUBT),
        ("", lambda token: Adopt(token, 7.0), "outage", History(hold=7.0)),
        ("", lambda token: Adopt(token, 5000.0), "outage", History(hold=900.0)),
    ],
)
def test_a_put_ends_lease_and_failures_and_keeps_the_allowance(
    who: str, outcome: Any, before: str, after: History
) -> None:
    seen = holding(f"mine, {before}")
    seen.at = NOW + 10.0
    step = renewal.settle(seen, asking(who), outcome(NEW))
    assert isinstance(step, Write) and step.change.token
    value, left = step.change.token.value, step.change.token.left
    assert tokens.load(value, left, seen.at) == Token("new", seen.at, 42990.0, 300.0)
    assert set(json.loads(value)) == {"access_token", "expires_at", "buffer"}
    history = failures.load(step.change.failure)
    assert (
        history._replace(doubted=history.doubted * (history.doubted_for > 0)) == after
    )


@pytest.mark.parametrize(
    ("secret", "expires_in", "took", "start", "life", "buffer"),
    [
        ("new", 43198.0, 0.5, NOW, 43198.0, 300.0),
        ("new", 2000.0, 0.5, NOW, 2000.0, 200.0),
        ("new", 1.0, 0.5, NOW, 1.5, 0.15),  # a token serves for a second at least
        ("new", 0.0, 12.0, NOW, 13.0, 1.3),
        # Turvo tells the rest of a known token's life in whole seconds.
        ("due", 299.0, 0.5, NOW + 0.5, 300.0, 0.0),
        ("due", 0.0, 0.5, NOW + 0.5, 1.0, 0.0),
    ],
)
def test_the_life_of_a_token_counts_from_before_the_request(
    secret: str, expires_in: float, took: float, start: float, life: float, buffer: Any
) -> None:
    grant = Grant(secret, expires_in, NOW, NOW + took)
    token = renewal.granted(grant, [FRESH, DUE], 300.0)
    assert token == Token(secret, start, life, pytest.approx(buffer))


@pytest.mark.parametrize("words", ["led", "", "junk lease"])
def test_only_its_owner_extends_a_lease_or_gives_it_back(words: str) -> None:
    extended = renewal.extend(holding("mine"), asking(), 15.0)
    assert extended == Write(Change(lease=Slot(ME, 15.0)), None)
    assert renewal.release(holding("mine"), asking()) == Write(RELEASE, None)
    assert Change(lease=None, wake=True) == RELEASE
    assert renewal.extend(holding(words), asking(), 15.0) is None
    assert renewal.release(holding(words), asking()) is None


def test_the_doubt_about_a_token_is_cleared_and_the_rest_is_kept() -> None:
    history = records(record(UNAVAILABLE))._replace(refill=70.0)
    doubt = {"doubted": tokens.fingerprint("fresh"), "doubted_for": 50.0}
    seen = holding("led", failure=history._replace(**doubt).slot())
    proved = [
        renewal.prove(one, FRESH) for one in (seen, holding("doubt"), holding(""))
    ]
    kept = [Change(failure=history.slot()), Change(failure=None)]
    assert [step and step.change for step in proved] == [*kept, None]
    assert renewal.prove(holding("doubt"), NEW) is None


@pytest.mark.parametrize(
    ("words", "token", "change"),
    [
        ("fresh", FRESH, Change(token=None, failure=None)),
        ("fresh, led, outage", FRESH, Change(token=None, failure=None)),
        ("new, outage", FRESH, Change(failure=None)),
        ("new, outage", None, Change(failure=None)),
        ("new", FRESH, None),
        ("", FRESH, None),
        ("rubbish", FRESH, None),
    ],
)
def test_no_newer_token_is_lost(words: str, token: Any, change: Change | None) -> None:
    step = renewal.forget(holding(words), token)
    assert (step and step.change) == change


@pytest.mark.parametrize(
    ("words", "most"), [("led", 6), ("", 8), ("outage", 0), ("spent", 0)]
)
def test_impatient_callers_leave_the_leader_its_attempts(words: str, most: int) -> None:
    """Each reserves one of eight attempts; a leader may still make two."""
    seen = holding(words)
    for _ in range(most):
        step = renewal.reserve(seen, asking())
        assert isinstance(step, Write) and step.result == Lead(tries=1, may_count=1)
        seen = holding(words, failure=step.change.failure)
    assert isinstance(renewal.reserve(seen, asking()), Fail)
