"""The rules carried out: threads and processes over stores, clock and login by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import greenlet
import pytest

from tests.support.clock import Clock
from tests.support.lines import RaisingAtLine
from tests.support.sources import (
    ALL,
    DUE_AT,
    LEASE,
    LIFE,
    OTHER,
    Extend,
    LateLeader,
    Process,
    Room,
    Shared,
    World,
    failed,
    spelled,
)
from tests.support.threads import LONG, Call, at_once
from turvo_session import events, source
from turvo_session.errors import (
    CredentialsRejected,
    SettingsError,
    TurvoAuthError,
)
from turvo_session.failure import BELIEVED_FOR, FOREIGN, REJECTED, UNANSWERED
from turvo_session.failure import UNAVAILABLE as OUTAGE
from turvo_session.login import Grant
from turvo_session.renewal import Got
from turvo_session.source import FailureStatus, TokenStatus
from turvo_session.store import MemoryStore, Slot
from turvo_session.tokens import Token, dump, fingerprint

NO_TOKEN, NO_ANSWER = "CredentialsRejected", "TokenEndpointUnavailable"
FIRST = fingerprint("token-1")
BROKEN = pytest.mark.parametrize(
    "broken", [set(), {"swap"}, ALL], ids=["none", "swap", "all"]
)


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


@pytest.fixture(params=["alone", "sharing"])
def process(request: pytest.FixtureRequest, world: World) -> Process:
    """Return a process without or with a shared store: both keep the same promises."""
    return world.alone() if request.param == "alone" else world.process()


def test_the_first_call_logs_in_and_the_next_do_not(process: Process) -> None:
    assert process.get() == Got(Token("token-1", 1000.0, LIFE, 300.0))
    assert [process.ask() for _ in range(5)] == ["token-1"] * 5


def test_the_reason_for_a_login_is_told(world: World, process: Process) -> None:
    process.get()
    world.sleep(DUE_AT)
    world.endpoint.answers = [lambda _: world.sleep(2.0)]
    process.renew(process.get().token)
    process.log_in()
    assert process.told == [
        events.LoggedIn(FIRST, LIFE, 0.0, "none"),
        events.LoggedIn(fingerprint("token-2"), LIFE - 2.0, 2.0, "due"),
        events.LoggedIn(fingerprint("token-3"), LIFE, 0.0, "refused"),
        events.LoggedIn(fingerprint("token-4"), LIFE, 0.0, "asked"),
    ]


@pytest.mark.parametrize(
    ("age", "tries"),
    [(DUE_AT - 1, []), (DUE_AT, [(1, 2)]), (LIFE - 1, [(1, 2)]), (LIFE, [(3, 2)])],
)
def test_a_due_token_is_renewed_in_one_try_and_an_expired_one_in_three(
    world: World, process: Process, age: float, tries: list[object]
) -> None:
    process.get()
    world.sleep(age)
    assert process.ask() == f"token-{1 + len(tries)}"
    assert world.endpoint.tries == [(3, 2), *tries]


def test_a_token_may_end_during_a_failing_try(world: World, process: Process) -> None:
    leases: list[Slot | None] = []

    def takes_too_long(_: Extend) -> object:
        world.sleep(1.0)
        return failed(OUTAGE)

    process.get()
    world.sleep(LIFE - 1.0)
    world.endpoint.answers = [
        takes_too_long,
        lambda _: leases.append(world.shared.lease),
    ]
    assert process.ask() == "token-3"
    assert world.endpoint.tries == [(3, 2), (1, 2), (3, 2)]
    assert all(len(lease.value) == len(OTHER) for lease in leases if lease)


@pytest.mark.parametrize("share", [False, True], ids=["alone", "sharing"])
@pytest.mark.parametrize("when", ["cold start", "expired", "refused", "failing"])
def test_64_threads_log_in_once(world: World, when: str, share: bool) -> None:
    room, endpoint = Room(world.clock, 63), world.endpoint
    process = Process(endpoint, world.shared if share else None, local=room)
    call: Callable[[], object] = process.ask
    if when in ("expired", "refused"):
        old = process.get().token
        world.sleep(LIFE * (when == "expired"))
        if when == "refused":
            call = lambda: process.new_token(old).access_token  # noqa: E731
    endpoint.down = failed(UNANSWERED) if when == "failing" else None
    before = world.logins
    endpoint.gate.clear()
    calls = at_once([call] * 64)
    assert room.full.wait(LONG)
    endpoint.gate.set()
    expected = NO_ANSWER if when == "failing" else f"token-{before + 1}"
    assert {one.result() for one in calls} == {expected}
    assert world.logins == before + 1 and len(process.heard(events.Waited)) >= 63
    assert not process.heard(events.Adopted)


def test_a_thread_that_overtakes_its_leader_adopts_nothing(world: World) -> None:
    room = LateLeader(world.clock, 1)
    process = world.alone(local=room)
    world.endpoint.gate.clear()
    leader = Call(process.get)
    assert world.endpoint.begun.wait(LONG)
    waiter = Call(process.get)
    assert room.full.wait(LONG)
    world.endpoint.gate.set()

    assert spelled(waiter.result()) == "Adopt token-1"
    assert process.status().origin == "login"
    room.let_go.set()
    assert spelled(leader.result()) == "Got token-1"
    assert not process.heard(events.Adopted)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("share", [False, True], ids=["alone", "sharing"])
def test_a_gone_leader_costs_80_s(world: World, share: bool, fails: bool) -> None:
    store = MemoryStore(clock=world.clock) if share else None
    process = Process(world.endpoint, store, local=world.shared)
    world.shared.put(lease=Slot(OTHER, 120.0))
    world.endpoint.answers = [failed(REJECTED)] * fails
    assert process.ask() == (NO_TOKEN if fails else "token-1")
    failure = events.LoginFailed("POST rejected", 0.0, REJECTED, 900.0)
    told = [event for event in process.told if not isinstance(event, events.LoggedIn)]
    assert told == [events.Waited(80.0), *[failure] * fails]


def test_a_request_in_a_login_is_an_error(world: World, process: Process) -> None:
    world.endpoint.answers = [lambda _: process.get()]
    with pytest.raises(TurvoAuthError, match="this thread is getting a token already"):
        process.get()
    assert process.ask() == "token-2"


def test_greenlets_of_one_thread_wait_for_each_other(
    world: World, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a gevent whose sleep, but not whose locks, let the others go on."""
    main = greenlet.getcurrent()
    first, second = (greenlet.greenlet(process.ask) for _ in range(2))
    world.endpoint.answers = [lambda _: main.switch()]
    sleeps = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: first.switch())
    monkeypatch.setattr(source, "time", sleeps)
    first.switch()
    assert second.switch() == "token-1"  # the first one's, which has ended meanwhile
    assert first.dead and second.switch() == "token-1"
    assert len(world.endpoint.users) == 1


