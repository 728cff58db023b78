"""Threads that report what became of their calls, and never hold up a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

LONG = 60.0
"""Seconds after which something is broken."""


class Call(threading.Thread):
    """Makes a call in a thread of its own, at once or from a common ``start`` on."""

    def __init__(
        self, call: Callable[[], Any], start: threading.Barrier | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._common_start = start
        self._found: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Make the call, and keep what it returns or raises."""
        try:
            if self._common_start:
                self._common_start.wait(LONG)
            self._found = self._call()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self._error = error

    @property
    def found(self) -> Any:
        """What the call returned, or the exception that it raised."""
        self.join(LONG / 2)
        assert not self.is_alive(), "the call did not come back"
        return self._error or self._found

    def result(self) -> Any:
        """Return what the call returned; raise what it raised."""
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Call]:
    """Make each call in a thread, all started together."""
    waiting = list(calls)
    start = threading.Barrier(len(waiting))
    return [Call(call, start) for call in waiting]


def until(
    happens: Callable[[], Any], seconds: float = LONG, every: float = 0.005
) -> Any:
    """Return what ``happens()`` returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)
    return found
