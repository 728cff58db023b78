"""Where tokens come from: the rules of ``renewal``, carried out over levels of stores.

The first level is the memory of this process, where threads meet; the second, if there is one, is
the shared store, where processes meet; under the last is the login. Whoever leads on a level goes
down one, and writes on the way up what came of it, be it a token or a failure. So threads are kept
to one login by the same code as processes, and a store in trouble is a level that is skipped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import urandom
from typing import TYPE_CHECKING, Protocol, TypeVar

from . import failure as failures
from . import renewal
from .failure import REJECTED, Failure
from .renewal import Adopt, Ask, Fail, Got, Lead, Outcome, Wait, Write
from .store import Change, MemoryStore, Slot, Snapshot, StoreError, TokenStore
from .tokens import Token

if TYPE_CHECKING:
    from .events import Event
    from .grant import Grant

T = TypeVar("T")

ATTEMPTS = 3
"""Tries of one login; a renewal ahead of time has one."""
LEASE_MARGIN = 2.0
"""Seconds by which a lease outlasts the attempt that it covers."""
LOCAL_LEASE = 120.0
"""Seconds of a lease among threads: it is given back by them, whatever they die of."""
REMEMBERED = 64
"""Tokens that this process has seen refused, and does not adopt again."""
PATIENCE = 40.0
"""Seconds after which one who waits for other processes logs in anyway; threads wait as long again."""


class Login(Protocol):
    """What the source needs of a ``PasswordGrant``."""

    @property
    def attempt(self) -> float:
        """Seconds that one attempt takes at most."""

    def __call__(self, attempts: int, extend: Callable[[float], None]) -> Grant | Failure:
        """Log in."""

    def ours(self, proof: str) -> bool:
        """Whether a rejection speaks of these credentials."""


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """What is known of the token, without a secret and without a login.

    ``origin``: ``"login"``, ``"store"`` or ``None`` (there is none). ``fingerprint`` names it,
    ``seconds_left`` is its life, ``state`` is ``"fresh"``, ``"due"`` or ``"none"``. ``store`` says where
    it is shared, ``store_seconds`` how long a read took, ``store_reachable`` whether that worked
    (``None``: nothing is shared). ``failure`` is the one in force, for ``failure_seconds`` more.
    """

    origin: str | None
    fingerprint: str | None
    seconds_left: float
    state: str
    store: str
    store_reachable: bool | None
    store_seconds: float | None
    failure: str | None
    failure_seconds: float


class TokenSource:
    """Holds the current token of this process, and gets another when it is due, over or refused."""

    def __init__(
        self,
        login: Login,
        store: TokenStore | None,
        *,
        expiry_buffer: float,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
        local: MemoryStore | None = None,
    ) -> None:
        self.current: Token | None = None
        self.store_errors: int = 0
        self._origin = "store"
        self._login = login
        self._expiry_buffer = expiry_buffer
        self._clock = clock
        self._listener = tell
        self._held = threading.local()
        self._rejection: tuple[Failure, float] | None = None
        self._refused: tuple[Token, ...] = ()
        levels = [_Level(self, local or MemoryStore(clock=clock), LOCAL_LEASE, 2 * PATIENCE)]
        if store is not None:
            levels.append(_Level(self, store, login.attempt + LEASE_MARGIN, PATIENCE))
        self._levels = tuple(levels)

    def get(self) -> Token:
        """A token that serves: the current one, another's, or a new one. Raises ``TurvoAuthError``."""
        got = self._obtain(None)
        assert got is not None  # there is nothing to stay with where nothing was refused
        return got.token

    def renew(self, refused: Token) -> Got | Adopt | None:
        """A token other than the ``refused`` one; ``None`` if a new login has just not cured its 401.

        ``Got``: we logged in ourselves, and ``prove`` is to be called if the token proves good.
        Raises ``TurvoAuthError``.
        """
        renewed = self._obtain(refused)
        # Not before: one that is new and as good as any may be refused for what no token cures, and another
        # thread that knew of that meanwhile would log in for it once more.
        if renewed is not None and not renewal.same(renewed.token, refused):
            others = [old for old in self._refused if not renewal.same(old, refused)]
            self._refused = (*others[1 - REMEMBERED :], refused)
        return renewed

    def prove(self, token: Token) -> None:
        """Clear the doubt about a token that was got because of a 401: it has worked."""
        for level in self._levels:
            level.update(lambda seen: renewal.proven(seen, token))

    def forget(self) -> None:
        """Drop the current token here and, if it is still the stored one, in the store."""
        token = self.current or self._stored()
        self.current = None
        if token is None:
            return
        gone = token
        for level in self._levels:
            level.update(lambda seen: renewal.forget(seen, gone))
        from .events import Forgotten

        self._tell(Forgotten(token.fingerprint))

    def status(self) -> TokenStatus:
        """What is known, read from the store if there is one. Never logs in."""
        shared = self._levels[-1]
        start = self._clock()
        try:
            seen: Snapshot | None = shared.read()
        except StoreError:
            seen = None
        now = self._clock()
        stored = seen and renewal.held(seen)
        token = self.current if self.current and now < self.current.end else stored
        failure = (failures.load(seen.failure) if seen else None) or self._rejected()
        if failure and (failure.left <= 0 or not failure.why or self._of_others(failure)):
            failure = None
        alone = len(self._levels) == 1
        return TokenStatus(
            origin=None if token is None else "store" if token is stored else self._origin,
            fingerprint=token.fingerprint if token else None,
            seconds_left=token.seconds_left(now) if token else 0.0,
            state=token.state(now) if token else "none",
            store=repr(shared.store),
            store_reachable=None if alone else seen is not None,
            store_seconds=None if alone or seen is None else now - start,
            failure=failure.why if failure else None,
            failure_seconds=failure.left if failure else 0.0,
        )

    def _obtain(self, refused: Token | None) -> Got | Adopt | None:
        def ask() -> Ask:
            return Ask(urandom(8).hex().encode(), refused, self._login.ours, bad=self._refused)

        with self._holding_back():
            outcome = self._renew(self._levels, ask(), ())
            if isinstance(outcome, Fail) and outcome.failure.soft:
                # The due token that it speaks of is over by now, and so is the failure: ask in earnest.
                outcome = self._renew(self._levels, ask(), ())
        if isinstance(outcome, Fail):
            raise outcome.failure.error()
        if isinstance(outcome, Got | Adopt):
            self._keep(outcome)
            return outcome
        return None

    def _renew(self, levels: tuple[_Level, ...], ask: Ask, led: tuple[_Level, ...]) -> Outcome:
        if not levels:
            return self._log_in(ask, led)
        level, below = levels[0], levels[1:]
        decision = self._enter(level, ask)
        if decision is None:
            return self._renew(below, ask, led)
        if not isinstance(decision, Lead):
            return self._remember(decision)
        if decision.spare:
            ask = ask._replace(spare=decision.spare)
        try:
            outcome = self._settle(level, ask, self._renew(below, ask, (*led, level)))
        except BaseException:
            level.update(lambda seen: renewal.released(seen, ask))
            raise
        if isinstance(outcome, Fail) and ask.spare and self._clock() < ask.spare.end:
            return Adopt(ask.spare, outcome.failure.left)
        return outcome

    def _enter(self, level: _Level, ask: Ask) -> Lead | Outcome | None:
        """What is decided on a level, after waiting if need be; ``None``: go on without the level."""
        start = self._clock()
        try:
            while True:
                seen = level.read()
                decision = renewal.decide(seen, ask)
                if isinstance(decision, Wait):
                    if not self._wait(level, seen, decision, start):
                        return None  # late beats never
                elif not isinstance(decision, Lead) or level.swap(seen, renewal.take(ask, level.lease)):
                    return decision
        except StoreError:
            return None

    def _settle(self, level: _Level, ask: Ask, outcome: Outcome) -> Outcome:
        start = self._clock()
        try:
            while True:
                seen = level.read()
                step = renewal.settle(seen, ask, outcome)
                if isinstance(step, Wait):
                    if not self._wait(level, seen, step, start):
                        return outcome
                elif not isinstance(step, Write):
                    return step
                elif level.swap(seen, step.change):
                    return step.outcome
        except StoreError:
            return outcome

    def _wait(self, level: _Level, seen: Snapshot, wait: Wait, start: float) -> bool:
        """Wait for the one who leads; False if there is no patience left since ``start``."""
        from .events import Waited

        before = self._clock()
        left = start + level.patience - before
        if left <= 0:
            return False
        level.wait(seen, min(wait.seconds, left))
        self._tell(Waited(self._clock() - before))
        return True

    def _log_in(self, ask: Ask, led: tuple[_Level, ...]) -> Outcome:
        from .events import LoggedIn, LoginFailed

        start = self._clock()
        if rejected := self._rejected():
            return Fail(rejected, noted=True)

        def extend(seconds: float) -> None:
            for level in led:
                level.extend(ask, seconds + LEASE_MARGIN)

        result = self._login(1 if ask.spare else ATTEMPTS, extend)
        took = self._clock() - start
        if isinstance(result, Failure):
            self._tell(LoginFailed(result.why, took))
            outcome = self._remember(Fail(result))
            if result.kind == REJECTED and len(led) < len(self._levels):
                # The shared store is out of order. When it is back it may have a token for us, so that only
                # ``_rejection`` is to remember for long: it keeps us from logging in, and from nothing else.
                outcome = Fail(failures.back_off(result, None, ahead=False), noted=True)
            return outcome
        known = [token for token in (self.current, ask.spare, ask.refused) if token]
        token = renewal.granted(result, known, self._expiry_buffer)
        reason = "refused" if ask.refused else "due" if ask.spare else "none"
        self._tell(LoggedIn(token.fingerprint, token.seconds_left(self._clock()), took, reason))
        self._keep(Got(token))  # now: a thread that is faster than we are would take it for somebody else's
        return Got(token)

    def _remember(self, outcome: Outcome) -> Outcome:
        # Turvo counts wrong passwords. What the store remembers may be overwritten by another user of
        # the same account with another wrong password; what this process knows may not.
        if isinstance(outcome, Fail) and outcome.failure.kind == REJECTED:
            left = outcome.failure.left if outcome.noted else failures.LOCKOUT
            until, known = self._clock() + left, self._rejection
            if known is None or until > known[1]:
                self._rejection = (outcome.failure, until)
        return outcome

    def _rejected(self) -> Failure | None:
        """The rejection that this process knows of by itself, if it is in force."""
        known, now = self._rejection, self._clock()
        return known[0]._replace(left=known[1] - now) if known and now < known[1] else None

    def _of_others(self, failure: Failure) -> bool:
        return failure.kind == REJECTED and not self._login.ours(failure.proof) and not self._rejected()

    def _keep(self, outcome: Got | Adopt) -> None:
        token, before = outcome.token, self.current
        self.current = token
        if isinstance(outcome, Got):
            self._origin, self._rejection = "login", None
            self._refused = tuple(old for old in self._refused if not renewal.same(token, old))
        elif not renewal.same(token, before):
            self._origin = "store"
            from .events import Adopted

            self._tell(Adopted(token.fingerprint, token.seconds_left(self._clock())))

    def _tell(self, event: Event) -> None:
        held = getattr(self._held, "events", None)
        if held is None:
            self._listener(event)
        else:
            held.append(event)

    @contextmanager
    def _holding_back(self) -> Iterator[None]:
        """Tell nobody anything while we may hold a lease: a listener can take its time, or ask for a token."""
        events: list[Event] = []
        self._held.events = events
        try:
            yield
        finally:
            self._held.events = None
            for event in events:
                self._listener(event)

    def _stored(self) -> Token | None:
        try:
            return renewal.held(self._levels[-1].read())
        except StoreError:
            return None

    def _store_failed(self, level: _Level, error: StoreError) -> None:
        self.store_errors += 1
        if not level.down:
            level.down = True
            from .events import StoreFailed

            self._tell(StoreFailed(repr(level.store), str(error)))

    def _store_works(self, level: _Level) -> None:
        if level.down:
            level.down = False
            from .events import StoreRecovered

            self._tell(StoreRecovered(repr(level.store)))