def test_a_call_may_be_made_where_an_error_of_the_last_one_is_handled(
    world: World, process: Process
) -> None:
    """It is not in the middle of the last one, whose frames the error still holds."""

    def has_no_password(_: Extend) -> object:
        raise SettingsError("no password")

    world.endpoint.answers = [has_no_password]
    try:
        process.get()
    except SettingsError:
        assert process.ask() == "token-2"


def test_events_are_told_when_no_lease_is_held(world: World) -> None:
    """A slow listener would delay every other process."""
    leases: list[object] = []
    process = world.process(tell=lambda event: leases.append(world.shared.lease))
    world.endpoint.answers = [lambda _: process.tell(events.Refused(FIRST))]
    process.get()
    assert leases == [None, None]


def test_the_token_of_one_process_is_adopted_by_the_others(world: World) -> None:
    fleet = world.fleet()
    found = [spelled(process.get()) for process in fleet * 2]
    assert found == ["Got token-1"] + ["Adopt token-1"] * 5
    assert fleet[1].told == [events.Adopted(FIRST, LIFE)]
    old = fleet[1].get().token
    fleet[1].renew(old)
    assert fleet[0].ask_again(old) == "Adopt token-2"
    assert fleet[0].status().origin == "store"


def test_a_lease_lasts_an_attempt_and_is_extended(world: World) -> None:
    left: list[float | None] = []

    def tries_again(extend: Extend) -> None:
        for seconds in (0.0, 0.5, 13.0, 20.0):
            if seconds:
                world.sleep(13.0)
                extend(seconds)
            left.append(world.shared.lease and world.shared.lease.left)
        world.shared.put(lease=Slot(OTHER, 5.0))
        extend(13.0)

    world.endpoint.answers = [tries_again]
    assert world.process().ask() == "token-1"
    assert left == [LEASE, LEASE, LEASE, 22.0]
    assert world.shared.lease == Slot(OTHER, 5.0) and world.shared.held is None


