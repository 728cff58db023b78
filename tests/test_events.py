"""What happened: one value, one line in the log, one call of the listener."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict
from typing import get_args

import pytest

from turvo_session import events
from turvo_session.events import Event

LINES: list[tuple[Event, int, str]] = [
    (
        events.LoggedIn("0a1b2c3d", 43198.2, 0.456, "none"),
        logging.INFO,
        "logged in (token none): token 0a1b2c3d, good for 43198 s, took 0.46 s",
    ),
    (
        events.LoginFailed("POST answered 500", 1.5),
        logging.WARNING,
        "login failed after 1.50 s: POST answered 500",
    ),
    (events.Adopted("0a1b2c3d", 60.0), logging.INFO, "adopted token 0a1b2c3d, good for 60 s"),
    (events.Refused("0a1b2c3d"), logging.DEBUG, "token 0a1b2c3d was refused with a 401"),
    (events.Replayed("0a1b2c3d", 200), logging.DEBUG, "request sent again with token 0a1b2c3d: 200"),
    (events.Waited(0.5), logging.DEBUG, "waited 0.50 s for a login"),
    (events.Forgotten("0a1b2c3d"), logging.INFO, "token 0a1b2c3d forgotten"),
    (
        events.StoreFailed("<RedisStore k>", "ConnectionError"),
        logging.WARNING,
        "<RedisStore k> cannot be used (ConnectionError): going on without it",
    ),
    (events.StoreRecovered("<RedisStore k>"), logging.INFO, "<RedisStore k> can be used again"),
    (
        events.ValueUnusable("<RedisStore k>"),
        logging.WARNING,
        "<RedisStore k> holds a value that is no token: to be replaced",
    ),
]


def test_every_event_is_in_the_table() -> None:
    assert [type(event) for event, _, _ in LINES] == list(get_args(Event))


@pytest.mark.parametrize(("event", "level", "text"), LINES, ids=[type(row[0]).__name__ for row in LINES])
def test_an_event_is_one_line_in_the_log_with_its_fields_beside_it(
    event: Event, level: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "turvo_session")
    heard: list[Event] = []

    events.tell(heard.append, event)

    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("turvo_session", level, text)
    assert heard == [event]
    beside = {"event": type(event).__name__, **asdict(event)}
    assert {name: getattr(record, name) for name in beside} == beside


@pytest.mark.parametrize("event", [row[0] for row in LINES], ids=lambda event: type(event).__name__)
def test_an_event_is_frozen(event: Event) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(event, next(iter(asdict(event))), "other")
    assert not hasattr(event, "__dict__")


def test_an_event_without_a_listener_is_logged_only(caplog: pytest.LogCaptureFixture) -> None:
    events.tell(None, events.StoreRecovered("<RedisStore k>"))

    assert caplog.messages == []
    caplog.set_level(logging.INFO, "turvo_session")
    events.tell(None, events.StoreRecovered("<RedisStore k>"))
    assert caplog.messages == ["<RedisStore k> can be used again"]


def test_a_listener_that_raises_stops_nothing_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def listener(event: Event) -> None:
        raise ValueError("secret of the listener")

    events.tell(listener, events.Waited(1.0))

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "on_event raised ValueError for Waited"
    assert record.exc_info is None


def test_a_listener_can_end_the_program() -> None:
    def listener(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        events.tell(listener, events.Waited(1.0))


def test_a_program_that_does_not_log_sees_nothing() -> None:
    program = "from turvo_session import events; events.tell(None, events.StoreFailed('store', 'why'))"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)

    assert (ran.stdout, ran.stderr) == (b"", b"")
