"""What to do next: the rules of renewal as functions of values. No clock, no I/O, no state.

Every caller that needs a token does the same on every level of stores: ``decide`` from what the
store holds; if that says ``Lead``, take the lease, ask the level below (at the bottom: log in),
and ``settle`` what came of it with what the store holds by then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from . import failure as failures
from . import tokens
from .failure import BUSY, REJECTED, UNPROVEN, Failure
from .store import Change, Slot, Snapshot
from .tokens import Token

if TYPE_CHECKING:
    from .grant import Grant

LEASE_CAP = 180.0
"""A lease with more seconds left than this was not written by us, and binds nobody."""

ECHO = 1.0
"""Seconds for which a failure is believed that is better known elsewhere: it may be cleared there."""

_OWNER = re.compile(rb"[0-9a-f]{16}").fullmatch


class Ask(NamedTuple):
    """Who asks for which token.

    ``owner``: names this one renewal in a lease. ``refused``: the token that Turvo has answered
    with a 401, if that is why. ``ours``: whether a proof in a failure is of our
    credentials. ``spare``: a due token that serves if no other can be had. ``bad``: tokens that Turvo has
    refused before, of which a store that could not be written to may still hold one.
    """

    owner: bytes
    refused: Token | None = None
    ours: Callable[[str], bool] = bool
    spare: Token | None = None
    bad: tuple[Token, ...] = ()


class Got(NamedTuple):
    """A token that came of a login."""

    token: Token


class Adopt(NamedTuple):
    """A token that is there; if it is due, leave it at that for ``hold`` seconds."""

    token: Token
    hold: float = 0.0


class Fail(NamedTuple):
    """No token; ``noted``: that is remembered where others see it, for as long as it binds."""

    failure: Failure
    noted: bool = False


class Stay(NamedTuple):
    """There is none better than the refused token: it is new, and a 401 all the same."""


class Wait(NamedTuple):
    """Somebody is at it: wait until woken, at most ``seconds``, and decide again."""

    seconds: float


class Lead(NamedTuple):
    """Take the lease and get a token; ``spare`` serves if that fails."""

    spare: Token | None = None


class Write(NamedTuple):
    """Swap this into the store; if that succeeds, ``outcome`` stands."""

    change: Change
    outcome: Outcome


Outcome = Got | Adopt | Fail | Stay
Decision = Adopt | Fail | Stay | Wait | Lead

RELEASE = Change(lease=None, wake=True)
"""The change that gives the lease back with nothing to show for it."""


def decide(seen: Snapshot, ask: Ask) -> Decision:
    """What one who asks for a token does, given what the store holds."""
    token, failure = held(seen), failures.load(seen.failure)
    leader = seen.lease if _led_by_another(seen, ask) else None
    if token and not _refused(token, ask):
        if token.state(seen.at) == "fresh":
            return Adopt(token)
        hold = max(leader.left if leader else 0.0, _hold(failure, ask))
        return Adopt(token, hold) if hold else Lead(spare=token)
    if token and same(token, ask.refused) and failure and _doubts(failure, token):
        return Stay()
    if failure and _binds(failure, ask):
        return Fail(failure, noted=True)
    return Wait(leader.left) if leader else Lead()


def settle(seen: Snapshot, ask: Ask, outcome: Outcome) -> Outcome | Wait | Write:
    """What a leader does with what came of it, given what the store holds by now.

    One that was stopped past its lease finds a newer token, or another leader, and yields to
    either, also when its own login has failed late.
    """
    decision = decide(seen, ask)
    if isinstance(decision, Wait):
        return decision
    token = held(seen)
    if isinstance(decision, Adopt) and not decision.hold:
        ours = isinstance(outcome, Got) and same(outcome.token, token)  # the answer to the put was lost
        return _yielded(seen, ask, outcome if ours else decision)
    if isinstance(outcome, Got | Adopt):
        if _led_by_another(seen, ask):  # who will replace the due token that is there; ours is as good
            return outcome
        if token and not (_refused(token, ask) or same(token, ask.spare) or same(token, outcome.token)):
            return _yielded(seen, ask, Adopt(token))  # put since we led, so it is newer, if due by now
        return Write(put(seen.at, ask, outcome), outcome)
    if isinstance(outcome, Stay):
        return _yielded(seen, ask, outcome)
    if isinstance(decision, Adopt | Stay) or (isinstance(decision, Fail) and _led_by_another(seen, ask)):
        return _yielded(seen, ask, decision)
    before, failure = failures.load(seen.failure), outcome.failure
    if not outcome.noted:
        failure = failures.back_off(failure, before, ahead=ask.spare is not None)
        slot = failures.dump(failure)
    elif before and before.left > 0:
        return _yielded(seen, ask, outcome)
    else:
        slot = failures.dump(failure, min(failure.left, ECHO))
    return Write(Change(lease=None, failure=slot, wake=True), Fail(failure, noted=True))


def granted(grant: Grant, known: Iterable[Token], expiry_buffer: float) -> Token:
    """The token of a login, with its times.

    Its life counts from before the request was sent. One that is ``known`` already is served
    again: it is left in peace until it is surely over, in the server's whole seconds, since a login
    before that would bring it a third time. However short the life, a token serves for a second.
    """
    if any(grant.access_token == token.access_token for token in known):
        return Token(grant.access_token, grant.received, grant.expires_in + 1.0, 0.0)
    life = max(grant.expires_in, grant.received - grant.sent + 1.0)
    return Token(grant.access_token, grant.sent, life, min(expiry_buffer, life / 10))


def take(ask: Ask, seconds: float) -> Change:
    """The change that takes the lease."""
    return Change(lease=Slot(ask.owner, seconds))


def extended(seen: Snapshot, ask: Ask, seconds: float) -> Change | None:
    """The change that extends the lease, if it is still held by who asks."""
    return take(ask, seconds) if _led_by(seen, ask) else None


def released(seen: Snapshot, ask: Ask) -> Change | None:
    """The change that gives the lease back, if it is still held by who asks."""
    return RELEASE if _led_by(seen, ask) else None


def put(now: float, ask: Ask, outcome: Got | Adopt) -> Change:
    """The change that stores a token, ends the lease and every failure, and wakes the waiters.

    A token got by a login because of a 401 is *unproven* until ``proven``: a 401 that it does not
    cure would otherwise cost a login each time.
    """
    token, remark = outcome.token, None
    if isinstance(outcome, Adopt) and outcome.hold:
        remark = Failure(BUSY, soft=True, left=outcome.hold)
    if isinstance(outcome, Got) and ask.refused is not None:
        remark = Failure(UNPROVEN, left=failures.UNPROVEN_FOR, token=token.fingerprint)
    left = token.seconds_left(now)
    if left < 0.001:  # stores count milliseconds, and none takes a life of zero
        return RELEASE
    return Change(Slot(tokens.dump(token, now), left), None, remark and failures.dump(remark), wake=True)


def proven(seen: Snapshot, token: Token) -> Change | None:
    """The change that clears the doubt about ``token``, if there is any: its replay has worked."""
    failure = failures.load(seen.failure)
    return Change(failure=None) if failure and _doubts(failure, token) else None


def forget(seen: Snapshot, token: Token) -> Change | None:
    """The change that drops the token, if it is still the one that is held."""
    return Change(token=None) if same(token, held(seen)) else None


def held(seen: Snapshot) -> Token | None:
    """The usable token that a store holds."""
    return tokens.load(seen.token.value, seen.token.left, seen.at) if seen.token else None


def same(token: Token, other: Token | None) -> bool:
    """Whether both are the same secret, whatever their times."""
    return other is not None and token.access_token == other.access_token


def _yielded(seen: Snapshot, ask: Ask, outcome: Outcome) -> Outcome | Write:
    """``outcome`` stands; the lease is given back, unless it is somebody else's by now."""
    change = released(seen, ask)
    return Write(change, outcome) if change else outcome


def _refused(token: Token, ask: Ask) -> bool:
    return any(same(token, refused) for refused in (ask.refused, *ask.bad))


def _led_by(seen: Snapshot, ask: Ask) -> bool:
    return seen.lease is not None and seen.lease.value == ask.owner


def _led_by_another(seen: Snapshot, ask: Ask) -> bool:
    lease = seen.lease
    if lease is None or _led_by(seen, ask):  # mine already: the answer to taking it was lost
        return False
    return lease.left <= LEASE_CAP and _OWNER(lease.value) is not None


def _binds(failure: Failure, ask: Ask) -> bool:
    if failure.left <= 0 or failure.soft or failure.kind == UNPROVEN:
        return False
    return failure.kind != REJECTED or ask.ours(failure.proof)


def _hold(failure: Failure | None, ask: Ask) -> float:
    """Seconds for which a due token is left alone because of it."""
    return failure.left if failure and (failure.soft or _binds(failure, ask)) else 0.0


def _doubts(failure: Failure, token: Token) -> bool:
    return failure.kind == UNPROVEN and failure.left > 0 and failure.token == token.fingerprint
