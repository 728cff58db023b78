"""Carries a rule of ``renewal`` out over one store.

``Level.carry_out`` is the only loop: read, ask the rule, wait or swap, ask again. A
level also notices when its store stops working, and when it works again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from . import renewal
from .events import StoreFailed, StoreRecovered, ValueUnusable, Waited
from .renewal import Ask, Lead, Outcome, Rule, Settling, Wait, Write
from .store import Change, Slot, Snapshot, StoreError, TokenStore

if TYPE_CHECKING:
    from .events import Event

T = TypeVar("T")

MOST_STEPS = 100
"""Rounds of one rule. A store that still applies no write then never will."""


class OutOfPatience(Exception):
    """Another caller has led for longer than a caller waits."""


class Level:
    """A store in its place among the levels.

    ``lease_seconds`` is the length of its leases, and ``wait_limit`` the number of
    seconds that a caller waits for other callers. ``tell`` is called with the store's
    events.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        lease_seconds: float,
        wait_limit: float,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self.store = store
        self.lease_seconds = lease_seconds
        self.errors: int = 0
        self._wait_limit = wait_limit
        self._tell = tell
        self._clock = clock
        self._failing: set[str] = set()
        self._unusable: Slot | None = None

    def carry_out(self, rule: Rule) -> Any:
        """Return the result of ``rule``, once its write, if any, is applied.

        Raises ``StoreError`` if the store cannot be used, and ``OutOfPatience`` if
        other callers lead for longer than the wait limit.
        """
        start = self._clock()
        for _ in range(MOST_STEPS):
            seen = self._read()
            step = rule(seen)
            if isinstance(step, Wait):
                self._wait(seen, step, start)
            elif not isinstance(step, Write):
                return step
            elif self._swap(seen, step.change):
                return step.result
        raise StoreError(f"no write was applied in {MOST_STEPS} tries")

    def attempt(self, rule: Rule, default: object) -> Any:
        """Return the result of ``rule``, or ``default`` if that is not possible."""
        try:
            return self.carry_out(rule)
        except (StoreError, OutOfPatience):
            return default

    def lease(self, ask: Ask) -> Lease:
        """Return a context manager that carries one renewal out at this level."""
        return Lease(self, ask)

    def be_patient(self, seconds: float) -> None:
        """Let the store take up to ``seconds`` for each call of this thread."""
        be_patient = getattr(self.store, "be_patient", None)
        if be_patient is not None:
            be_patient(seconds)

    def look_again(self, ask: Ask) -> Outcome | None:
        """Return a token of the store, even if it was in trouble a moment ago."""
        try_again = getattr(self.store, "try_again", None)
        if try_again is not None:
            try_again()
        found: Outcome | None = self.attempt(partial(renewal.spot, ask=ask), None)
        return found

    def _read(self) -> Snapshot:
        seen = self._watched("read", self.store.read)
        unusable = None if renewal.held_token(seen) else seen.token
        if unusable and (
            self._unusable is None or unusable.value != self._unusable.value
        ):
            self._tell(ValueUnusable(repr(self.store)))
        self._unusable = unusable
        return seen

    def _swap(self, seen: Snapshot, change: Change) -> bool:
        return self._watched("swap", lambda: self.store.swap(seen, change))

    def _wait(self, seen: Snapshot, wait: Wait, start: float) -> None:
        before = self._clock()
        left = start + self._wait_limit - before
        if left <= 0:
            raise OutOfPatience
        # A wait is a read that takes longer. As a kind of its own it would stay
        # "failed" until the next wait, which may come hours later.
        self._watched("read", lambda: self.store.wait(seen, min(wait.seconds, left)))
        self._tell(Waited(self._clock() - before))

    def _watched(self, kind: str, call: Callable[[], T]) -> T:
        """Call the store, and notice when it stops working or has recovered.

        It has recovered when the kind of call that failed works again.

        A full server and a replica can be read but not written, so a call of another
        kind that works is no recovery.
        """
        try:
            result = call()
        except StoreError as error:
            self.errors += 1
            if not self._failing:
                self._tell(StoreFailed(repr(self.store), str(error)))
            self._failing.add(kind)
            raise
        if kind in self._failing:
            self._failing.discard(kind)
            if not self._failing:
                self._tell(StoreRecovered(repr(self.store)))
        return result


class Lease:
    """One renewal at one level. An exception on the way gives its lease back."""

    def __init__(self, level: Level, ask: Ask) -> None:
        self._level = level
        self._ask = ask
        self._may_be_held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A store that hangs would delay an interrupt, so ask it only if need be.
        if kind is not None and self._may_be_held:
            self._level.attempt(partial(renewal.release, ask=self._ask), None)

    def enter(self, *, is_last: bool) -> Outcome | Lead:
        """Return what to do at this level; after ``Lead`` the lease is held."""

        def rule(seen: Snapshot) -> Outcome | Wait | Write[Lead]:
            step = renewal.enter(
                seen, self._ask, lease=self._level.lease_seconds, is_last=is_last
            )
            if isinstance(step, Write):
                self._may_be_held = True
            return step

        result: Outcome | Lead = self._level.carry_out(rule)
        return result

    def settle(self, outcome: Settling, ask: Ask) -> Settling:
        """Write what came of it and end the lease; return what holds then.

        Where that cannot be written, ``outcome`` is returned as it is.
        """
        rule: Rule = partial(renewal.settle, ask=ask, outcome=outcome)
        settled: Settling = self._level.attempt(rule, outcome)
        return settled
