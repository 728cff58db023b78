"""The rules of renewal, as functions of values: no clock, no I/O, no state.

How a renewal works
===================

A token is *fresh*, then *due* for its last minutes, then *expired*. A fresh token is
used without asking anybody. In every other case a caller looks for a token, level by
level:

    level 1   the memory of this process      its callers are the threads
    level 2   the shared store, if any        its callers are the processes
    below     the login: one token request

Each level is a store with three values: the token, the *lease* of the one caller that
is logging in (its *leader*), and the history of failed logins. A caller reads all three
at once and asks ``enter`` what to do:

* The store holds a fresh token that Turvo has not refused: adopt it.
* The token is due: one caller renews it, with one try. Every other caller goes on with
  the old token and does not wait.
* The store holds no token, or the one that Turvo just refused:
  - A failed login that concerns this caller still applies: raise it.
  - Somebody leads: wait until woken, at most until that lease ends, and ask again.
  - Otherwise take the lease and lead.

A leader asks the level below, and at the bottom it logs in. On the way up ``settle``
says what to write at each level: the token, or the failure. The same write ends the
lease and wakes the waiters. They read again, find the token, and adopt it.

Every write is a *swap*: it applies only if nothing has changed since the read. If
somebody was faster, the caller reads and decides again. This is why two callers never
lead at once, and why a reply that is lost does no harm: the next read shows that the
write was applied.

Two processes, A and B, start without a token::

    A                               store                          B
    read: nothing                                                  read: nothing
    swap: lease = A  ────────────▶  lease A
                                    lease A  ◀──── refused ──────  swap: lease = B
    log in (one second)                                            read: lease A: wait
    swap: token, no lease, wake ─▶  token
                                    token  ──────── woken ──────▶  read: token: adopt

If A dies in the middle, its lease ends by itself, and B leads. If A is suspended past
its lease and resumes later, B may have stored a newer token. So ``settle`` goes by the
lease: a leader that still holds its lease writes; one that lost it decides like any
other caller, adopts the newer token, and overwrites nothing.

A *failed login* is written into the history, which says whom it concerns and for how
long (``failure`` has the rules). While a due token still serves, a failure only delays
the next try, and callers go on with the old token.

A *refused* token (a 401) is replaced in the same way: the caller looks for a token
other than that one. Two callers that were refused with the same token cause one login,
because the second one finds the first one's token. Three rules keep a 401 that no token
cures, such as a missing permission, from causing a login each time:

* A token that was got because of a 401 is *in doubt* for a minute, or until Turvo
  accepts it. A caller that is refused with a token in doubt keeps it, unless it has
  seen Turvo accept the token it started with.
* The fleet makes three logins because of a 401 at once, and one more each minute.
* A request that a new token did not cure asks for no login for a minute (``replay``).

The history, the doubt and that allowance decide at the last level before the login,
because the level below may hold a newer token. The level above believes its copy of a
failure for one second.

A caller that has waited for others for too long is out of patience. It counts its
attempt in advance and logs in without a lease (``reserve``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from . import failure as failures
from . import tokens
from .failure import Budget, Client, Failure, History, Record
from .store import Change, Slot, Snapshot
from .tokens import Token, same_secret

if TYPE_CHECKING:
    from .login import Grant

T_co = TypeVar("T_co", covariant=True)

LONGEST_LEASE = 180.0
"""Seconds. A lease with more left was not written by this library, and is ignored."""

MOST_TO_COUNT = 2
"""Attempts of one login that Turvo may count: the second try after no answer."""

_is_owner = re.compile(rb"[0-9a-f]{16}").fullmatch


class Ask(NamedTuple):
    """Who asks for which token.

    ``owner`` names this one renewal in a lease. ``refused`` is the token that Turvo
    answered with a 401, and ``refused_before`` are earlier ones, which a store that
    could not be written may still hold. ``spare`` is a due token that serves if no
    other can be had. ``known_good``: this process has seen Turvo accept the token that
    it began with. ``may_login``: a new token may cure the 401. ``forced``: log in
    whatever is remembered; ``over_budget``: even if the budget of attempts is spent.
    """

    owner: bytes
    client: Client
    salt: str
    refused: Token | None = None
    refused_before: tuple[Token, ...] = ()
    spare: Token | None = None
    known_good: bool = False
    may_login: bool = True
    forced: bool = False
    over_budget: bool = False

    def was_refused(self, token: Token) -> bool:
        """Return whether Turvo has refused ``token`` in this process."""
        return any(
            same_secret(token, refused)
            for refused in (self.refused, *self.refused_before)
        )


class Got(NamedTuple):
    """A token that this caller's own login gave."""

    token: Token


