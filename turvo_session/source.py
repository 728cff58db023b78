"""Holds the current token of this process, and gets another when it must be replaced.

``TokenSource`` stacks the levels: the memory of this process, where threads meet, then
the shared store, where processes meet, and under both the login. Whoever leads at one
level asks the next one down, and writes what came of it on the way up. A store in
trouble is a level that is skipped: what this process remembers decides then.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Any, Protocol

from . import failure as failures
from . import renewal
from .errors import TurvoAuthError
from .events import Adopted, EventQueue, Forgotten, LoggedIn, LoginFailed
from .failure import Client, Failure, History, Record
from .level import Level, OutOfPatience
from .renewal import Adopt, Ask, Fail, Got, Lead, Outcome, Settling, Stay, Write
from .store import Change, MemoryStore, Snapshot, StoreError, TokenStore
from .tokens import Token, same_secret

if TYPE_CHECKING:
    from .events import Event
    from .login import Grant

LEASE_MARGIN = 2.0
"""Seconds by which a lease outlasts the attempt that it covers."""
THREAD_LEASE = 120.0
"""Seconds of a lease among threads. They give it back, whatever ends them."""
WAIT_LIMIT = 40.0
"""Seconds that a caller waits for other processes before it may log in itself. A caller
waits twice as long for other threads."""
PATIENCE_WITH_TOKEN = 1.0
"""Seconds that the store may take to answer a process that has a token."""
PATIENCE_WITHOUT_TOKEN = 3.0
"""The same without a token: a hundred processes that start at once are slow as well."""
GREENLET_PAUSE = 0.01
"""Seconds between two looks at another greenlet's renewal."""
MOST_REFUSED = 64
"""Refused tokens that a process remembers, in order not to adopt one again."""


class Login(Protocol):
    """What the source needs of ``login.PasswordLogin``."""

    @property
    def attempt_seconds(self) -> float:
        """The seconds that one attempt takes at most."""

    @property
    def url_hash(self) -> str:
        """A name for the token endpoint in records of failures."""

    def __call__(
        self, *, attempts: int, may_count: int, extend: Callable[[float], None]
    ) -> Grant | Failure:
        """Log in."""

    def proof(self, salt: str) -> str:
        """Return a salted hash of the credentials."""


@dataclass(frozen=True)
class FailureStatus:
    """A failed login that is remembered, for ``seconds`` more.

    ``kind`` is "unreachable", "unavailable", "unanswered", "foreign" or "rejected".
    ``mine`` tells whether it keeps this process from logging in.
    """

    kind: str
    why: str
    seconds: float
    mine: bool


