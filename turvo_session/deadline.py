"""A bound on the whole of a call that by itself knows only timeouts per read.

A server that drips a byte a second, or a name server that hangs, keeps within every
timeout of ``redis`` for ever. So the call runs in a thread of its own, which is left
behind if it does not come back in time.

The thread is also what tells two kinds of exceptions apart. What the call raises is
kept as its ``error``. What a signal handler, a time limit or Ctrl-C raises in the
caller's thread while it waits comes out at once and is nobody's ``error``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from .secret import Hidden

T = TypeVar("T")

INTERRUPTED_FOR = 0.1
"""Seconds that an interrupted caller waits for the call to end.

A lease that the call is about to take can be given back only once it is taken.
"""

_PARTS = 10


class BoundedCall(Hidden, Generic[T]):
    """Runs ``call()`` in a daemon thread, in a copy of the caller's context.

    ``may_raise(error)`` says whether ``error`` came out of the call. It is asked only
    where no thread can be started and the call runs in the caller's own thread.
    """

    value: T
    error: Exception | None

    def __init__(
        self, call: Callable[[], T], may_raise: Callable[[Exception], bool]
    ) -> None:
        self.error = None
        self._call = call
        self._may_raise = may_raise
        self._context = copy_context()
        self._begun = False
        self._ended = threading.Event()
        self._stopped_by: BaseException | None = None

    def finish_within(self, seconds: float) -> bool:
        """Return whether the call came back within ``seconds``.

        Then ``error`` is what it raised, or ``None`` and ``value`` what it returned.
        Time for which this process is suspended counts for a tenth of ``seconds`` at
        most. Without threads there is no bound.
        """
        try:
            self._start_thread()
            for _ in range(_PARTS):
                if self._ended.wait(seconds / _PARTS):
                    break
        except BaseException:
            self._ended.wait(INTERRUPTED_FOR)
            raise
        if self._stopped_by is not None:
            # The frames that it has passed hold what the call received.
            raise self._stopped_by.with_traceback(None)
        return self._ended.is_set()

    def _start_thread(self) -> None:
        """Start the call in a thread, or make it here if there can be none."""
        if _sockets_keep_to_a_thread():
            self._run_without_thread()
            return
        try:
            threading.Thread(
                target=self._run_in_thread, name="turvo_session", daemon=True
            ).start()
        except RuntimeError:
            # No more threads, an isolated sub-interpreter, or an interpreter that
            # shuts down. A thread that has begun means that an interrupt raised this.
            if self._begun:
                raise
            self._run_without_thread()

    def _run_in_thread(self) -> None:
        self._begun = True
        try:
            self.value = self._context.run(self._call)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the call's
            self.error = error
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            self._stopped_by = error
        finally:
            self._ended.set()

    def _run_without_thread(self) -> None:
        """Make the call in the caller's thread, where interrupts come out as well."""
        try:
            self.value = self._context.run(self._call)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            if isinstance(error, Exception) and self._may_raise(error):
                self.error = error
            else:
                self._stopped_by = error
        self._ended.set()


def _sockets_keep_to_a_thread() -> bool:
    """Return whether a socket works only in the thread that has made it.

    So it is where gevent patches sockets and not threads, as grequests has it do.
    """
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is None:
        return False
    is_patched = monkey.is_module_patched
    return bool(is_patched("socket") and not is_patched("threading"))
