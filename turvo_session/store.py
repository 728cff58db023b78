"""Where tokens live: what a store holds, as a value, and the three things that it can do.

A store is dumb. It holds three small opaque values, each with a time to live of its own: the
*token*, the *lease* of whoever is logging in, and the last *failure*. What they mean, and what
to do about them, is decided in ``renewal``. Whoever wants another store than the two that come
with the library writes three methods and runs the contract suite (``tests/test_store.py``).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from .secret import Secret
from .value import Value


class StoreError(Exception):
    """The store cannot be used now. The work goes on without it; the text holds no secret."""


class Slot(Value):
    """A value in a store (visible ASCII) and the seconds that it has to live."""

    __slots__ = ("_value", "left")
    __match_args__ = ("value", "left")

    def __init__(self, value: bytes, left: float) -> None:
        self._value: Secret[bytes] = Secret(value)  # it may hold a token
        del value  # tracebacks show locals
        if hasattr(left, "__len__"):  # a text: it may be the value
            del left
            raise TypeError("left must be a number of seconds")
        self.left: Final[float] = left

    @property
    def value(self) -> bytes:
        """What is stored."""
        return self._value.reveal()

    def __repr__(self) -> str:
        return f"<Slot of {len(self.value)} bytes, {self.left:.3f} s left>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, tuple(self._fields().values())  # a store may keep pickles


class Snapshot(Value):
    """What a store held at the monotonic moment ``at``.

    ``version`` is the store's own affair: by it ``swap`` knows whether anything has changed
    since, and ``wait`` whether the waiters were woken since.
    """

    __slots__ = ("at", "failure", "lease", "token", "version")
    __match_args__ = ("at", "token", "lease", "failure", "version")

    def __init__(
        self, at: float, token: Slot | None, lease: Slot | None, failure: Slot | None, version: Any
    ) -> None:
        if not all(isinstance(slot, Slot | None) for slot in (token, lease, failure)):
            del token, lease, failure  # tracebacks show locals
            raise TypeError("token, lease and failure of a Snapshot must each be a Slot or None")
        self.at: Final[float] = at
        self.token: Final[Slot | None] = token
        self.lease: Final[Slot | None] = lease
        self.failure: Final[Slot | None] = failure
        self.version: Final[Any] = version

    def __reduce__(self) -> tuple[Any, ...]:
        return Snapshot, tuple(self._fields().values())


KEEP = Slot(b"", -1.0)
"""In a ``Change``: leave this value as it is."""


class Change(Value):
    """What to write: for each value ``KEEP``, ``None`` (remove it) or a ``Slot``; and whether to wake."""

    __slots__ = ("failure", "lease", "token", "wake")
    __match_args__ = ("token", "lease", "failure", "wake")

    def __init__(
        self,
        token: Slot | None = KEEP,
        lease: Slot | None = KEEP,
        failure: Slot | None = KEEP,
        wake: bool = False,
    ) -> None:
        if not all(isinstance(slot, Slot | None) for slot in (token, lease, failure)):
            del token, lease, failure  # tracebacks show locals
            raise TypeError("token, lease and failure of a Change must each be a Slot or None")
        self.token: Final[Slot | None] = token
        self.lease: Final[Slot | None] = lease
        self.failure: Final[Slot | None] = failure
        self.wake: Final[bool] = wake

    def __reduce__(self) -> tuple[Any, ...]:
        return Change, tuple(self._fields().values())


@runtime_checkable
class TokenStore(Protocol):
    """The three things that a store can do. Each raises ``StoreError`` if it cannot."""

    def read(self) -> Snapshot:
        """What is held now."""

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` if the three values are those of ``seen``, in one atomic step.

        False: somebody was faster, nothing was written. A change with ``wake`` ends every ``wait``.
        """

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when the waiters were woken after ``seen``, or after ``seconds``; never miss a wake."""


class MemoryStore:
    """A store in this process, for its threads. Safe in a forked child, whoever held the lock."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._slots: tuple[_Kept, _Kept, _Kept] = (None, None, None)
        self._changes = 0
        self._woken = 0
        _in_memory.add(self)

    def read(self) -> Snapshot:
        """What is held now."""
        with self._changed:
            return self._look()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` if nothing is different from what was ``seen``."""
        with self._changed:
            now = self._look()
            if now.version[0] != seen.version[0]:
                return False
            token, lease, failure = (
                kept if new is KEEP else _kept(new, now.at)
                for kept, new in zip(self._slots, (change.token, change.lease, change.failure), strict=True)
            )
            self._slots = (token, lease, failure)
            self._changes += 1
            if change.wake:
                self._woken += 1
                self._changed.notify_all()
            return True

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when woken after ``seen``, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken != seen.version[1], seconds)

    def __repr__(self) -> str:
        return "<MemoryStore>"

    def _look(self) -> Snapshot:
        now = self._clock()
        token, lease, failure = (kept if kept and now < kept[1] else None for kept in self._slots)
        if (token, lease, failure) != self._slots:
            self._slots = (token, lease, failure)
            self._changes += 1
        version = (self._changes, self._woken)
        return Snapshot(now, _slot(token, now), _slot(lease, now), _slot(failure, now), version)

    def _after_fork(self) -> None:
        # The thread that held the lock or the lease did not survive the fork.
        self._changed = threading.Condition()
        self._slots = (self._slots[0], None, self._slots[2])


_Kept = tuple[Secret[bytes], float] | None
_in_memory: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _kept(slot: Slot | None, now: float) -> _Kept:
    return None if slot is None else (Secret(slot.value), now + slot.left)


def _slot(kept: _Kept, now: float) -> Slot | None:
    return kept and Slot(kept[0].reveal(), kept[1] - now)


def _reset_after_fork() -> None:
    for store in list(_in_memory):
        store._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_reset_after_fork)