@pytest.mark.parametrize("fails", [False, True])
def test_a_suspended_leader_adopts_a_newer_token(world: World, fails: bool) -> None:
    late, other = world.process(), world.process()

    def is_suspended(_: Extend) -> object:
        world.sleep(20.0)
        other.get()
        return failed(REJECTED) if fails else Grant("older", LIFE, 1000.0, 1020.0)

    world.endpoint.answers = [is_suspended]
    assert spelled(late.get()) == "Adopt token-2"
    assert world.shared.held == "token-2" and not world.shared.read().failure
    failure = events.LoginFailed("POST rejected", 20.0, "rejected", 0.0)
    assert late.heard(events.LoginFailed) == [failure] * fails


@pytest.mark.parametrize(
    ("kind", "error", "times"),
    [
        (OUTAGE, NO_ANSWER, [0, 5, 15, 35, 75, 135, 195]),
        (UNANSWERED, NO_ANSWER, [0, 15, 45, 105]),
        (FOREIGN, "InvalidTokenResponse", [0, 15, 45, 105]),
        (REJECTED, NO_TOKEN, [0]),
    ],
)
@BROKEN
def test_a_failure_is_everybodys_error_until_the_next_try(
    world: World, kind: str, error: str, times: list[float], broken: set[str]
) -> None:
    fleet = world.fleet()[: 1 if broken else 3]
    world.shared.broken = broken
    world.endpoint.down = failed(kind)

    assert set(world.poll(fleet, 200.0)) == {error}
    assert world.endpoint.times == times
    told = [one for process in fleet for one in process.heard(events.LoginFailed)]
    pause = 900.0 if kind == REJECTED else times[1]
    assert told[0] == events.LoginFailed(f"POST {kind}", 0.0, kind, pause)
    assert len(told) == len(times)


@pytest.mark.parametrize(
    ("user", "url_hash", "tries"),
    [("wrong", "url", (3, 2)), ("cut off", "url", (1, 2)), ("right", "typo", (3, 2))],
)
def test_a_failed_login_keeps_nobody_but_its_owner(
    world: World, user: str, url_hash: str, tries: tuple[int, int]
) -> None:
    owner = world.process(user, url_hash=url_hash)
    world.endpoint.answers = [failed(FOREIGN)]
    assert owner.ask() == owner.ask() != "token-1"
    assert world.process(url_hash="url").ask() == "token-2"
    assert world.endpoint.tries == [(3, 2), tries]
    world.sleep(BELIEVED_FOR)
    assert owner.ask() == "token-2"


@pytest.mark.parametrize(("others", "serves"), [(63, "token-66"), (64, "old")])
def test_64_refused_tokens_are_known(world: World, others: int, serves: str) -> None:
    """Or one of them would be adopted from a store that could not be written."""
    process = world.alone(local=world.shared)
    for secret in ["old", "twice", "twice", *map(str, range(others - 1))]:
        world.shared.put(token=None, failure=None)
        process.renew(Token(secret, 1000.0, LIFE, 0.0))
    world.shared.put_token("old")
    assert process.ask() == serves


def test_a_refused_token_served_again_serves(world: World, process: Process) -> None:
    token, endpoint = process.get().token, world.endpoint
    endpoint.serves_again = True
    found = [process.ask_again(token), process.ask_again(token), process.ask()]
    assert found == ["Got token-1", "Stay", "token-1"]
    world.sleep(60.0)
    endpoint.serves_again = False
    assert process.ask_again(token) == "Got token-3"
    world.sleep(LIFE)
    endpoint.serves_again, endpoint.served = True, ("token-1", world.clock() + LIFE)
    assert [process.ask(), process.ask(), world.logins] == ["token-1", "token-1", 4]


def test_a_login_by_hand_minds_the_budget(world: World, process: Process) -> None:
    for text in ["gave no answer"] * 8 + ["login --force"]:
        world.endpoint.answers = [failed(UNANSWERED)]
        with pytest.raises(TurvoAuthError, match=text):
            process.log_in()
    world.endpoint.answers = []
    assert process.log_in(force=True).access_token == "token-9"


