"""A circuit breaker: one timeout an outage, not one a command."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .store import StoreError

PROBE = 0.1
"""Seconds that a caller waits, during an outage, to see whether it is over."""
FIRST_PAUSE = 2.0
"""Seconds between two such probes at first; they double."""
LONGEST_PAUSE = 60.0
"""Seconds between two such probes at most."""


class CircuitBreaker:
    """Lets commands through until one fails, and then one probe now and then.

    A command that takes ``slowest`` seconds or more is not a sign of recovery.
    ``clock`` returns monotonic seconds. There is no lock, so that a forked child
    never finds it locked; at worst two threads probe at the same time.
    """

    def __init__(
        self, slowest: float, clock: Callable[[], float] = lambda: time.monotonic()
    ) -> None:
        self._slowest = slowest
        self._clock = clock
        self._trouble = ""
        self._next_probe = -math.inf
        self._pause = FIRST_PAUSE
        self._excused = False

    def admit_command(self, seconds: float) -> float:
        """Return how many of ``seconds`` the caller should wait for its command.

        Raises ``StoreError``, at once, during an outage, unless a probe is due.
        """
        if not self._trouble:
            return seconds
        if self._excused:
            self._excused = False
            return min(seconds, self._slowest)
        now = self._clock()
        if now < self._next_probe:
            raise StoreError(f"still out of order: {self._trouble}")
        self._next_probe = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return PROBE

    def note_failure(self, trouble: str) -> None:
        """Begin an outage, or go on with it. ``trouble`` is its cause in words."""
        if not self._trouble:
            self._next_probe = self._clock() + self._pause
        self._trouble = trouble

    def note_success(self, took: float) -> None:
        """End the outage, if a command that ``took`` this many seconds shows that.

        Seconds for an answer are no recovery: each caller would pay them again.
        """
        if self._trouble and took < self._slowest:
            self._trouble = ""
            self._pause = FIRST_PAUSE

    def try_again(self) -> None:
        """Let the next command through, although the outage is not known to be over."""
        self._excused = True
