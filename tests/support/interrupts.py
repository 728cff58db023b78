"""Exceptions that a signal handler raises, and what the frames on their way show."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType

import turvo_session
from tests.support.threads import until

PACKAGE = Path(turvo_session.__file__).parent


@contextmanager
def handled_by_raising(error: BaseException) -> Iterator[None]:
    """Have the handler of SIGUSR1 raise ``error``."""

    def handle_signal(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, handle_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextmanager
def interrupted(when: Callable[[], object], error: BaseException) -> Iterator[None]:
    """Raise ``error`` from a signal handler in this thread as soon as ``when()``."""

    def send_signal() -> None:
        until(when)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    sender = threading.Thread(target=send_signal)
    with handled_by_raising(error):
        sender.start()
        try:
            yield
        finally:
            sender.join()


def secrets_in_frames(error: BaseException, secrets: Collection[str]) -> list[str]:
    """Return the secrets to which local variables of the package's frames lead."""
    found: list[str] = []
    seen: dict[int, object] = {}  # holds them, or an id could come twice
    waiting: list[object] = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if PACKAGE in Path(frame.f_code.co_filename).parents:
            waiting += frame.f_locals.values()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        match one:
            case str() | bytes() | bytearray():
                found += [secret for secret in secrets if secret in str(one)]
            case dict():
                waiting += [*one.keys(), *one.values()]
            case list() | tuple() | set() | frozenset():
                waiting += one
            case type() | ModuleType() | FunctionType():
                continue
            case _:
                waiting += getattr(one, "__dict__", {}).values()
                names = getattr(type(one), "__slots__", ())
                waiting += [getattr(one, name, None) for name in names]
    return found