@BROKEN
def test_a_failed_login_by_hand_is_an_error(world: World, broken: set[str]) -> None:
    process = world.fleet(age=1.0)[0]
    world.shared.broken = broken
    world.endpoint.down = failed(REJECTED)
    with pytest.raises(CredentialsRejected):
        process.log_in()
    assert process.ask() == "token-1"


@pytest.mark.parametrize("kind", [UNANSWERED, REJECTED])
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "found"])
def test_a_due_token_in_a_store_that_cannot_be_written_is_no_reason_to_try_on(
    world: World, kind: str, when: str, known: bool
) -> None:
    """Each call would make an attempt, and ten wrong passwords lock the account."""
    [process, *_] = world.fleet(age=DUE_AT)
    if not known:
        process = world.process()
    world.endpoint.down = failed(kind)
    world.shared.broken = {"swap"} if when == "before" else set()
    world.endpoint.answers = [lambda _: world.shared.broken.add("swap")]
    assert set(world.poll([process], 299.0)) == {"token-1"}
    assert world.logins - 1 <= 5


def test_a_due_token_serves_where_neither_level_takes_a_failure(world: World) -> None:
    """A thread has led for too long, and the shared store cannot be written."""
    memory = Shared(world.clock)
    world.fleet(age=DUE_AT)
    memory.put(lease=Slot(OTHER, 120.0))
    process = world.process(local=memory)
    world.endpoint.down = failed(REJECTED)
    world.shared.broken = {"swap"}
    assert process.ask() == "token-1"
    assert [event.pause for event in process.heard(events.LoginFailed)] == [30.0]


def test_a_rejection_is_remembered_while_the_store_is_away(world: World) -> None:
    wrong = [world.process("wrong") for _ in range(2)]
    world.poll(wrong, 2.0)
    world.shared.broken = ALL
    assert set(world.poll(wrong, 890.0, step=10.0)) == {NO_TOKEN}
    assert world.logins == 1 and wrong[0].store_errors == 89


@pytest.mark.parametrize("lifted_by", [Process.forget, Process.get])
def test_what_a_process_remembers_counts_only_while_the_store_is_away(
    world: World, lifted_by: Callable[[Process], object]
) -> None:
    process = world.process()
    world.shared.broken = ALL
    world.endpoint.answers = [failed(REJECTED)]
    assert process.ask() == process.ask() == NO_TOKEN
    world.shared.broken = set()
    lifted_by(world.process())
    world.sleep(BELIEVED_FOR)
    assert process.ask() == "token-2" and world.logins == 2


@pytest.mark.parametrize("how", ["skipped", "lost during the login"])
def test_a_token_that_came_meanwhile_is_found(world: World, how: str) -> None:
    def comes_back(_: Extend) -> object:
        world.shared.put_token("theirs")
        world.shared.broken = set() if how == "skipped" else {"swap"}
        return failed(OUTAGE)

    process = world.process()
    world.shared.broken = ALL if how == "skipped" else set()
    world.endpoint.answers = [comes_back]
    assert process.ask() == "theirs"
    assert len(process.heard(events.LoginFailed)) == 1


def test_a_store_may_take_longer_where_no_token_serves(world: World) -> None:
    process = world.process()

    def patience_of(call: Callable[[], object]) -> str:
        world.shared.calls.clear()
        call()
        return world.shared.calls[0]

    assert patience_of(process.get) == "patient for 3 s"
    world.sleep(DUE_AT)
    assert patience_of(process.get) == "patient for 1 s"
    token = process.get().token
    assert patience_of(lambda: process.renew(token)) == "patient for 3 s"
    world.sleep(LIFE)
    assert patience_of(process.get) == "patient for 3 s"


def test_a_token_and_failures_are_forgotten_for_all(world: World) -> None:
    fleet = world.fleet()
    fleet[0].get()
    fleet[2].forget()
    fleet[2].forget()
    assert world.shared.held is None and fleet[2].told == [events.Forgotten(FIRST)]
    world.endpoint.answers = [failed(REJECTED)]
    assert fleet[1].ask() == NO_TOKEN
    fleet[0].forget()
    world.sleep(BELIEVED_FOR)
    assert {process.ask() for process in fleet} == {"token-3"}
    fleet[1].renew(fleet[1].get().token)
    fleet[0].forget()
    assert world.shared.held == "token-4"  # a newer token is not forgotten


