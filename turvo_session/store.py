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
from typing import Any, NamedTuple, Protocol, runtime_checkable


class StoreError(Exception):
    """The store cannot be used now. The work goes on without it; the text holds no secret."""


class Slot(NamedTuple):
    """A value in a store (visible ASCII) and the seconds that it has to live."""

    value: bytes
    left: float

    def __repr__(self) -> str:  # the value may be a token
        return f"<Slot of {len(self.value)} bytes, {self.left:.3f} s left>"


class Snapshot(NamedTuple):
    """What a store held at the monotonic moment ``at``.

    ``version`` is the store's own affair: by it ``swap`` knows whether anything has changed
    since, and ``wait`` whether the waiters were woken since.
    """

    at: float
    token: Slot | None
    lease: Slot | None
    failure: Slot | None
    version: Any


KEEP = Slot(b"", -1.0)
"""In a ``Change``: leave this value as it is."""


class Change(NamedTuple):
    """What to write: for each value ``KEEP``, ``None`` (remove it) or a ``Slot``; and whether to wake."""

    token: Slot | None = KEEP
    lease: Slot | None = KEEP
    failure: Slot | None = KEEP
    wake: bool = False


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
                kept if new is KEEP else new and (new.value, now.at + new.left)
                for kept, new in zip(self._slots, change[:3], strict=True)
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


_Kept = tuple[bytes, float] | None
_in_memory: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _slot(kept: _Kept, now: float) -> Slot | None:
    return kept and Slot(kept[0], kept[1] - now)


def _reset_after_fork() -> None:
    for store in list(_in_memory):
        store._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_reset_after_fork)
