"""When to poll, and when to stop: a schedule that does not drift, ended cleanly by SIGINT or SIGTERM."""

from __future__ import annotations

import math
import select
import signal
import socket
import time
from collections.abc import Iterator
from typing import Self


class Stop:
    """Called by a signal: ends a wait at once, and the work after what is in hand."""

    def __init__(self) -> None:
        self.asked = False
        # A byte in a socket, not a threading.Event: setting one in a signal handler can deadlock.
        self._reader, self._writer = socket.socketpair()

    @classmethod
    def on_signals(cls) -> Self:
        stop = cls()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, stop)
        return stop

    def __call__(self, signum: int | None = None, _: object = None) -> None:
        self.asked = True
        self._writer.send(b"!")
        if signum:
            signal.signal(signum, signal.SIG_DFL)  # whoever asks twice means it

    def wait(self, seconds: float) -> None:
        select.select([self._reader], [], [], max(0.0, seconds))


def ticks(every: float, stop: Stop) -> Iterator[None]:
    """Now, and then at every so many seconds from now, until stopped."""
    due = time.monotonic()
    while not stop.asked:
        yield
        due = following(due, every, time.monotonic())
        stop.wait(due - time.monotonic())


def following(due: float, every: float, now: float) -> float:
    """The next moment of a schedule that does not drift; those that were missed are left out."""
    return due + every * max(1, math.ceil((now - due) / every))
