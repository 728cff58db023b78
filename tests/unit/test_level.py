"""A level carries a rule out over one store, and tells whether the store works."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.sources import ALL, OTHER, Shared
from turvo_session import events
from turvo_session import level as levels
from turvo_session.failure import Client
from turvo_session.level import Level, OutOfPatience
from turvo_session.renewal import Ask, Wait, Write
from turvo_session.store import Change, MemoryStore, Slot, Snapshot, StoreError

ASK = Ask(b"0" * 16, Client("url", "process"), "salt")


@pytest.fixture
def shared(clock: Clock) -> Shared:
    return Shared(clock)


@pytest.fixture
def told() -> list[events.Event]:
    return []


@pytest.fixture
def level(shared: Shared, clock: Clock, told: list[events.Event]) -> Level:
    return Level(
        shared, lease_seconds=15.0, wait_limit=30.5, tell=told.append, clock=clock
    )


def look(_: Snapshot) -> str:
    return "seen"


def write(_: Snapshot) -> Write[str]:
    return Write(Change(lease=Slot(OTHER, 5.0)), "written")


def wait(seen: Snapshot) -> Wait | str:
    return Wait(seen.lease.left) if seen.lease else "free"


def test_a_rule_is_asked_again_until_its_write_is_applied_and_after_a_wait(
    level: Level, shared: Shared, told: list[events.Event]
) -> None:
    shared.faster = [lambda: shared.put_token("another")] * 2
    assert level.carry_out(write) == "written"
    assert shared.calls == ["read", "swap"] * 3
    assert shared.lease == Slot(OTHER, 5.0)
    assert level.carry_out(wait) == "free"
    assert told == [events.Waited(5.0)]


def test_a_wait_ends_at_its_limit(level: Level, shared: Shared, clock: Clock) -> None:
    shared.be_led()
    shared.meanwhile = shared.be_led
    with pytest.raises(OutOfPatience):
        level.carry_out(wait)
    assert clock() == 1030.5
    assert level.attempt(wait, "default") == "default"


def test_a_store_that_applies_no_write_is_given_up(
    level: Level, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert levels.MOST_STEPS == 100
    monkeypatch.setattr(levels, "MOST_STEPS", 7)
    shared.faster = [lambda: shared.put_token("another")] * 99
    with pytest.raises(StoreError, match="no write was applied in 7 tries"):
        level.carry_out(write)
    assert shared.calls == ["read", "swap"] * 7
    assert level.attempt(write, "default") == "default"


RULES = {"read": look, "swap": write, "wait": lambda seen: Wait(1.0)}


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ("read fails, read works", ["no read", "works"]),
        ("read fails, read fails", ["no read"]),
        ("read fails, read works, read fails", ["no read", "works", "no read"]),
        ("swap fails, read works, swap works, swap works", ["no swap", "works"]),
        ("swap fails, read fails, read works", ["no swap"]),
        ("swap fails, read fails, swap works", ["no swap", "works"]),
        ("wait fails, read works, read fails", ["no wait", "works", "no read"]),
    ],
)
def test_a_store_works_again_when_the_kind_of_call_that_failed_works(
    level: Level, shared: Shared, told: list[events.Event], calls: str, said: list[str]
) -> None:
    for call in calls.split(", "):
        kind, _, result = call.partition(" ")
        shared.broken = {kind} if result == "fails" else set()
        level.attempt(RULES[kind], None)
    assert [getattr(event, "why", "works") for event in told] == said
    assert {event.store for event in told} == {"<Shared>"}  # type: ignore[union-attr]
    assert level.errors == calls.count("fails")


def test_a_value_that_is_no_token_is_told_once_as_long_as_it_stays(
    level: Level, shared: Shared, told: list[events.Event]
) -> None:
    for value in (*[b"rubbish"] * 3, b"other", b'{"access_token": "x"}', b"other"):
        shared.put(token=Slot(value, 99.0))
        level.carry_out(look)
    assert told == [events.ValueUnusable("<Shared>")] * 3


def test_looking_again_gets_past_an_open_breaker(level: Level, shared: Shared) -> None:
    shared.put_token("theirs")
    shared.broken = set(ALL)
    assert level.look_again(ASK) is None
    shared.try_again = shared.broken.clear  # type: ignore[attr-defined]
    found: Any = level.look_again(ASK)
    assert found.token.access_token == "theirs"


def test_a_store_need_have_neither_a_breaker_nor_patience(level: Level) -> None:
    level.store = MemoryStore()
    level.be_patient(3.0)
    assert level.look_again(ASK) is None


def test_an_interrupt_does_not_ask_the_store_for_a_lease_that_was_never_taken(
    level: Level, shared: Shared
) -> None:
    shared.put_token("theirs")
    with pytest.raises(KeyboardInterrupt), level.lease(ASK) as lease:
        lease.enter(is_last=True)
        shared.calls.clear()
        raise KeyboardInterrupt
    assert shared.calls == []