@dataclass(frozen=True)
class TokenStatus:
    """What is known of the token, without a secret and without a login.

    ``origin`` is ``"login"``, ``"store"`` or ``None`` (there is no token).
    ``fingerprint`` names the token, ``seconds_left`` is its life, and ``state`` is
    ``"fresh"``, ``"due"`` or ``"none"``. ``store`` names the store, ``store_seconds``
    is the time of a read, and ``store_reachable`` tells whether that read worked
    (``None``: nothing is shared). ``failure`` is the failed login that keeps this
    process from logging in, for ``failure_seconds`` more. ``failures`` are all that are
    remembered, and ``attempts_spent`` of eight token requests may have counted as wrong
    passwords within 15 minutes. ``store_writable`` is ``None`` unless the status tried
    a write.
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
    failures: tuple[FailureStatus, ...] = ()
    attempts_spent: int = 0
    store_writable: bool | None = None


class TokenSource:
    """Holds the current token of this process, and replaces it when needed.

    ``tell`` is called with every event, after the renewal that it belongs to.
    """

    def __init__(
        self,
        login: Login,
        store: TokenStore | None,
        *,
        expiry_buffer: float,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = lambda: time.monotonic(),
        local: MemoryStore | None = None,
    ) -> None:
        self.current: Token | None = None
        self._login = login
        self._expiry_buffer = expiry_buffer
        self._clock = clock
        self._events = EventQueue(tell)
        self._name = urandom(8).hex()
        self._thread = threading.local()
        self._from = "store"
        self._refused: tuple[Token, ...] = ()
        self._levels: tuple[Level, ...] = (
            self._level(
                local or MemoryStore(clock=clock), THREAD_LEASE, 2 * WAIT_LIMIT
            ),
        )
        if store is not None:
            lease_seconds = login.attempt_seconds + LEASE_MARGIN
            self._levels += (self._level(store, lease_seconds, WAIT_LIMIT),)

    @property
    def store_errors(self) -> int:
        """How often a store could not be used."""
        return sum(level.errors for level in self._levels)

    def tell(self, event: Event) -> None:
        """Pass an event on in the same order as the source's own events."""
        self._events.tell(event)

    def get(self) -> Got | Adopt:
        """Return a token that serves: the current one, another caller's, or a new one.

        Raises ``TurvoAuthError``.
        """
        outcome = self._obtain(self._ask())
        assert not isinstance(outcome, Stay)  # only a refused token can be kept
        return outcome

    def renew(
        self, refused: Token, *, known_good: bool = False, may_login: bool = True
    ) -> Got | Adopt | Stay:
        """Return a token other than ``refused``, or ``Stay`` if another would not help.

        ``known_good``: this process has seen Turvo accept the token with which the
        conversation began. ``may_login``: a new token may cure the 401. Raises
        ``TurvoAuthError``.
        """
        ask = self._ask()._replace(
            refused=refused, known_good=known_good, may_login=may_login
        )
        outcome = self._obtain(ask)
        # Remember it only now. It may be a good token that was refused for another
        # reason, and a thread that knew it as refused would log in once more.
        if isinstance(outcome, Got | Adopt) and not same_secret(outcome.token, refused):
            others = [old for old in self._refused if not same_secret(old, refused)]
            self._refused = (*others[1 - MOST_REFUSED :], refused)
        return outcome

    def log_in(self, *, force: bool = False) -> Token:
        """Ask Turvo for a token, whatever is remembered of failures, and store it.

        ``force``: even if the budget of attempts is spent. Raises ``TurvoAuthError``.
        """
        outcome = self._obtain(self._ask()._replace(forced=True, over_budget=force))
        assert not isinstance(outcome, Stay)
        return outcome.token

    def prove(self, token: Token) -> None:
        """Clear the doubt about a token that was got because of a 401."""
        for level in self._levels:
            level.attempt(partial(renewal.prove, token=token), None)

    def forget(self) -> None:
        """Drop the current token and the history of failures, in every store."""
        token = self.current or self._stored_token()
        self.current = None
        for level in self._levels:
            level.attempt(partial(renewal.forget, token=token), None)
        if token:
            self._events.tell(Forgotten(token.fingerprint))

    def status(self, *, try_write: bool = False) -> TokenStatus:
        """Return what is known, read from the shared store if there is one.

        Never logs in. ``try_write``: test whether that store can be written as well.
        """
        shared = self._levels[-1]
        start = self._clock()
        seen: Snapshot | None = shared.attempt(_as_seen, None)
        took = self._clock() - start
        status = self._known(seen, repr(shared.store))
        if len(self._levels) == 1:
            return status
        if seen is None:
            return replace(status, store_reachable=False)
        writable = shared.attempt(_wake, False) if try_write else None
        return replace(
            status,
            store_reachable=True,
            store_seconds=took,
            store_writable=writable,
        )

    def _known(self, seen: Snapshot | None, store: str) -> TokenStatus:
        """Return what the ``seen`` store and this process know of the token."""
        now = self._clock()
        stored = renewal.held_token(seen) if seen else None
        token = stored
        if self.current and now < self.current.end:
            token = self.current
        remembered = seen or self._levels[0].carry_out(_as_seen)
        history = failures.load(remembered.failure)
        client = self._client()
        blocking = history.blocking(client)
        status = TokenStatus(
            origin=None,
            fingerprint=None,
            seconds_left=0.0,
            state="none",
            store=store,
            store_reachable=None,
            store_seconds=None,
            failure=blocking.why if blocking else None,
            failure_seconds=blocking.left if blocking else 0.0,
            failures=_statuses(history, client),
            attempts_spent=len(history.attempts_of(client)),
        )
        if token is None:
            return status
        return replace(
            status,
            origin="store" if token is stored else self._from,
            fingerprint=token.fingerprint,
            seconds_left=token.seconds_left(now),
            state=token.state(now),
        )

    def _level(self, store: TokenStore, lease_seconds: float, limit: float) -> Level:
        return Level(
            store,
            lease_seconds=lease_seconds,
            wait_limit=limit,
            tell=self._events.tell,
            clock=self._clock,
        )

    def _client(self) -> Client:
        process = f"{self._name}-{os.getpid()}"
        return Client(self._login.url_hash, process, self._login.proof)

    def _ask(self) -> Ask:
        return Ask(
            owner=urandom(8).hex().encode(),
            client=self._client(),
            salt=urandom(16).hex(),
            refused_before=self._refused,
        )

    def _obtain(self, ask: Ask) -> Got | Adopt | Stay:
        with self._events.holding(), self._one_at_a_time():
            self._set_patience(ask)
            outcome = self._look(ask, self._levels)
            if isinstance(outcome, Fail) and outcome.soft:
                # The old token expired during the renewal ahead of time, so the failure
                # of that renewal is over as well: ask again.
                again = ask._replace(owner=urandom(8).hex().encode())
                outcome = self._look(again, self._levels)
            if isinstance(outcome, Failure):
                outcome = self._unnoted(ask, outcome)
            if isinstance(outcome, Got | Adopt):
                self._keep(outcome)
        if isinstance(outcome, Fail):
            raise outcome.record.error()
        return outcome

    def _set_patience(self, ask: Ask) -> None:
        token = self.current
        serves = token and self._clock() < token.end and not ask.was_refused(token)
        for level in self._levels:
            level.be_patient(PATIENCE_WITH_TOKEN if serves else PATIENCE_WITHOUT_TOKEN)

    def _look(
        self, ask: Ask, levels: tuple[Level, ...], led: tuple[Level, ...] = ()
    ) -> Settling:
        """Look for a token at the first of ``levels``, and below it if need be."""
        level, below = levels[0], levels[1:]
        with level.lease(ask) as lease:
            try:
                step = lease.enter(is_last=not below)
            except StoreError:
                # What this process remembers decides.
                memory = self._levels[0]
                return self._without(level, ask, below, led, (memory, renewal.permit))
            except OutOfPatience:
                return self._without(level, ask, below, led, (level, renewal.reserve))
            if not isinstance(step, Lead):
                return step
            asked = ask._replace(spare=step.spare)
            led = (*led, level)
            if below:
                found = self._look(asked, below, led)
            else:
                found = self._log_in(asked, led, step)
            outcome = lease.settle(found, asked)
        if isinstance(outcome, Failure):
            outcome = self._once_more(level, asked, outcome)
        elif isinstance(found, Failure):
            self._tell_failure(found, _pause(outcome))
        return self._or_spare(asked, outcome)

    def _without(
        self,
        level: Level,
        ask: Ask,
        below: tuple[Level, ...],
        led: tuple[Level, ...],
        permission: tuple[Level, Callable[..., Any]],
    ) -> Settling:
        """Go on without a lease at ``level``.

        ``permission`` is the level and the rule that decide whether to log in.
        """
        if below:
            return self._look(ask, below, led)
        deciding, rule = permission
        lead: Fail | Stay | Lead = deciding.attempt(
            partial(rule, ask=ask), Lead(tries=1, may_count=1)
        )
        if not isinstance(lead, Lead):
            return lead
        outcome: Settling = self._log_in(ask, led, lead)
        if isinstance(outcome, Failure):
            outcome = self._once_more(level, ask, outcome)
        return outcome

    def _once_more(self, level: Level, ask: Ask, failure: Failure) -> Settling:
        """Return a token that another process has stored meanwhile, or ``failure``."""
        if level is self._levels[0] or ask.forced:
            return failure
        found = level.look_again(ask)
        if not isinstance(found, Adopt):
            return failure
        if found.token.state(self._clock()) == "due":
            # The level above has to note the failure, or every call would log in while
            # the store can be read but not written.
            return failure._replace(spare=found.token)
        self._tell_failure(failure, 0.0)
        return found

    def _or_spare(self, ask: Ask, outcome: Settling) -> Settling:
        """Return the due token as long as it serves, if no other was got."""
        if not ask.spare or self._clock() >= ask.spare.end:
            return outcome
        if isinstance(outcome, Stay):
            return Adopt(ask.spare)
        if isinstance(outcome, Fail):
            return Adopt(ask.spare, outcome.record.left)
        return outcome

    def _log_in(self, ask: Ask, led: tuple[Level, ...], lead: Lead) -> Got | Failure:
        def extend(seconds: float) -> None:
            for level in led:
                longer = max(level.lease_seconds, seconds + LEASE_MARGIN)
                rule = partial(renewal.extend, ask=ask, seconds=longer)
                level.attempt(rule, None)

        start = self._clock()
        result = self._login(
            attempts=lead.tries, may_count=lead.may_count, extend=extend
        )
        took = self._clock() - start
        if isinstance(result, Failure):
            return result._replace(took=took, spare=ask.spare)
        known = [token for token in (self.current, ask.spare, ask.refused) if token]
        got = Got(renewal.granted(result, known, self._expiry_buffer))
        left = got.token.seconds_left(self._clock())
        self._events.tell(
            LoggedIn(got.token.fingerprint, left, took, _reason_for_login(ask))
        )
        # Set this before storing it, or a waiting thread would report our token as
        # adopted.
        self._keep(got)
        return got

    def _unnoted(self, ask: Ask, failure: Failure) -> Fail | Adopt:
        """Return what comes of a failure that no level could note."""
        spare = failure.spare
        _, record = History().with_failure(
            failure,
            ask.client,
            salt=ask.salt,
            ahead=spare is not None,
            had_token=bool(spare or ask.refused),
        )
        self._tell_failure(failure, record.left)
        if spare and self._clock() < spare.end:
            return Adopt(spare, record.left)
        return Fail(record)

    def _tell_failure(self, failure: Failure, pause: float) -> None:
        event = LoginFailed(failure.why, failure.took, failure.kind, pause)
        self._events.tell(event)

    def _keep(self, outcome: Got | Adopt) -> None:
        token, before = outcome.token, self.current
        self.current = token
        if isinstance(outcome, Got):
            self._from = "login"
            self._refused = tuple(
                old for old in self._refused if not same_secret(token, old)
            )
        elif not same_secret(token, before):
            self._from = "store"
            left = token.seconds_left(self._clock())
            self._events.tell(Adopted(token.fingerprint, left))

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Raise an error if this thread is in a renewal already.

        Waiting would be for the lease that this very thread holds, unless it is held by
        another greenlet, which ends by itself.
        """
        end = time.monotonic() + WAIT_LIMIT
        while self._renews_in_other_greenlet() and time.monotonic() < end:
            # A lock would stop the whole thread. With gevent this sleep does not.
            time.sleep(GREENLET_PAUSE)
        if self._renewal_under_way() is not None:
            raise TurvoAuthError(
                "this thread is getting a token already, and a signal handler or a "
                "password callable asked for one in the middle of it; it must not send "
                "a request with this auth"
            )
        # It ends with this frame, whatever ends that. A `finally` would be one more
        # line at which an interrupt can strike.
        mark = _Mark(_current_greenlet())
        self._thread.renewal = weakref.ref(mark)
        yield

    def _renewal_under_way(self) -> _Mark | None:
        """Return the mark of the renewal that this thread is in, if it is in one."""
        reference: weakref.ref[_Mark] | None
        reference = getattr(self._thread, "renewal", None)
        return reference() if reference is not None else None

    def _renews_in_other_greenlet(self) -> bool:
        """Return whether another greenlet of this thread is in a renewal.

        Greenlets share a thread where gevent patches sockets and not threads, as
        grequests has it do.
        """
        mark = self._renewal_under_way()
        return mark is not None and mark.greenlet != _current_greenlet()

    def _stored_token(self) -> Token | None:
        seen: Snapshot | None = self._levels[-1].attempt(_as_seen, None)
        return renewal.held_token(seen) if seen else None


class _Mark:
    """Lives as long as a renewal. Only the renewal refers to it strongly."""

    __slots__ = ("__weakref__", "greenlet")

    def __init__(self, greenlet: int) -> None:
        self.greenlet: int = greenlet


def _current_greenlet() -> int:
    """Return what tells the greenlets of a thread apart; 0 if there are none."""
    module: Any = sys.modules.get("greenlet")
    return id(module.getcurrent()) if module else 0


def _as_seen(seen: Snapshot) -> Snapshot:
    return seen


def _wake(seen: Snapshot) -> Write[bool]:
    """Write what changes nothing: waiters wake up, look, and wait again."""
    return Write(Change(wake=True), True)


def _statuses(history: History, client: Client) -> tuple[FailureStatus, ...]:
    return tuple(
        FailureStatus(
            record.kind, record.why, record.left, _is_mine(history, record, client)
        )
        for record in history.records
        if record.left > 0
    )


def _is_mine(history: History, record: Record, client: Client) -> bool:
    return not record.soft and history.concerns(record, client)


def _pause(outcome: Outcome) -> float:
    """Return the seconds until the next login, after one that failed."""
    if isinstance(outcome, Fail):
        return outcome.record.left
    return outcome.hold if isinstance(outcome, Adopt) else 0.0


def _reason_for_login(ask: Ask) -> str:
    if ask.forced:
        return "asked"
    if ask.refused:
        return "refused"
    return "due" if ask.spare else "none"