def test_forgetting_and_proving_work_as_far_as_the_store_does(world: World) -> None:
    process = world.process()
    new = process.new_token(process.get().token)
    world.shared.broken = ALL
    process.prove(new)
    assert process.ask_again(new) == "Got token-3"
    process.forget()
    process.forget()
    assert process.current is None and len(process.heard(events.Forgotten)) == 1


def test_status_tells_what_is_known_and_never_logs_in(world: World) -> None:
    def expect(process: Process, **fields: Any) -> None:
        nothing = TokenStatus(None, None, 0.0, "none", "<Shared>", True, 0.0, None, 0.0)
        assert process.status() == replace(nothing, **fields)

    first, second = world.process(), world.process()
    token: dict[str, Any] = {"fingerprint": FIRST, "seconds_left": LIFE}
    expect(first)
    away = {"store_reachable": None, "store_seconds": None}
    expect(world.alone(), store="<MemoryStore>", **away)
    first.get()
    expect(first, **token, origin="login", state="fresh")
    expect(second, **token, origin="store", state="fresh")
    second.get()
    world.sleep(DUE_AT)
    token |= {"seconds_left": 300.0, "origin": "store", "state": "due"}
    expect(second, **token)
    world.shared.broken, away["store_reachable"] = ALL, False
    expect(second, **token, **away)
    world.sleep(300.0)
    expect(second, **away)
    assert world.logins == 1


def test_status_lists_failed_logins_and_tells_whose_they_are(world: World) -> None:
    right, wrong = world.fleet(age=DUE_AT)[0], world.process("wrong")
    world.endpoint.down = failed(OUTAGE)
    right.get()
    soft = FailureStatus(OUTAGE, "POST unavailable", 30.0, mine=False)
    assert right.status().failures == (soft,) and right.status().failure is None
    world.sleep(LIFE)
    wrong.ask()
    mine, status = FailureStatus(REJECTED, "POST rejected", 900.0, True), wrong.status()
    assert (status.failures, status.attempts_spent) == ((mine,), 1)
    assert (status.failure, status.failure_seconds) == (mine.why, 900.0)
    assert right.status().failures == (replace(mine, mine=False),)
    world.shared.broken = ALL
    assert wrong.status().failures == (mine,)
    world.sleep(900.0)
    assert wrong.status().failures == ()


def test_status_tries_a_write_on_demand(world: World) -> None:
    process = world.process()
    assert process.status().store_writable is None
    for writable, broken in ((True, set()), (False, {"swap"})):
        world.shared.broken = broken
        assert process.status(try_write=True).store_writable is writable
    assert world.alone().status(try_write=True).store_writable is None


def test_a_due_token_serves_where_no_login_is_allowed(world: World) -> None:
    """The memory holds a due token, and the store only the one that was refused."""
    room = Shared(world.clock)
    process = world.process(local=room)
    refused = process.get().token
    due = Token("due", world.clock(), 100.0, 100.0)
    room.put(token=Slot(dump(due, world.clock()), 100.0))
    assert process.ask_again(refused, may_login=False) == "Adopt due"
    assert world.logins == 1


class TimeLimit(Exception):
    """What a task queue raises in a task that takes too long."""


@pytest.mark.parametrize(
    ("error", "fails"),
    [(KeyboardInterrupt, False), (KeyboardInterrupt, True), (TimeLimit, False)],
)
def test_an_interrupt_at_any_line_comes_out_at_once_and_leaves_no_lease(
    clock: Clock, error: type[BaseException], fails: bool
) -> None:
    """Nor a second login, nor a thread or process that cannot go on."""
    # Logging takes an Exception for a handler's, and the queue for a listener's.
    without = ("events",) if error is TimeLimit else ()
    places: list[str] = []
    while True:
        world, room, raised = World(clock), Shared(clock), None
        process = world.process(local=room)
        world.endpoint.answers = [failed(OUTAGE)] if fails else []
        interruption = RaisingAtLine(len(places) + 1, error, without=without)
        try:
            with interruption:
                process.get()
        except (error, TurvoAuthError) as caught:
            raised = type(caught)
        if not interruption.place:
            break
        places.append(interruption.place)
        state = (raised, world.shared.lease, room.lease, world.endpoint.users[1:])
        assert state == (error, None, None, []), interruption.place
        world.endpoint.answers = []
        clock.sleep(5.0)
        assert process.ask() == world.process().ask(), interruption.place
        assert process.current, interruption.place
    assert len(places) > 400
