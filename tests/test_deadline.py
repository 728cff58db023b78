"""A bound on the whole of a call, whatever it is stuck in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from turvo_session.deadline import Overdue, Running

LONG = 60.0  # seconds after which something is broken


def test_the_call_is_made_at_once_and_what_it_returns_is_the_result() -> None:
    begun = threading.Event()

    def call() -> str:
        begun.set()
        return threading.current_thread().name

    running = Running(call)

    assert begun.wait(LONG)
    assert running.result(LONG) == running.result(0.0) == "turvo_session"
    assert running.done


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_the_call_raises_is_raised_to_whoever_asks(error: BaseException) -> None:
    def call() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Running(call).result(LONG)

    assert caught.value is error


def test_a_call_that_does_not_come_back_in_time_is_left_behind() -> None:
    """It runs on in a daemon thread, which keeps no process alive, and ``done`` tells when it has ended."""
    release, daemons = threading.Event(), []

    def call() -> str:
        daemons.append(threading.current_thread().daemon)
        release.wait(LONG)
        return "late"

    running = Running(call)
    start = time.monotonic()
    with pytest.raises(Overdue):
        running.result(0.05)

    assert 0.04 < time.monotonic() - start < LONG / 2
    assert not running.done and daemons == [True]
    release.set()
    assert running.result(LONG) == "late" and running.done


def test_a_call_is_made_without_a_bound_where_there_can_be_no_thread() -> None:
    before = threading.stack_size(1 << 46)  # more than there is
    try:
        running = Running(threading.current_thread)
    finally:
        threading.stack_size(before)

    assert running.done
    assert running.result(0.0) is threading.current_thread()


STOPPED = """
import time
from turvo_session.deadline import Running

running = Running(lambda: time.sleep(0.4) or "answer")
print("begun", flush=True)
print(running.result(1.2))
"""


def test_time_for_which_the_process_was_stopped_hardly_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5)  # it is the passing of time that is tested
        os.kill(process.pid, signal.SIGCONT)

        assert process.stdout.read() == "answer\n"
