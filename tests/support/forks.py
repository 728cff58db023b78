"""A forked child, and a thread that is held in the middle of a call."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def is_true_in_child(work: Callable[[], bool]) -> bool:
    """Return what ``work()`` returns in a forked child; ``False`` if it gets stuck."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        threading.Timer(20.0, os._exit, (3,)).start()
        os._exit(not work())
    finally:
        os._exit(2)


class SlowLook:
    """A clock that keeps every thread but the main one in the middle of a look."""

    def __init__(self, seconds: float) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        self._seconds = seconds

    def __call__(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            self.release.wait(self._seconds)
        return time.monotonic()
