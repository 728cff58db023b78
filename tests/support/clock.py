"""A clock made by hand: it moves only when a test moves it."""

from __future__ import annotations


class Clock:
    """Returns monotonic seconds when called, as ``time.monotonic`` does."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
