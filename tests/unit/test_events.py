"""Events: one value, one line in the log, one call of the listener."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import FrozenInstanceError, asdict
from functools import partial
from itertools import count
from typing import Any, get_args

import pytest

from tests.support.lines import RaisingAtLine
from tests.support.threads import Call
from turvo_session import events
from turvo_session.events import Event, EventQueue, Waited

TOKEN, STORE = "0a1b2c3d", "<RedisStore k>"
DEBUG, INFO, WARNING = logging.DEBUG, logging.INFO, logging.WARNING
LOGIN: Any = partial(events.LoggedIn, TOKEN, 99.2, 0.456)
LINES: list[tuple[Event, int, str]] = [
    (LOGIN("none"), INFO, "lives 99 s; the login took 0.46 s"),
    (LOGIN("none"), INFO, "because no token was at hand"),
    (LOGIN("due"), INFO, "because the token was due"),
    (LOGIN("refused"), INFO, "the token was refused"),
    (LOGIN("asked"), INFO, "a login was asked for"),
    (events.LoginFailed("why", 1.5), WARNING, "login failed after 1.50 s: why"),
    (events.LoginFailed("why", 1, "rejected", 9), WARNING, "one is allowed in 9 s"),
    (events.Adopted(TOKEN, 60.0), INFO, "token 0a1b2c3d, which lives 60 s more"),
    (events.Refused(TOKEN), DEBUG, "Turvo refused token 0a1b2c3d with a 401"),
    (events.Replayed(TOKEN, 200), DEBUG, "again with token 0a1b2c3d: 200"),
    (Waited(0.5), DEBUG, "waited 0.50 s for somebody else's login"),
    (events.Forgotten(TOKEN), INFO, "forgot token 0a1b2c3d"),
    (events.StoreFailed(STORE, "why"), WARNING, "k> cannot be used (why): every proc"),
    (events.StoreFailed(STORE, "why"), WARNING, "process logs in by itself until R"),
    (events.StoreFailed("<Table>", "why"), WARNING, "until the store works again"),
    (events.StoreRecovered(STORE), WARNING, "<RedisStore k> works again"),
    (events.ValueUnusable(STORE), WARNING, "not a readable token; the next login rep"),
]


def test_every_event_is_in_the_table() -> None:
    assert {type(event) for event, _, _ in LINES} == set(get_args(Event))


@pytest.mark.parametrize(("event", "level", "words"), LINES, ids=range(len(LINES)))
def test_an_event_is_a_frozen_value_and_one_line_in_the_log(
    event: Event, level: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
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
        Call(lambda: queue.tell(Waited(0.0))).result()
        assert heard == [Waited(0.0)]
        raise ValueError
    queue.tell(Waited(3.0))
    assert heard == [Waited(0.0), Waited(1.0), Waited(2.0), Waited(3.0)]


def test_an_interrupt_anywhere_in_a_block_keeps_no_later_event_back() -> None:
    for line in count(1):
        heard: list[Event] = []
        queue = EventQueue(heard.append)
        interruption = RaisingAtLine(line, KeyboardInterrupt)
        with suppress(KeyboardInterrupt), interruption, queue.holding():
            queue.tell(Waited(1.0))
        queue.tell(Waited(2.0))
        assert heard[-1:] == [Waited(2.0)], interruption.place
        if not interruption.place:
            break
    assert line > 10


def test_a_listener_that_raises_is_named(caplog: pytest.LogCaptureFixture) -> None:
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
    program = (
        "from turvo_session.events import *\n"
        "for event in (Waited(1), StoreFailed('S', 'down'), StoreRecovered('S')):\n"
        "    EventQueue(None).tell(event)"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    assert re.fullmatch("S cannot be .*\nS works again.*\n", ran.stderr)
    assert ran.stdout == ""
