"""What a store holds, and the three things that it can do.

A store is dumb. It holds three small opaque values, each with a time to live of its
own: the *token*, the *lease* of the process that is logging in, and what is remembered
of *failed* logins. ``renewal`` decides what they mean. To add a store, write the three
methods of ``TokenStore`` and run the contract suite (``tests/unit/test_store.py``).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from .secret import Hidden, Secret


class StoreError(Exception):
    """The store cannot be used now, and the caller goes on without it.

    The text names the server and the cause, and holds no secret.
    """


class Slot(Hidden):
    """A value in a store (visible ASCII) and the seconds that it has to live."""

    __slots__ = ("_value", "left")

    def __init__(self, value: bytes, left: float) -> None:
        is_text = hasattr(left, "__len__")
        if is_text:
            # Error trackers show the variables of the frames that an exception passes,
            # and the value can be in the wrong place.
            del value, left
            raise TypeError("the time left of a Slot must be a number of seconds")
        self._value = Secret(value)
        self.left: float = left

    @property
    def value(self) -> bytes:
        """The stored bytes. They may be a token."""
        return self._value.reveal()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Slot):
            return NotImplemented
        return self._value == other._value and self.left == other.left

    def __hash__(self) -> int:
        return hash((self._value, self.left))

    def __repr__(self) -> str:
        return f"<Slot of {len(self.value)} bytes, {self.left:.3f} s left>"


class Snapshot(Hidden):
    """What a store held at the monotonic moment ``at``.

    ``token``, ``lease`` and ``failure`` are slots or ``None``. Only the store reads
    ``version``: it tells ``swap`` whether a value has changed since, and ``wait``
    whether the waiters were woken since.
    """

    __slots__ = ("at", "failure", "lease", "token", "version")

    def __init__(
        self,
        at: float,
        token: Slot | None,
        lease: Slot | None,
        failure: Slot | None,
        version: Any,
    ) -> None:
        self.at: float = at
        self.token: Slot | None = token
        self.lease: Slot | None = lease
        self.failure: Slot | None = failure
        self.version: Any = version


KEEP = Slot(b"", -1.0)
"""In a ``Change``: leave this value as it is."""


class Change(Hidden):
    """What to write: for each value a ``Slot``, ``None`` (remove it) or ``KEEP``.

    ``wake`` ends the wait of every caller that waits at this store.
    """

    __slots__ = ("failure", "lease", "token", "wake")

    def __init__(
        self,
        token: Slot | None = KEEP,
        lease: Slot | None = KEEP,
        failure: Slot | None = KEEP,
        wake: bool = False,
    ) -> None:
        self.token: Slot | None = token
        self.lease: Slot | None = lease
        self.failure: Slot | None = failure
        self.wake: bool = wake

    @property
    def values(self) -> tuple[Slot | None, Slot | None, Slot | None]:
        """The three values in the order token, lease, failure."""
        return self.token, self.lease, self.failure

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Change):
            return NotImplemented
        return self.values == other.values and self.wake == other.wake

    def __hash__(self) -> int:
        return hash((self.values, self.wake))


@runtime_checkable
class TokenStore(Protocol):
    """The three things that a store can do. Each raises ``StoreError`` if it cannot."""

    def read(self) -> Snapshot:
        """Return what the store holds now."""

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` in one step if the three values are still as ``seen``.

        Returns ``False``, and writes nothing, if another caller changed one of them
        first. A change with ``wake`` ends every ``wait``.
        """

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when a change after ``seen`` woke the waiters, or after ``seconds``.

        A wake-up between ``seen`` and the call counts too.
        """


class MemoryStore:
    """A store in this process, for its threads.

    ``clock`` returns monotonic seconds; by default it is ``time.monotonic``. The store
    can be used in a forked child, even if another thread held its lock at the fork.
    """

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        # Tools that freeze the time patch time.monotonic, so look it up at each call.
        self._clock = clock or (lambda: time.monotonic())
        self._changed = threading.Condition()
        self._kept: tuple[_Kept, _Kept, _Kept] = (None, None, None)
        self._changes = 0
        self._wakes = 0
        _memory_stores.add(self)

    def read(self) -> Snapshot:
        """Return what the store holds now."""
        with self._changed:
            return self._look()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` if nothing has changed since ``seen``."""
        with self._changed:
            now = self._look()
            if now.version[0] != seen.version[0]:
                return False
            token, lease, failure = (
                _keep(kept, new, now.at)
                for kept, new in zip(self._kept, change.values, strict=True)
            )
            self._kept = (token, lease, failure)
            self._changes += 1
            if change.wake:
                self._wakes += 1
                self._changed.notify_all()
            return True

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when woken after ``seen``, or after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._wakes != seen.version[1], seconds)

    def __repr__(self) -> str:
        return "<MemoryStore>"

    def _look(self) -> Snapshot:
        now = self._clock()
        live = tuple(kept if kept and now < kept[1] else None for kept in self._kept)
        token, lease, failure = live
        if live != self._kept:
            self._kept = (token, lease, failure)
            self._changes += 1
        return Snapshot(
            now,
            _slot(token, now),
            _slot(lease, now),
            _slot(failure, now),
            (self._changes, self._wakes),
        )

    def _after_fork(self) -> None:
        # The thread that held the lock or the lease did not survive the fork.
        self._changed = threading.Condition()
        self._kept = (self._kept[0], None, self._kept[2])


_Kept = tuple[Secret[bytes], float] | None
_memory_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _keep(kept: _Kept, new: Slot | None, now: float) -> _Kept:
    if new is KEEP:
        return kept
    return None if new is None else (Secret(new.value), now + new.left)


def _slot(kept: _Kept, now: float) -> Slot | None:
    return kept and Slot(kept[0].reveal(), kept[1] - now)


def _reset_after_fork() -> None:
    for store in list(_memory_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_reset_after_fork)