class Adopt(NamedTuple):
    """A token that the store holds.

    A due one is not asked about again for ``hold`` seconds. ``doubted``: it was got
    because of a 401, and Turvo has not accepted it yet.
    """

    token: Token
    hold: float = 0.0
    doubted: bool = False


class Stay(NamedTuple):
    """Keep the refused token: another login is not allowed now, or would not help."""


class Fail(NamedTuple):
    """No token can be had: a failed login is remembered, or the budget is spent."""

    record: Record | Budget

    @property
    def soft(self) -> bool:
        """Whether the failure ended together with the old token."""
        return isinstance(self.record, Record) and self.record.soft


class Lead(NamedTuple):
    """Ask the level below: try ``tries`` times, of which ``may_count`` may count.

    ``spare`` is a due token that serves if that fails.
    """

    tries: int
    may_count: int
    spare: Token | None = None


class Wait(NamedTuple):
    """Somebody else leads: ask the rule again when woken, or after ``seconds``."""

    seconds: float


class Write(NamedTuple, Generic[T_co]):
    """Swap ``change`` into the store; once it is applied, ``result`` holds."""

    change: Change
    result: T_co


Outcome = Got | Adopt | Fail | Stay
Settling = Outcome | Failure
"""What a leader brings to ``settle``: a ``Failure`` is a login that no level has
noted."""
Rule = Callable[[Snapshot], Any]
"""Returns a result, a ``Wait`` or a ``Write``. The callers annotate the result, because
type checkers cannot separate it from the other two."""

RELEASE = Change(lease=None, wake=True)


def enter(
    seen: Snapshot, ask: Ask, *, lease: float, is_last: bool
) -> Outcome | Wait | Write[Lead]:
    """Decide what a caller does at a level, and take the lease if it is to lead.

    ``lease`` is the length of that lease in seconds. ``is_last``: the login comes next,
    so what is remembered here decides.
    """
    step = decide(seen, ask, is_last=is_last)
    if isinstance(step, Lead):
        return Write(Change(lease=Slot(ask.owner, lease)), step)
    return step


def decide(seen: Snapshot, ask: Ask, *, is_last: bool) -> Outcome | Wait | Lead:
    """Decide what a caller does, given what the store holds."""
    token, history = held_token(seen), failures.load(seen.failure)
    leader = _other_leader(seen, ask)
    if token and not ask.forced and not ask.was_refused(token):
        return _use(token, seen, ask, history, leader)
    if is_last and not ask.may_login:
        return Stay()
    step = permit(seen, ask)
    if isinstance(step, Fail) and (is_last or history.believed):
        return step
    if leader:
        return _wait_for(leader, seen, ask)
    return step if is_last else _lead(history, ask, None)


def permit(seen: Snapshot, ask: Ask) -> Fail | Stay | Lead:
    """Decide whether a caller may log in, given what the store remembers."""
    history = failures.load(seen.failure)
    spent = None if ask.over_budget else history.spent_budget(ask.client)
    if spent:
        return Fail(spent)
    if ask.forced:
        return _lead(history, ask, ask.spare)
    record = history.blocking(ask.client)
    if record:
        return Fail(record)
    if ask.refused and not history.allows_login_after_401():
        return Stay()
    if ask.refused and history.doubts(ask.refused) and not ask.known_good:
        return Stay()
    return _lead(history, ask, ask.spare)


def reserve(seen: Snapshot, ask: Ask) -> Fail | Stay | Lead | Write[Lead]:
    """Decide whether a caller that is out of patience may log in without a lease.

    Its one attempt is counted in advance: many callers can lose their patience at once.
    """
    step = permit(seen, ask)
    if not isinstance(step, Lead):
        return step
    history = failures.load(seen.failure)
    under_way = MOST_TO_COUNT if _other_leader(seen, ask) else 0
    spent = history.spent_budget(ask.client, under_way=under_way)
    if spent:
        return Fail(spent)
    history = history.with_attempt(ask.client)
    lead = Lead(tries=1, may_count=1, spare=step.spare)
    return Write(Change(failure=history.slot()), lead)


