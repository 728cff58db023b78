"""A bound on the whole of a call, whatever it is stuck in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.threads import LONG, Call
from turvo_session import deadline
from turvo_session.deadline import BoundedCall


def raising(error: BaseException) -> Any:
    return Mock(side_effect=error)


def bounded(call: Any, *, may_raise: bool = True) -> BoundedCall[Any]:
    return BoundedCall(call, lambda _: may_raise)


def test_the_call_runs_in_a_daemon_thread_in_the_context_of_the_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("of the caller")

    def call() -> tuple[str, bool, str]:
        seen = variable.get()
        variable.set("changed")
        thread = threading.current_thread()
        return thread.name, thread.daemon, seen

    running = bounded(call)
    assert running.finish_within(LONG) and running.error is None
    assert running.value == ("turvo_session", True, "of the caller")
    assert variable.get() == "of the caller"


@pytest.mark.parametrize(
    ("patched", "stays"),
    [({"socket"}, True), ({"socket", "threading"}, False), (set(), False)],
)
def test_the_call_stays_in_its_thread_if_gevent_patches_sockets_only(
    patched: set[str], stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkey = SimpleNamespace(is_module_patched=patched.__contains__)
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    running = bounded(threading.get_ident)
    assert running.finish_within(LONG)
    assert (running.value == threading.get_ident()) is stays


def test_what_the_call_raises_is_its_error() -> None:
    error = ValueError("no")
    running = bounded(raising(error))
    assert running.finish_within(LONG) and running.error is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_ends_its_thread_is_raised_in_the_caller(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        bounded(raising(error)).finish_within(LONG)
    assert caught.value is error


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    release = threading.Event()
    start = time.monotonic()
    assert not bounded(lambda: release.wait(LONG)).finish_within(0.05)
    assert 0.04 < time.monotonic() - start < LONG / 2
    release.set()


@pytest.mark.parametrize("ends", [True, False], ids=["the call ends", "it does not"])
def test_an_interrupt_comes_out(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if ends:
        # The moment is too short for a busy machine.
        monkeypatch.setattr(deadline, "INTERRUPTED_FOR", LONG)
    begun, raised, released, ended = (threading.Event() for _ in range(4))

    def handle_signal(*_: object) -> None:
        raised.set()
        raise TimeoutError("of the caller's time limit")

    def call() -> None:
        begun.set()
        raised.wait(LONG)
        if not ends:
            released.wait(LONG)
        ended.set()

    start = time.monotonic()
    before = signal.signal(signal.SIGUSR1, handle_signal)
    running = bounded(call)
    try:
        with pytest.raises(TimeoutError, match="of the caller's time limit"):
            Call(lambda: begun.wait(LONG) and os.kill(os.getpid(), signal.SIGUSR1))
            running.finish_within(LONG)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.is_set() is ends and running.error is None
    assert time.monotonic() - start < LONG / 2
    released.set()


def test_an_interrupt_makes_no_call_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    start = threading.Thread.start

    def start_and_raise(thread: threading.Thread) -> None:
        start(thread)
        thread.join()
        raise RuntimeError("of a signal handler")

    monkeypatch.setattr(threading.Thread, "start", start_and_raise)
    with pytest.raises(RuntimeError, match="of a signal handler"):
        bounded(lambda: calls.append(1)).finish_within(LONG)
    assert calls == [1]


SUSPENDED = """
import time
from turvo_session.deadline import BoundedCall
running = BoundedCall(lambda: time.sleep(0.4), lambda error: True)
print("begun", flush=True)
print(running.finish_within(1.2))
"""


def test_time_for_which_the_process_is_suspended_hardly_counts() -> None:
    command = [sys.executable, "-c", SUSPENDED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5)  # the passing of time is what is tested
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.read() == "True\n"
