"""A bound on the whole of a call, where the call itself knows only timeouts per read.

A server that drips a byte a second, or a name server that hangs, is within every timeout of
``requests`` and ``redis`` for ever. So the call is made in a thread of its own, which is left
behind if it does not come back in time. Who made it sees to it that it does no harm any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .secret import Secret

T = TypeVar("T")


class Overdue(Exception):
    """The call did not come back in time."""


class Running(Generic[T]):
    """``call()`` in a daemon thread, started at once (or done at once, if there can be no thread)."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: Secret[T]
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="turvo_session", daemon=True)
        try:
            self._thread.start()
            return
        except RuntimeError:  # no more threads, or the interpreter is going down: without a bound, then
            pass
        self._run()

    def result(self, seconds: float) -> T:
        """What the call returned or raised; ``Overdue`` if it takes more than ``seconds``."""
        for _ in range(10):  # in parts: while this process is stopped or starved, only one of them passes
            if not self.done:
                self._thread.join(seconds / 10)
        if not self.done:
            raise Overdue
        if self._error is not None:
            raise self._error
        return self._result.reveal()

    @property
    def done(self) -> bool:
        """Whether the call has come back."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._result = Secret(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
            # The variables of the frames that it passed can hold a secret, and tracebacks show them.
            error.__cause__ = error.__context__ = None
            self._error = error.with_traceback(None)
