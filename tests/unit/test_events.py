"""Events: one value, one line in the log, one call of the listener."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import FrozenInstanceError, asdict
from functools import partial
from types import FrameType
from typing import Any, get_args

import pytest

from turvo_session import events
from turvo_session.events import Event, EventQueue, Waited

TOKEN, STORE = "0a1b2c3d", "<RedisStore k>"
DEBUG, INFO, WARNING = logging.DEBUG, logging.INFO, logging.WARNING
LINES: list[tuple[Event, int, str]] = [
    (events.LoggedIn(TOKEN, 99.2, 0.456, "none"), INFO, "because no token was at hand"),
    (events.LoggedIn(TOKEN, 99.2, 0.456, "due"), INFO, "because the token was due"),
    (events.LoggedIn(TOKEN, 99.2, 0.456, "refused"), INFO, "the token was refused"),
    (events.LoggedIn(TOKEN, 99.2, 0.456, "asked"), INFO, "a login was asked for"),
    (
        events.LoggedIn(TOKEN, 99.2, 0.456, ""),
        INFO,
        "lives 99 s; the login took 0.46 s",
    ),
    (events.LoginFailed("why", 1.5), WARNING, "login failed after 1.50 s: why"),
    (events.LoginFailed("why", 1, "rejected", 9), WARNING, "one is allowed in 9 s"),
    (
        events.Adopted(TOKEN, 60.0),
        INFO,
        "adopted token 0a1b2c3d, which lives 60 s more",
    ),
    (events.Refused(TOKEN), DEBUG, "Turvo refused token 0a1b2c3d with a 401"),
    (events.Replayed(TOKEN, 200), DEBUG, "again with token 0a1b2c3d: 200"),
    (Waited(0.5), DEBUG, "waited 0.50 s for somebody else's login"),
    (events.Forgotten(TOKEN), INFO, "forgot token 0a1b2c3d"),
    (
        events.StoreFailed(STORE, "why"),
        WARNING,
        "<RedisStore k> cannot be used (why): ",
    ),
    (
        events.StoreFailed(STORE, "why"),
        WARNING,
        "every process logs in by itself until R",
    ),
    (events.StoreFailed("<Table>", "why"), WARNING, "until the store works again"),
    (events.StoreRecovered(STORE), WARNING, "<RedisStore k> works again"),
    (
        events.ValueUnusable(STORE),
        WARNING,
        "not a readable token; the next login repla",
    ),
]


def test_every_event_is_in_the_table() -> None:
    assert {type(event) for event, _, _ in LINES} == set(get_args(Event))


@pytest.mark.parametrize(("event", "level", "words"), LINES, ids=range(len(LINES)))
def test_an_event_is_a_frozen_value_and_one_line_in_the_log(
    event: Event, level: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The record carries its fields by names that no log formatter uses itself."""
    caplog.set_level(logging.DEBUG, "turvo_session")
    heard: list[Event] = []

    for listener in (None, heard.append):
        EventQueue(listener).tell(event)

    record, _ = caplog.records
    assert (record.name, record.levelno) == ("turvo_session", level)
    assert words in record.getMessage()
    assert heard == [event]
    plain = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
    added = {key: vars(record)[key] for key in vars(record).keys() - plain}
    fields = {f"turvo_{key}": value for key, value in asdict(event).items()}
    assert added == {"turvo_event": type(event).__name__, **fields}
    with pytest.raises(FrozenInstanceError):
        setattr(event, next(iter(asdict(event))), "other")


def test_events_in_a_block_are_passed_on_after_it_however_it_ends() -> None:
    """Those of other threads are passed on at once."""
    heard: list[Event] = []
    queue = EventQueue(heard.append)

    with suppress(ValueError), queue.holding():
        queue.tell(Waited(1.0))
        with queue.holding():
            queue.tell(Waited(2.0))
        other = threading.Thread(target=queue.tell, args=(Waited(0.0),))
        other.start()
        other.join()
        assert heard == [Waited(0.0)]
        raise ValueError
    queue.tell(Waited(3.0))

    assert heard == [Waited(0.0), Waited(1.0), Waited(2.0), Waited(3.0)]


def test_an_interrupt_anywhere_in_a_block_keeps_no_later_event_back() -> None:
    def work(queue: EventQueue) -> None:
        with queue.holding():
            queue.tell(Waited(1.0))

    reached = lines_run(lambda: work(EventQueue(None)))
    assert reached > 10
    for line in range(reached):
        heard: list[Event] = []
        queue = EventQueue(heard.append)
        with suppress(KeyboardInterrupt):
            lines_run(partial(work, queue), interrupt_at=line)
        queue.tell(Waited(2.0))
        assert heard[-1:] == [Waited(2.0)], line


def lines_run(call: Callable[[], object], interrupt_at: int = -1) -> int:
    """Return how many lines of ``events.py`` a call runs; interrupt it at one."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != events.__file__:
            return trace
        if event == "line":
            count += 1
            if count - 1 == interrupt_at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_a_listener_that_raises_stops_nothing_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unless it wants to end the program."""

    def listener(event: Event) -> None:
        raise error

    error: BaseException = ValueError("a secret of the listener's")
    EventQueue(listener).tell(Waited(1.0))
    [record] = caplog.records
    assert record.getMessage() == "on_event raised ValueError for Waited"
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)

    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        EventQueue(listener).tell(Waited(1.0))


def test_a_script_without_logging_sees_the_warnings_and_nothing_else() -> None:
    """The outage of a store and its end, which would otherwise seem to last."""
    program = (
        "from turvo_session.events import *\n"
        "for event in (Waited(1), StoreFailed('S', 'down'), StoreRecovered('S')):\n"
        "    EventQueue(None).tell(event)"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)

    assert re.fullmatch("S cannot be .*\nS works again.*\n", ran.stderr)
    assert ran.stdout == ""
