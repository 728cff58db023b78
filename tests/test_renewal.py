"""What to do next: the rules of renewal as tables, then as a fleet of callers that anything may happen to."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, cast

import pytest
from conftest import Clock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from turvo_session import failure as failures
from turvo_session import renewal, tokens
from turvo_session.failure import BUSY, INVALID, REJECTED, THROTTLED, UNAVAILABLE, UNPROVEN, Failure
from turvo_session.grant import Grant
from turvo_session.renewal import RELEASE, Adopt, Ask, Decision, Fail, Got, Lead, Outcome, Stay, Wait, Write
from turvo_session.store import KEEP, Change, MemoryStore, Slot, Snapshot
from turvo_session.tokens import Token

NOW = 1000.0
ME, OTHER = b"0" * 16, b"f" * 16
FRESH = Token("fresh", NOW, 1000.0, 100.0)
ANOTHER = Token("another", NOW, 1000.0, 100.0)
NEW = Token("new", NOW, 43000.0, 300.0)
DUE = Token("due", NOW - 950.0, 1000.0, 100.0)
DUE_TOO = Token("due-too", NOW - 940.0, 1000.0, 100.0)
LED = Slot(OTHER, 12.0)
MINE = Slot(ME, 12.0)

OUTAGE = Failure(UNAVAILABLE, "an outage", left=20.0)
SOFT = Failure(UNAVAILABLE, "an outage", left=20.0, soft=True)
OVER = Failure(UNAVAILABLE, "an outage", left=0.0, soft=True, step=3)
OUR_REJECTION = Failure(REJECTED, "a wrong password", left=800.0, proof="ours")
THEIR_REJECTION = Failure(REJECTED, "a wrong password", left=800.0, proof="theirs")


def unproven(token: Token, left: float = 50.0) -> Failure:
    return Failure(UNPROVEN, left=left, token=token.fingerprint)


def stored(failure: Failure) -> Slot:
    """A failure in a store, where what is over is still known for a while."""
    slot = failures.dump(failure)
    return slot if slot.left > 0 else failures.dump(failure, 60.0)


def holding(
    token: Token | Slot | None = None, lease: Slot | None = None, failure: Failure | Slot | None = None
) -> Snapshot:
    if isinstance(token, Token):
        token = Slot(tokens.dump(token, NOW), token.seconds_left(NOW))
    return Snapshot(NOW, token, lease, stored(failure) if isinstance(failure, Failure) else failure, None)


def asking(refused: Token | None = None, *, spare: Token | None = None, bad: tuple[Token, ...] = ()) -> Ask:
    return Ask(ME, refused, lambda proof: proof == "ours", spare, bad)


def told(what: Decision | Write | Got) -> tuple[Any, ...]:
    """A decision or an outcome in plain words."""
    match what:
        case Adopt(token, hold):
            return "adopt", token.access_token, hold
        case Got(token):
            return "got", token.access_token
        case Lead(spare):
            return "lead", spare and spare.access_token
        case Wait(seconds):
            return "wait", seconds
        case Fail(failure, noted):
            return "fail", failure.why, noted
        case Stay():
            return ("stay",)
        case Write(_, outcome):
            return "write", *told(outcome)
    raise AssertionError(what)


# -- What one who asks does -------------------------------------------------------------------------------

DECISIONS = [
    # A token that is fresh is taken, one that is due is used until another is there, none is got.
    ("nothing: get one", holding(), asking(), ("lead", None)),
    ("fresh: take it", holding(FRESH), asking(), ("adopt", "fresh", 0.0)),
    ("fresh, while somebody leads", holding(FRESH, LED), asking(), ("adopt", "fresh", 0.0)),
    ("fresh, whatever failed before", holding(FRESH, None, OUTAGE), asking(), ("adopt", "fresh", 0.0)),
    ("due: get another ahead of time", holding(DUE), asking(), ("lead", "due")),
    # Due is renewed by one, whom nobody waits for.
    ("due, somebody leads", holding(DUE, LED), asking(), ("adopt", "due", 12.0)),
    ("due, I lead", holding(DUE, MINE), asking(), ("lead", "due")),
    ("due, a try has failed", holding(DUE, None, SOFT), asking(), ("adopt", "due", 20.0)),
    ("due, its failure is over", holding(DUE, None, SOFT._replace(left=0.0)), asking(), ("lead", "due")),
    ("due, an outage", holding(DUE, None, OUTAGE), asking(), ("adopt", "due", 20.0)),
    ("due, an outage is over", holding(DUE, None, OVER), asking(), ("lead", "due")),
    ("due, we are rejected", holding(DUE, None, OUR_REJECTION), asking(), ("adopt", "due", 800.0)),
    ("due, others are rejected", holding(DUE, None, THEIR_REJECTION), asking(), ("lead", "due")),
    ("due, and unproven", holding(DUE, None, unproven(DUE)), asking(), ("lead", "due")),
    ("due, led, others rejected", holding(DUE, LED, THEIR_REJECTION), asking(), ("adopt", "due", 12.0)),
    ("due, led, a try has failed", holding(DUE, LED, SOFT), asking(), ("adopt", "due", 20.0)),
    # A soft failure is void when the token is over, or refused.
    ("over, a try has failed", holding(None, None, SOFT), asking(), ("lead", None)),
    ("refused, a try has failed", holding(DUE, None, SOFT), asking(DUE), ("lead", None)),
    # One leads, the others wait; a lease that nobody of us wrote binds nobody.
    ("nothing, somebody leads", holding(None, LED), asking(), ("wait", 12.0)),
    ("nothing, I lead: the answer was lost", holding(None, MINE), asking(), ("lead", None)),
    ("nothing, a lease without sense", holding(None, Slot(b"me, the admin", 12.0)), asking(), ("lead", None)),
    ("nothing, an empty lease", holding(None, Slot(b"", 12.0)), asking(), ("lead", None)),
    ("nothing, the longest lease", holding(None, Slot(OTHER, 180.0)), asking(), ("wait", 180.0)),
    ("nothing, a lease too long", holding(None, Slot(OTHER, 180.1)), asking(), ("lead", None)),
    # "A token other than this one."
    ("refused", holding(FRESH), asking(FRESH), ("lead", None)),
    ("refused, somebody leads", holding(FRESH, LED), asking(FRESH), ("wait", 12.0)),
    ("refused, replaced already", holding(FRESH), asking(ANOTHER), ("adopt", "fresh", 0.0)),
    ("refused, replaced by a due one", holding(DUE), asking(ANOTHER), ("lead", "due")),
    ("refused due", holding(DUE), asking(DUE), ("lead", None)),
    ("refused, and gone", holding(), asking(FRESH), ("lead", None)),
    ("refused before", holding(FRESH), asking(bad=(ANOTHER, FRESH)), ("lead", None)),
    ("refused before, led", holding(FRESH, LED), asking(ANOTHER, bad=(FRESH,)), ("wait", 12.0)),
    # Failures are shared.
    ("an outage", holding(None, None, OUTAGE), asking(), ("fail", "an outage", True)),
    ("an outage, refused", holding(FRESH, None, OUTAGE), asking(FRESH), ("fail", "an outage", True)),
    ("an outage, somebody leads", holding(None, LED, OUTAGE), asking(), ("fail", "an outage", True)),
    ("an outage is over", holding(None, None, OVER), asking(), ("lead", None)),
    ("an outage is over, led", holding(None, LED, OVER), asking(), ("wait", 12.0)),
    ("throttled", holding(None, None, Failure(THROTTLED, "429", 5.0)), asking(), ("fail", "429", True)),
    ("no token in it", holding(None, None, Failure(INVALID, "html", 5.0)), asking(), ("fail", "html", True)),
    ("we: rejected", holding(None, None, OUR_REJECTION), asking(), ("fail", "a wrong password", True)),
    ("others: rejected", holding(None, None, THEIR_REJECTION), asking(), ("lead", None)),
    ("others: rejected, led", holding(None, LED, THEIR_REJECTION), asking(), ("wait", 12.0)),
    ("a failure without sense", holding(None, None, Slot(b"oops", 99.0)), asking(), ("lead", None)),
    # A 401 that a new token does not cure.
    ("unproven, refused", holding(FRESH, None, unproven(FRESH)), asking(FRESH), ("stay",)),
    ("unproven, refused, led", holding(FRESH, LED, unproven(FRESH)), asking(FRESH), ("stay",)),
    ("unproven, refused again", holding(FRESH, None, unproven(FRESH)), asking(FRESH, bad=(FRESH,)), ("stay",)),
    ("unproven, not refused", holding(FRESH, None, unproven(FRESH)), asking(), ("adopt", "fresh", 0.0)),
    ("unproven is over", holding(FRESH, None, unproven(FRESH, 0.0)), asking(FRESH), ("lead", None)),
    ("another unproven", holding(FRESH, None, unproven(ANOTHER)), asking(FRESH), ("lead", None)),
    ("unproven, and gone", holding(None, None, unproven(FRESH)), asking(FRESH), ("lead", None)),
    # A value that is no token.
    ("rubbish", holding(Slot(b"rubbish", 999.0)), asking(), ("lead", None)),
    ("rubbish, led", holding(Slot(b"rubbish", 999.0), LED), asking(), ("wait", 12.0)),
    ("somebody else's", holding(Slot(b'{"access_token": "x"}', 301.0)), asking(), ("adopt", "x", 0.0)),
    ("somebody else's, due", holding(Slot(b'{"access_token": "x"}', 299.0)), asking(), ("lead", "x")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "ask", "expected"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS]
)
def test_what_one_who_asks_does(seen: Snapshot, ask: Ask, expected: tuple[Any, ...]) -> None:
    assert told(renewal.decide(seen, ask)) == expected


# -- What a leader does with what came of it --------------------------------------------------------------

GOT = Got(NEW)
FAILED = Fail(Failure(UNAVAILABLE, "an outage"))
NOTED = Fail(OUTAGE, noted=True)

SETTLEMENTS = [
    # As it should be: the token is put, the failure noted, the lease given back.
    ("got", holding(None, MINE), asking(), GOT, "put", ("got", "new")),
    ("got ahead of time", holding(DUE, MINE), asking(spare=DUE), GOT, "put", ("got", "new")),
    ("got for a refused one", holding(FRESH, MINE), asking(FRESH), GOT, "put", ("got", "new")),
    ("got in spite of others", holding(None, MINE, THEIR_REJECTION), asking(), GOT, "put", ("got", "new")),
    ("adopted", holding(None, MINE), asking(), Adopt(NEW), "put", ("adopt", "new", 0.0)),
    ("adopted the same", holding(DUE, MINE), asking(spare=DUE), Adopt(DUE, 5.0), "put", ("adopt", "due", 5.0)),
    ("failed", holding(None, MINE), asking(), FAILED, "note", ("fail", "an outage", True)),
    ("failed ahead of time", holding(DUE, MINE), asking(spare=DUE), FAILED, "note", ("fail", "an outage", True)),
    ("told of a failure", holding(None, MINE), asking(), NOTED, "note", ("fail", "an outage", True)),
    ("told what is known", holding(None, MINE, OUTAGE), asking(), NOTED, "release", ("fail", "an outage", True)),
    ("told what was known", holding(None, MINE, OVER), asking(), NOTED, "note", ("fail", "an outage", True)),
    ("told to stay", holding(FRESH, MINE), asking(FRESH), Stay(), "release", ("stay",)),
    ("got the refused one again", holding(FRESH, MINE), asking(FRESH), Got(FRESH), "put", ("got", "fresh")),
    # Stopped past the lease, and nobody came: as if in time.
    ("late: got", holding(), asking(), GOT, "put", ("got", "new")),
    ("late: failed", holding(), asking(), FAILED, "note", ("fail", "an outage", True)),
    # Stopped past the lease, and somebody was faster: the newer token stands.
    ("late: newer", holding(FRESH), asking(), GOT, None, ("adopt", "fresh", 0.0)),
    ("late: newer, mine", holding(FRESH, MINE), asking(), GOT, "release", ("adopt", "fresh", 0.0)),
    ("late: newer, led", holding(FRESH, LED), asking(), GOT, None, ("adopt", "fresh", 0.0)),
    ("late: failed, newer", holding(FRESH, LED), asking(), FAILED, None, ("adopt", "fresh", 0.0)),
    ("late: told to stay", holding(FRESH, LED, unproven(FRESH)), asking(FRESH), Stay(), None, ("stay",)),
    ("late: newer, due by now", holding(DUE_TOO), asking(spare=DUE), GOT, None, ("adopt", "due-too", 0.0)),
    ("late: newer is bad", holding(DUE_TOO), asking(bad=(DUE_TOO,)), GOT, "put", ("got", "new")),
    ("late: newer is refused", holding(DUE_TOO), asking(DUE_TOO), GOT, "put", ("got", "new")),
    ("late: failed, due by now", holding(DUE, LED), asking(), FAILED, None, ("adopt", "due", 12.0)),
    ("late: failed, failed", holding(DUE, None, SOFT), asking(), FAILED, None, ("adopt", "due", 20.0)),
    ("late: failed, unproven", holding(FRESH, MINE, unproven(FRESH)), asking(FRESH), FAILED, "release", ("stay",)),
    ("late: told, newer due", holding(DUE, MINE, SOFT), asking(), NOTED, "release", ("adopt", "due", 20.0)),
    # Stopped past the lease, and somebody else leads: whose work it is.
    ("late: led", holding(None, LED), asking(), GOT, None, ("wait", 12.0)),
    ("late: failed, led", holding(None, LED), asking(), FAILED, None, ("wait", 12.0)),
    ("late: got, due, led", holding(DUE, LED), asking(spare=DUE), GOT, None, ("got", "new")),
    ("late: got, rejected, led", holding(None, LED, OUR_REJECTION), asking(), GOT, None, ("got", "new")),
    ("late: failed, known, led", holding(None, LED, OUTAGE), asking(), FAILED, None, ("fail", "an outage", True)),
    ("late: told, known, led", holding(None, LED, OUTAGE), asking(), NOTED, None, ("fail", "an outage", True)),
    # The answer to the put was lost: it was put all the same, and was our own login.
    ("put already", holding(NEW), asking(), GOT, None, ("got", "new")),
    ("put already, for a refused one", holding(NEW, None, unproven(NEW)), asking(FRESH), GOT, None, ("got", "new")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "ask", "outcome", "writes", "expected"),
    [row[1:] for row in SETTLEMENTS],
    ids=[row[0] for row in SETTLEMENTS],
)
def test_what_a_leader_does_with_what_came_of_it(
    seen: Snapshot, ask: Ask, outcome: Outcome, writes: str | None, expected: tuple[Any, ...]
) -> None:
    step = renewal.settle(seen, ask, outcome)

    assert told(step) == (("write", *expected) if writes else expected)
    if isinstance(step, Write):
        change = step.change
        kind = "put" if change.token is not KEEP else "note" if change.failure is not KEEP else "release"
        assert (kind, change.lease, change.wake) == (writes, None, True)


def test_a_failed_login_is_noted_with_its_back_off() -> None:
    seen, ask = holding(DUE, MINE, OVER), asking(spare=DUE)

    step = renewal.settle(seen, ask, FAILED)

    assert isinstance(step, Write) and isinstance(step.outcome, Fail)
    noted = failures.load(step.change.failure)
    assert noted == step.outcome.failure == Failure(UNAVAILABLE, "an outage", 240.0, soft=True, step=4)


@pytest.mark.parametrize(("left", "kept"), [(800.0, 1.0), (0.4, 0.4)])
def test_a_failure_that_is_known_elsewhere_is_believed_for_a_second(left: float, kept: float) -> None:
    """It may be cleared there; but what it has left is told right."""
    step = renewal.settle(holding(None, MINE), asking(), Fail(OUTAGE._replace(left=left), noted=True))

    assert isinstance(step, Write) and step.change.failure
    noted = failures.load(step.change.failure)
    assert step.change.failure.left == kept
    assert noted is not None and noted.left == pytest.approx(left)


# -- What is written --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "took", "life", "buffer"),
    [
        (43198.0, 0.5, 43198.0, 300.0),
        (3000.0, 0.5, 3000.0, 300.0),
        (2000.0, 0.5, 2000.0, 200.0),
        (20.0, 0.5, 20.0, 2.0),
        (1.0, 0.5, 1.5, 0.15),
        (0.0, 0.5, 1.5, 0.15),
        (0.0, 12.0, 13.0, 1.3),
    ],
)
def test_the_life_of_a_new_token_counts_from_before_the_request(
    expires_in: float, took: float, life: float, buffer: float
) -> None:
    """Its buffer is a tenth of its life at most; and however short the life, a token serves for a second."""
    token = renewal.granted(Grant("new", expires_in, NOW, NOW + took), [DUE], 300.0)

    assert (token.access_token, token.start, token.life) == ("new", NOW, life)
    assert token.buffer == pytest.approx(buffer)
    assert token.end >= NOW + took + 1.0 or life == expires_in


@pytest.mark.parametrize("expires_in", [299.0, 0.0])
def test_a_token_that_is_served_again_is_left_in_peace_until_it_is_surely_over(expires_in: float) -> None:
    """Its seconds left are told in whole ones, so that it may live one more; a login before brings it again."""
    token = renewal.granted(Grant("due", expires_in, NOW, NOW + 0.5), [FRESH, DUE], 300.0)

    assert token == Token("due", NOW + 0.5, expires_in + 1.0, 0.0)
    assert token.state(NOW + 0.5 + expires_in + 0.999) == "fresh"


@pytest.mark.parametrize(
    ("ask", "outcome", "remark"),
    [
        (asking(), GOT, None),
        (asking(spare=DUE), GOT, None),
        (asking(FRESH), GOT, unproven(NEW, 60.0)),
        (asking(FRESH), Adopt(NEW), None),
        (asking(), Adopt(NEW, 7.0), Failure(BUSY, left=7.0, soft=True)),
    ],
)
def test_a_put_ends_the_lease_and_every_failure_and_wakes(
    ask: Ask, outcome: Got | Adopt, remark: Failure | None
) -> None:
    """A token of our own login for a refused one is unproven for a minute; a due one is left alone a while."""
    change = renewal.put(NOW + 10.0, ask, outcome)

    assert change.token and change.token.left == pytest.approx(42990.0)
    assert tokens.load(change.token.value, change.token.left, NOW + 10.0) == Token(
        "new", NOW + 10, 42990.0, 300.0
    )
    assert change.lease is None and change.wake
    assert failures.load(change.failure) == remark
    assert change.failure is None or (remark is not None and change.failure.left == remark.left)


@pytest.mark.parametrize("age", [1000.0, 999.9995, 5000.0])
def test_a_token_without_a_life_is_not_put(age: float) -> None:
    assert renewal.put(NOW + age, asking(), Got(FRESH)) == RELEASE


def test_a_put_value_serves_an_existing_script() -> None:
    change = renewal.put(NOW, asking(), GOT)

    assert change.token
    assert set(json.loads(change.token.value)) == {"access_token", "expires_at", "buffer"}


@pytest.mark.parametrize(
    ("lease", "mine"),
    [(MINE, True), (LED, False), (None, False), (Slot(b"rubbish", 9.0), False)],
)
def test_a_lease_is_extended_and_given_back_by_its_owner_only(lease: Slot | None, mine: bool) -> None:
    seen = holding(None, lease)

    assert renewal.take(asking(), 15.0) == Change(lease=Slot(ME, 15.0))
    assert renewal.extended(seen, asking(), 15.0) == (Change(lease=Slot(ME, 15.0)) if mine else None)
    assert renewal.released(seen, asking()) == (RELEASE if mine else None)


@pytest.mark.parametrize(
    ("seen", "clears"),
    [
        (holding(FRESH, None, unproven(FRESH)), True),
        (holding(FRESH, LED, unproven(FRESH)), True),
        (holding(FRESH, None, unproven(ANOTHER)), False),
        (holding(FRESH, None, unproven(FRESH, 0.0)), False),
        (holding(FRESH, None, OUTAGE), False),
        (holding(FRESH), False),
    ],
)
def test_what_has_worked_is_proven(seen: Snapshot, clears: bool) -> None:
    assert renewal.proven(seen, FRESH) == (Change(failure=None) if clears else None)


@pytest.mark.parametrize(
    ("seen", "drops"),
    [
        (holding(FRESH), True),
        (holding(FRESH, LED, OUTAGE), True),
        (holding(ANOTHER), False),
        (holding(), False),
        (holding(Slot(b"rubbish", 9.0)), False),
    ],
)
def test_only_the_token_that_is_meant_is_forgotten(seen: Snapshot, drops: bool) -> None:
    assert renewal.forget(seen, FRESH) == (Change(token=None) if drops else None)


# -- A fleet of callers -----------------------------------------------------------------------------------

LEASE = 15.05
LOOKED, WAITS, LEADS, ENDED = "looked", "waits", "leads", "ended"


class Caller:
    """One process that needs a token: ``renewal`` carried out step by step over one store.

    Each step ends right before the next touch of the store, or where an answer is needed: there it is left
    alone for as long as it pleases the fleet.
    """

    def __init__(self, store: MemoryStore, number: int, user: str, refused: Token | None) -> None:
        self.user = user
        self.ask = Ask(f"{number:016x}".encode(), refused, lambda proof: proof == user)
        self.looked = 0.0
        self.waits: tuple[Snapshot, float] | None = None  # from what it saw, until when at most
        self.lease_ends = 0.0
        self.late = False  # its lease has run out while it led
        self.excused = False  # its login does not count
        self.answer: Grant | Failure | None = None  # of its login, on its way
        self.got: Got | Fail | None = None
        self.wrote: Write | None = None
        self.outcome: Outcome | None = None
        self._store = store
        self._steps = self._run()
        self.state = next(self._steps)

    def step(self, got: Got | Fail | None = None) -> None:
        """Go on to the next step."""
        try:
            self.state = self._steps.send(cast(Any, got))
        except StopIteration as end:
            self.state, self.outcome = ENDED, end.value

    def _run(self) -> Generator[str, Got | Fail, Outcome]:
        while True:
            seen = yield from self._look()
            decision = renewal.decide(seen, self.ask)
            if isinstance(decision, Wait):
                yield from self._wait(seen, decision)
            elif not isinstance(decision, Lead):
                return decision
            elif self._store.swap(seen, renewal.take(self.ask, LEASE)):
                break
        self.lease_ends = self._store.read().at + LEASE
        self.ask = self.ask._replace(spare=decision.spare)
        self.got = yield LEADS
        while True:
            seen = yield from self._look()
            step = renewal.settle(seen, self.ask, self.got)
            if isinstance(step, Wait):
                yield from self._wait(seen, step)
            elif not isinstance(step, Write):
                return step
            elif self._store.swap(seen, step.change):
                self.wrote = step
                return step.outcome

    def _look(self) -> Generator[str, Any, Snapshot]:
        seen = self._store.read()
        self.looked = seen.at
        yield LOOKED
        return seen

    def _wait(self, seen: Snapshot, wait: Wait) -> Generator[str, Any, None]:
        self.waits = seen, seen.at + wait.seconds
        yield WAITS
        self.waits = None


class Fleet(RuleBasedStateMachine):
    """Callers of two users over one store, a clock, and a Turvo. Any of them may do anything at any time."""

    which = st.integers(0, 5)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.callers: list[Caller] = []
        self.begun = 0
        self.served: list[str] = []  # in the order in which Turvo gave them out
        self.served_until = 0.0
        # What must be so, kept track of without the help of `decide` and `settle`:
        self.token: Token | None = None
        self.failure: tuple[Failure, str, float] | None = None  # of whom, and until when
        self.doubt: tuple[str, float] | None = None
        self.logins = self.excused = 0  # since the last token was put

    # What happens

    @precondition(lambda self: len(self.callers) < 6)
    @rule(user=st.sampled_from("ab"), refused=st.booleans())
    def one_begins(self, user: str, refused: bool) -> None:
        held = renewal.held(self.store.read())
        self.begun += 1
        self.callers.append(Caller(self.store, self.begun, user, held if refused else None))

    @precondition(lambda self: self.ready())
    @rule(which=which)
    def one_goes_on(self, which: int) -> None:
        ready = self.ready()
        self.go(ready[which % len(ready)])

    @precondition(lambda self: self.leaders(answered=False))
    @rule(
        which=which,
        life=st.sampled_from([0.0, 5.0, 100.0, 1000.0, 40_000.0]),
        again=st.booleans(),
        trouble=st.sampled_from([None, None, None, REJECTED, THROTTLED, UNAVAILABLE, INVALID]),
        retry_after=st.sampled_from([None, None, 2.0, 700.0]),
    )
    def one_logs_in(
        self, which: int, life: float, again: bool, trouble: str | None, retry_after: float | None
    ) -> None:
        """Turvo has the request and has answered; the answer is on its way."""
        leaders = self.leaders(answered=False)
        leader, now = leaders[which % len(leaders)], self.clock()
        if trouble == REJECTED:
            leader.answer = Failure(REJECTED, "because", proof=leader.user)
        elif trouble:
            leader.answer = Failure(trouble, "because", retry_after=retry_after)
        elif again and now < self.served_until:
            leader.answer = Grant(self.served[-1], float(int(self.served_until - now)), now, now)
        else:
            self.served.append(f"token-{len(self.served)}")
            self.served_until = now + life
            leader.answer = Grant(self.served[-1], life, now, now)
        self.logins += 1
        leader.late = leader.late or now >= leader.lease_ends
        if leader.late:
            self.excuse(leader)
        assert self.logins <= 1 + self.excused, "one login a token, and one for each that came to nothing"

    @precondition(lambda self: self.leaders(answered=True))
    @rule(which=which)
    def one_hears(self, which: int) -> None:
        leaders = self.leaders(answered=True)
        leader = leaders[which % len(leaders)]
        assert leader.answer is not None
        if isinstance(leader.answer, Failure):
            self.go(leader, Fail(leader.answer))
        else:
            answer = leader.answer
            grant = Grant(answer.access_token, answer.expires_in, answer.sent, self.clock())
            known = [token for token in (leader.ask.spare, leader.ask.refused) if token]
            self.go(leader, Got(renewal.granted(grant, known, 300.0)))

    @precondition(lambda self: self.leaders(answered=False))
    @rule(which=which)
    def one_extends(self, which: int) -> None:
        leaders = self.leaders(answered=False)
        leader = leaders[which % len(leaders)]
        seen = self.store.read()
        change = renewal.extended(seen, leader.ask, LEASE)
        assert (change is not None) == (self.clock() < leader.lease_ends and not leader.late)
        if change:
            assert self.store.swap(seen, change)
            leader.lease_ends = self.clock() + LEASE

    @precondition(lambda self: self.callers)
    @rule(which=which, interrupted=st.booleans())
    def one_dies(self, which: int, interrupted: bool) -> None:
        """Killed; or interrupted, which gives the lease back."""
        caller = self.callers.pop(which % len(self.callers))
        seen = self.store.read()
        change = renewal.released(seen, caller.ask)
        if interrupted and change:
            assert self.store.swap(seen, change)
        if caller.answer:
            self.excuse(caller)

    @precondition(lambda self: self.callers or self.token)
    @rule(seconds=st.sampled_from([0.001, 1.0, 2.0, 5.0, LEASE, LEASE, 30.0, 60.0, 300.0, 900.0, 39_800.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @precondition(lambda self: self.token and self.doubt)
    @rule()
    def it_proves_good(self) -> None:
        assert self.token is not None
        seen = self.store.read()
        if change := renewal.proven(seen, self.token):
            assert self.store.swap(seen, change)
        self.doubt = None

    @precondition(lambda self: self.token)
    @rule()
    def it_is_forgotten(self) -> None:
        assert self.token is not None
        seen = self.store.read()
        if change := renewal.forget(seen, self.token):
            assert self.store.swap(seen, change)
        self.token = None
        self.excused += 1

    # What must hold

    def leaders(self, *, answered: bool) -> list[Caller]:
        return [one for one in self.callers if one.state == LEADS and bool(one.answer) == answered]

    def ready(self) -> list[Caller]:
        now = self.store.read()
        return [
            one
            for one in self.callers
            if one.state == LOOKED
            or (one.waits and (now.version[1] != one.waits[0].version[1] or now.at >= one.waits[1]))
        ]

    def excuse(self, leader: Caller) -> None:
        if not leader.excused:
            leader.excused = True
            self.excused += 1

    def go(self, caller: Caller, got: Got | Fail | None = None) -> None:
        led, was_held = caller.lease_ends > 0, self.store.read().token is not None
        caller.step(got)
        if caller.lease_ends and not led:
            self.leads(caller)
        if caller.wrote:
            self.has_written(caller, caller.wrote, was_held)
        if caller.state == ENDED:
            self.callers.remove(caller)
            self.has_ended(caller)

    def leads(self, caller: Caller) -> None:
        now, looked, refused = self.clock(), caller.looked, caller.ask.refused
        for other in self.callers:
            if other.lease_ends and other is not caller:
                assert now >= other.lease_ends, "at most one live owner of the lease leads"
                other.late = True
                if other.answer:
                    self.excuse(other)
        state = self.token.state(looked) if self.token else "expired"
        mine = self.token is not None and renewal.same(self.token, refused)
        assert mine or state != "fresh", "a fresh token is taken, not replaced"
        if mine and state != "expired" and self.doubt and self.doubt[0] == refused.access_token:
            assert looked >= self.doubt[1], "a 401 that a login has not cured causes no other"
        if self.failure:
            failure, user, until = self.failure
            binds = failure.kind != REJECTED or user == caller.user
            if failure.soft:
                binds = state == "due" and not mine
            assert not binds or looked >= until, "what the token endpoint said binds everybody"

    def has_written(self, caller: Caller, wrote: Write, was_held: bool) -> None:
        if wrote.change.token is not KEEP:
            assert isinstance(wrote.outcome, Got)
            new = wrote.outcome.token
            if self.token and was_held:
                order = self.served.index
                assert order(new.access_token) >= order(self.token.access_token), "no older over a newer"
            self.token, self.failure, self.doubt = new, None, None
            if caller.ask.refused:
                self.doubt = new.access_token, self.clock() + 60.0
            self.logins = self.excused = 0
        elif wrote.change.failure is not KEEP:
            assert isinstance(wrote.outcome, Fail)
            failure = wrote.outcome.failure
            self.failure, self.doubt = (failure, caller.user, self.clock() + failure.left), None
            self.excuse(caller)

    def has_ended(self, caller: Caller) -> None:
        outcome, got, wrote = caller.outcome, caller.got, caller.wrote
        if isinstance(outcome, Adopt):
            assert outcome.token.end > caller.looked
            assert not renewal.same(outcome.token, caller.ask.refused)
        if isinstance(outcome, Fail) and outcome.failure.kind == REJECTED:
            assert outcome.failure.proof == caller.user
        if got and (wrote is None or (wrote.change.token is KEEP and wrote.change.failure is KEEP)):
            late = caller.late or caller.looked >= caller.lease_ends
            over = isinstance(got, Got) and got.token.state(self.clock()) == "expired"
            assert late or over, "what was got in time is put, what failed in time is noted"
            self.excuse(caller)

    def teardown(self) -> None:
        """Let all go on: nobody waits for ever, or for anything but the lease of one who died."""
        last = self.clock() + LEASE
        while self.callers:
            if ready := self.ready():
                self.go(ready[0])
            elif self.leaders(answered=True):
                self.one_hears(0)
            elif self.leaders(answered=False):
                self.one_logs_in(0, 40_000.0, False, None, None)
            else:
                assert self.store.read().lease, "nobody sleeps on when there is nobody to wait for"
                self.clock.now = min(one.waits[1] for one in self.callers if one.waits)
                assert self.clock() <= last, "nobody waits for ever"


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=250,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,  # the same at every run
    suppress_health_check=list(HealthCheck),  # a slow machine is no failure
)