class _Level:
    """A store in its place: how long its leases are, how patient its waiters, whether it works."""

    def __init__(self, source: TokenSource, store: TokenStore, lease: float, patience: float) -> None:
        self.store = store
        self.lease = lease
        self.patience = patience
        self.down = False
        self._unwritten: Snapshot | None = None
        self._source = source
        self._unusable: Slot | None = None

    def read(self) -> Snapshot:
        seen = self._watched(self.store.read, wrote=self._differs)
        unusable = None if renewal.held(seen) else seen.token
        if unusable and (self._unusable is None or unusable.value != self._unusable.value):
            from .events import ValueUnusable

            self._source._tell(ValueUnusable(repr(self.store)))
        self._unusable = unusable
        return seen

    def swap(self, seen: Snapshot, change: Change) -> bool:
        return self._watched(lambda: self.store.swap(seen, change), wrote=bool, over=seen)

    def wait(self, seen: Snapshot, seconds: float) -> None:
        self._watched(lambda: self.store.wait(seen, seconds))

    def extend(self, ask: Ask, seconds: float) -> None:
        self.update(lambda seen: renewal.extended(seen, ask, max(self.lease, seconds)))

    def update(self, change: Callable[[Snapshot], Change | None]) -> None:
        """Swap in what ``change`` makes of what is held, until it applies or is ``None``."""
        try:
            while (new := change(seen := self.read())) is not None:
                if self.swap(seen, new):
                    return
        except StoreError:
            return

    def _differs(self, seen: Snapshot) -> bool:
        """Whether somebody has stored a token since we could not."""
        before = self._unwritten.token if self._unwritten else None
        return seen.token is not None and (before is None or before.value != seen.token.value)

    def _watched(
        self, call: Callable[[], T], *, wrote: Callable[[T], bool] | None = None, over: Snapshot | None = None
    ) -> T:
        try:
            result = call()
        except StoreError as error:
            self._unwritten = over or self._unwritten
            self._source._store_failed(self, error)
            raise
        # A full server, or a replica, can be read all the same: that alone is no recovery.
        if self._unwritten is None or (wrote and wrote(result)):
            self._unwritten = None
            self._source._store_works(self)
        return result
