"""When to poll, and how to stop: on time, and with nothing half done.

SIGINT (Ctrl-C) and SIGTERM (systemd, containers) stop a poller within ten seconds. Work
that only reads is dropped at once; work that changes something gets a few seconds to
finish. A second signal of the same kind ends the process where it is.
"""

from __future__ import annotations

import math
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

GRACE_SECONDS = 3.0
"""How long a webhook may take to answer after a signal."""


class Stopped(BaseException):
    """Raised by a signal in the middle of work that may be dropped.

    It is not an ``Exception``, so that no ``except Exception`` on its way catches it.
    """


class _TimeIsUp(BaseException):
    """Raised by the alarm of ``time_limit``."""


class Stop:
    """Whether somebody wants the poller to stop. Call it to say so: ``stop()``."""

    heard_signal: ClassVar[bool] = False
    """Whether a signal has asked this process to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._may_drop = False
        # A byte in a socket wakes `wait`. To set a threading.Event in a signal handler
        # can deadlock.
        self._reader, self._writer = socket.socketpair()

    def __call__(self) -> None:
        self.asked = True
        self._writer.send(b"!")

    @classmethod
    def on_signals(cls) -> Self:
        """Return a ``Stop`` that SIGINT and SIGTERM ask. For the main thread."""
        stop = cls()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop.hear_signal)
        return stop

    def hear_signal(self, number: int, frame: object) -> None:
        """Ask to stop; raise ``Stopped`` if what is going on may be dropped."""
        self()
        Stop.heard_signal = True
        signal.signal(number, signal.SIG_DFL)
        if self._may_drop:
            self._may_drop = False
            raise Stopped
        _shorten_time_limit()

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks to stop."""
        timeout = max(0.0, seconds)
        select.select([self._reader], [], [], timeout)

    def close(self) -> None:
        """Close the sockets, where a process makes more than one ``Stop``."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def dropping_work(self) -> Iterator[None]:
        """Raise ``Stopped`` in the middle of the block if a signal asks to stop."""
        self._may_drop = True
        try:
            # A signal that came before the first line has raised nothing.
            if self.asked:
                raise Stopped
            yield
        finally:
            self._may_drop = False


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` if the block takes longer, whatever it waits for.

    The timeouts of ``requests`` limit the pause between two bytes, so a server that
    sends a byte now and then could hold a request for ever. Without an alarm (on
    Windows, or outside of the main thread) nothing is limited.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or not hasattr(signal, "setitimer"):
        yield
        return
    running = True

    def ring_alarm(number: int, frame: Any) -> None:
        if running:
            raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring_alarm)
    # Once a second after that: code that clears up may swallow an exception.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    # A signal that came before that line has found no alarm to shorten.
    if Stop.heard_signal:
        _shorten_time_limit()
    try:
        try:
            yield
        finally:
            running = False
    except _TimeIsUp:
        raise TimeoutError("no whole answer in time") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def _shorten_time_limit() -> None:
    """Leave ``GRACE_SECONDS`` to a block under ``time_limit``."""
    if hasattr(signal, "setitimer"):
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        if left > GRACE_SECONDS:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, 1.0)


def poll_moments(every: float, stop: Stop) -> Iterator[None]:
    """Yield now and then every so many seconds, until somebody asks to stop."""
    due = time.monotonic()
    while not stop.asked:
        yield
        due = next_moment(due, every, time.monotonic())
        stop.wait(due - time.monotonic())


def next_moment(due: float, every: float, now: float) -> float:
    """Return the next moment of a schedule; moments that have passed are left out.

    It counts from the first poll, so slow polls do not shift the schedule.
    """
    missed = math.ceil((now - due) / every)
    return due + every * max(1, missed)