def settle(
    seen: Snapshot, ask: Ask, outcome: Settling
) -> Outcome | Wait | Write[Outcome]:
    """Decide what a leader does with the outcome of the level below.

    A leader that still holds its lease writes it. One that was suspended past its lease
    finds a newer token or another leader, and decides like any other caller.
    """
    newer = _newer(seen, ask, outcome)
    if _led_by(seen, ask):
        written = _written(seen, ask, outcome)
        if newer and not isinstance(outcome, Got | Adopt):
            # An existing script, which knows no leases, has stored a token meanwhile.
            return Write(written.change, newer)
        return written
    if newer:
        return newer
    if isinstance(outcome, Stay):
        return outcome
    if isinstance(outcome, Got | Adopt):
        # Another leader will store a token of its own.
        led = _other_leader(seen, ask)
        return outcome if led else _written(seen, ask, outcome)
    step = decide(seen, ask, is_last=True)
    return _written(seen, ask, outcome) if isinstance(step, Lead) else step


def spot(seen: Snapshot, ask: Ask) -> Adopt | None:
    """Return a token that serves, if the store holds one."""
    token = held_token(seen)
    if token is None or ask.was_refused(token):
        return None
    return Adopt(token, doubted=failures.load(seen.failure).doubts(token))


def extend(seen: Snapshot, ask: Ask, seconds: float) -> Write[None] | None:
    """Extend the lease, if the caller still holds it."""
    if not _led_by(seen, ask):
        return None
    return Write(Change(lease=Slot(ask.owner, seconds)), None)


def release(seen: Snapshot, ask: Ask) -> Write[None] | None:
    """Give the lease back, if the caller still holds it."""
    return Write(RELEASE, None) if _led_by(seen, ask) else None


def prove(seen: Snapshot, token: Token) -> Write[None] | None:
    """Clear the doubt about ``token``: Turvo has accepted it."""
    history = failures.load(seen.failure)
    if not history.doubts(token):
        return None
    cleared = history._replace(doubted="", doubted_for=0.0)
    return Write(Change(failure=cleared.slot()), None)


def forget(seen: Snapshot, token: Token | None) -> Write[None] | None:
    """Drop ``token``, if the store still holds it, and the history of failures."""
    held = held_token(seen)
    if token and held and same_secret(token, held):
        return Write(Change(token=None, failure=None), None)
    return Write(Change(failure=None), None) if seen.failure else None


def granted(grant: Grant, known: Iterable[Token], expiry_buffer: float) -> Token:
    """Return the token of a login, with its times.

    Its life counts from before the request was sent. Turvo may serve a ``known`` token
    again, with what is left of its life in whole seconds: that one is used until it is
    surely over, because a login before that would give the same token a third time.
    However short its life, a token serves for at least a second.
    """
    secret = grant.access_token
    if any(secret == token.access_token for token in known):
        return Token(secret, grant.received, grant.expires_in + 1.0, 0.0)
    life = max(grant.expires_in, grant.received - grant.sent + 1.0)
    return Token(secret, grant.sent, life, min(expiry_buffer, life / 10))


def held_token(seen: Snapshot) -> Token | None:
    """Return the usable token that a store holds."""
    if seen.token is None:
        return None
    return tokens.load(seen.token.value, seen.token.left, seen.at)


def _newer(seen: Snapshot, ask: Ask, outcome: Settling) -> Outcome | None:
    """Return the token that was stored meanwhile, if it supersedes ``outcome``."""
    found = spot(seen, ask)
    if found is None or same_secret(found.token, ask.spare):
        return None
    if isinstance(outcome, Got | Adopt):
        # If it is ours, the write was applied, and only its reply was lost.
        return outcome if same_secret(found.token, outcome.token) else found
    # An operator wants to know what came of the login itself.
    return None if ask.forced else found


def _use(
    token: Token, seen: Snapshot, ask: Ask, history: History, leader: Slot | None
) -> Adopt | Lead:
    """Adopt a token that serves, or lead the renewal of a due one."""
    doubted = history.doubts(token)
    if token.state(seen.at) == "fresh":
        return Adopt(token, doubted=doubted)
    hold = history.delay_of_due(ask.client)
    if leader:
        hold = max(hold, leader.left)
    if history.spent_budget(ask.client):
        hold = max(hold, token.seconds_left(seen.at))
    if hold:
        return Adopt(token, hold, doubted)
    return _lead(history, ask, spare=token)


