"""Threads that tell what became of them, and none of whom is waited for for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

LONG = 60.0
"""Seconds after which something is broken."""


class Call(threading.Thread):
    """``call()`` in a thread of its own, at once or, with others, from a ``start`` on."""

    def __init__(self, call: Callable[[], Any], start: threading.Barrier | None = None) -> None:
        super().__init__(daemon=True)
        self._call, self._begin = call, start
        self._found: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            if self._begin:
                self._begin.wait(LONG)
            self._found = self._call()
        except BaseException as error:  # noqa: BLE001 - told to whoever asks
            self._error = error

    @property
    def found(self) -> Any:
        """What the call returned, or the exception that it raised."""
        self.join(LONG / 2)
        assert not self.is_alive(), "it waits for ever"
        return self._error or self._found

    def result(self) -> Any:
        """What the call returned; raises what it raised."""
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Call]:
    """All of them in threads that begin together."""
    them = list(calls)
    start = threading.Barrier(len(them))
    return [Call(call, start) for call in them]


def until(happens: Callable[[], Any]) -> Any:
    """What ``happens()`` returns, as soon as that is something."""
    deadline = time.monotonic() + LONG / 2
    while not (found := happens()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)
    return found