def _wait_for(leader: Slot, seen: Snapshot, ask: Ask) -> Adopt | Wait:
    """Wait for another caller, unless the level above has a token that serves."""
    if ask.spare and seen.at < ask.spare.end:
        return Adopt(ask.spare, leader.left)
    return Wait(leader.left)


def _lead(history: History, ask: Ask, spare: Token | None) -> Lead:
    tries, may_count = history.tries(ask.client, ahead=spare is not None)
    return Lead(tries, may_count, spare)


def _written(seen: Snapshot, ask: Ask, outcome: Settling) -> Write[Outcome]:
    """Return the write that stores the outcome, ends the lease and wakes all."""
    history = failures.load(seen.failure)
    if isinstance(outcome, Got | Adopt):
        return Write(_stored(seen, ask, outcome, history), outcome)
    if isinstance(outcome, Failure):
        return _failed(seen, ask, outcome, history)
    if isinstance(outcome, Fail) and isinstance(outcome.record, Record):
        record = copy = outcome.record
        if record.kind == failures.REJECTED:
            # Each store has a salt of its own.
            history = history._replace(salt=history.salt or ask.salt)
            copy = record._replace(proof=ask.client.proof(history.salt))
        # A login that was asked for says nothing of what the store below holds.
        seconds = 0.0 if ask.forced else min(record.left, failures.BELIEVED_FOR)
        history = history.with_copy(copy, seconds)
        return Write(Change(lease=None, failure=history.slot(), wake=True), outcome)
    return Write(RELEASE, outcome)


def _failed(
    seen: Snapshot, ask: Ask, failure: Failure, history: History
) -> Write[Outcome]:
    """Return the write that adds a failed login to the history and ends the lease.

    If the level below could not be written, it may hold a due token, which comes up
    with the failure. That token serves, so this level stores it.
    """
    spare = failure.spare or ask.spare
    history, record = history.with_failure(
        failure,
        ask.client,
        salt=ask.salt,
        ahead=spare is not None,
        had_token=bool(spare or ask.refused or spot(seen, ask)),
    )
    noted = history.slot()
    left = spare.seconds_left(seen.at) if spare else 0.0
    if spare is None or same_secret(spare, ask.spare) or not left:
        return Write(Change(lease=None, failure=noted, wake=True), Fail(record))
    value = Slot(tokens.dump(spare, seen.at), left)
    change = Change(token=value, lease=None, failure=noted, wake=True)
    return Write(change, Adopt(spare, record.left))


def _stored(seen: Snapshot, ask: Ask, outcome: Got | Adopt, history: History) -> Change:
    """Return the change that stores a token and ends the lease and all failures.

    What is left of the history is the allowance for logins because of a 401, a doubt
    about this token, and how long to leave it alone.
    """
    token = outcome.token
    left = token.seconds_left(seen.at)
    if not left:  # no store takes a time to live of zero
        return RELEASE
    kept = History(refill=history.refill)
    if isinstance(outcome, Got) and ask.refused:
        kept = kept._replace(
            refill=history.refill_after_login(),
            doubted=token.fingerprint,
            doubted_for=failures.DOUBTED_FOR,
        )
    if isinstance(outcome, Adopt):
        doubted_for = failures.DOUBTED_FOR if outcome.doubted else 0.0
        hold = min(outcome.hold, failures.LONGEST_HOLD)
        kept = kept._replace(
            doubted=token.fingerprint, doubted_for=doubted_for, hold=hold
        )
    value = Slot(tokens.dump(token, seen.at), left)
    return Change(token=value, lease=None, failure=kept.slot(), wake=True)


def _led_by(seen: Snapshot, ask: Ask) -> bool:
    return seen.lease is not None and seen.lease.value == ask.owner


def _other_leader(seen: Snapshot, ask: Ask) -> Slot | None:
    """Return the lease of another caller, if there is one that makes sense."""
    lease = seen.lease
    if lease is None or _led_by(seen, ask) or lease.left > LONGEST_LEASE:
        return None
    return lease if _is_owner(lease.value) else None
