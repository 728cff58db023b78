"""The rules of renewal, carried out: one or several processes, made of a source each, over real stores.

The token endpoint is made by hand, and so is the clock where time matters.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis
from conftest import Clock
from proxies import Proxy
from servers import RedisServer
from threads import LONG, Call, at_once, until

from turvo_session import (
    Change,
    CredentialsRejected,
    MemoryStore,
    RedisStore,
    Slot,
    Snapshot,
    StoreError,
    Token,
    TokenEndpointUnavailable,
    TokenStatus,
    redis_store,
    renewal,
)
from turvo_session import failure as failures
from turvo_session.events import (
    Adopted,
    Event,
    Forgotten,
    LoggedIn,
    LoginFailed,
    StoreFailed,
    StoreRecovered,
    ValueUnusable,
    Waited,
)
from turvo_session.failure import INVALID, REJECTED, THROTTLED, UNAVAILABLE, Failure
from turvo_session.grant import Grant
from turvo_session.renewal import Got
from turvo_session.source import TokenSource
from turvo_session.tokens import fingerprint

KEY = "turvo:auth_token:{0123456789ab}"
OTHER = b"f" * 16  # the owner of somebody else's lease
LEASE = 15.05  # of an attempt of 13.05 s
OUTAGE = Failure(UNAVAILABLE, "POST answered 503")

Extend = Callable[[float], None]
Answer = Grant | Failure | Callable[[Extend], object] | None


class Endpoint:
    """A token endpoint made by hand. Answers what it is told to; if nothing, with a new token."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.life = 43200.0
        self.down: Failure | None = None
        self.same = False  # whether a token is served again until it is over
        self.answers: list[Answer] = []  # to the next logins; what is callable happens during one
        self.gate = threading.Event()  # where the logins wait
        self.gate.set()
        self.logins: list[tuple[float, int]] = []  # when, and of how many tries
        self.users: list[str] = []
        self._served = ("", 0.0)

    def answer(self, user: str, attempts: int, extend: Extend) -> Grant | Failure:
        self.logins.append((self.clock(), attempts))
        self.users.append(user)
        sent = self.clock()
        assert self.gate.wait(LONG)
        told = self.answers.pop(0) if self.answers else None
        if callable(told):
            told = cast(Any, told(extend))
        if told is None:
            told = self.down or self.grant(sent)
        if isinstance(told, Failure) and told.kind == REJECTED:
            return told._replace(proof=user)
        return told if user != "wrong" or isinstance(told, Failure) else REJECTION._replace(proof=user)

    def grant(self, sent: float) -> Grant:
        secret, end = self._served
        if self.same and sent < end:
            return Grant(secret, float(int(end - sent)), sent, self.clock())
        self._served = f"token-{len(self.logins)}", sent + self.life
        return Grant(self._served[0], self.life, sent, self.clock())

    def takes(self, token: Token) -> bool:
        """Whether an API call with it is answered."""
        return token.access_token == self._served[0] and self.clock() < self._served[1]

    @property
    def times(self) -> list[float]:
        return [when for when, _ in self.logins]


REJECTION = Failure(REJECTED, "POST answered 400 invalid_grant")


class Login:
    """What a source knows of the endpoint."""

    attempt = 13.05

    def __init__(self, endpoint: Endpoint, user: str) -> None:
        self._endpoint, self._user = endpoint, user

    def __call__(self, attempts: int, extend: Extend) -> Grant | Failure:
        return self._endpoint.answer(self._user, attempts, extend)

    def ours(self, proof: str) -> bool:
        return proof == self._user


class Shared(MemoryStore):
    """A store that can be out of order. A wait passes the time of a clock made by hand."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.pass_time = clock.sleep
        self.broken: set[str] = set()
        self.reads = 0
        self.meanwhile: Callable[[], object] = lambda: None  # happens during a wait
        self.faster: list[Callable[[], object]] = []  # happen right before the next swaps

    def read(self) -> Snapshot:
        self.reads += 1
        self._check("read")
        return super().read()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        self._check("swap")
        if self.faster:
            self.faster.pop()()
        return super().swap(seen, change)

    def wait(self, seen: Snapshot, seconds: float) -> None:
        self._check("wait")
        self.pass_time(seconds)
        self.meanwhile()

    def put(self, **change: Slot | None) -> None:
        """Somebody else writes."""
        assert super().swap(super().read(), Change(**cast(Any, change)))

    def held(self) -> str | None:
        token = renewal.held(super().read())
        return token and token.access_token

    def __repr__(self) -> str:
        return "<Shared>"

    def _check(self, what: str) -> None:
        if what in self.broken:
            raise StoreError(f"no {what}")


ALL = {"read", "swap", "wait"}


class Process(TokenSource):
    """A source that remembers what it told."""

    def __init__(self, endpoint: Endpoint, store: Any, user: str = "right", **options: Any) -> None:
        self.told: list[Event] = []
        super().__init__(
            Login(endpoint, user),
            store,
            expiry_buffer=300.0,
            tell=self.told.append,
            clock=endpoint.clock,
            **options,
        )

    def heard(self, *kinds: type) -> list[Event]:
        return [event for event in self.told if isinstance(event, kinds)]


@pytest.fixture
def endpoint(clock: Clock) -> Endpoint:
    return Endpoint(clock)


@pytest.fixture
def shared(clock: Clock) -> Shared:
    return Shared(clock)


@pytest.fixture
def fleet(endpoint: Endpoint, shared: Shared) -> list[Process]:
    return [Process(endpoint, shared) for _ in range(3)]


@pytest.fixture(params=["alone", "sharing"])
def process(request: pytest.FixtureRequest, endpoint: Endpoint, shared: Shared) -> Process:
    """A process with and without a shared store: what holds for one level holds for two."""
    return Process(endpoint, shared if request.param == "sharing" else None)


# -- One process ------------------------------------------------------------------------------------------


def test_the_first_call_logs_in_and_the_next_ones_do_not(endpoint: Endpoint, process: Process) -> None:
    token = process.get()

    assert (token.access_token, token.life, token.buffer) == ("token-1", 43200.0, 300.0)
    assert process.current == token
    assert [process.get().access_token for _ in range(5)] == ["token-1"] * 5
    assert endpoint.logins == [(1000.0, 3)]
    assert process.told == [LoggedIn(token.fingerprint, 43200.0, 0.0, "none")]


@pytest.mark.parametrize(
    ("life", "age", "serves", "logins"),
    [
        (43200.0, 42899.0, "token-1", [3]),
        (43200.0, 42900.0, "token-2", [3, 1]),
        (43200.0, 43199.0, "token-2", [3, 1]),
        (43200.0, 43200.0, "token-2", [3, 3]),
        (100.0, 89.0, "token-1", [3]),
        (100.0, 90.0, "token-2", [3, 1]),
        (100.0, 100.0, "token-2", [3, 3]),
        (100.0, 1e6, "token-2", [3, 3]),
    ],
)
def test_a_token_is_renewed_when_due_in_one_try_and_when_over_in_three(
    endpoint: Endpoint,
    process: Process,
    clock: Clock,
    life: float,
    age: float,
    serves: str,
    logins: list[int],
) -> None:
    endpoint.life = life
    process.get()
    clock.sleep(age)

    assert process.get().access_token == serves
    assert [attempts for _, attempts in endpoint.logins] == logins


def test_why_a_login_was_made_is_told(endpoint: Endpoint, process: Process, clock: Clock) -> None:
    first = process.get()
    clock.sleep(42900.0)
    second = process.get()
    process.renew(second)

    assert first != second
    assert [cast(LoggedIn, event).reason for event in process.told] == ["none", "due", "refused"]


@pytest.mark.parametrize(("expires_in", "serves"), [(0.0, 1.5), (1.0, 1.5), (2.0, 2.0)])
def test_a_life_of_zero_or_little_more_is_no_storm(
    endpoint: Endpoint, process: Process, clock: Clock, expires_in: float, serves: float
) -> None:
    """Half a second for the login itself, and a second for the token."""

    def takes_half_a_second(_: Extend) -> Grant:
        sent = clock()
        clock.sleep(0.5)
        return Grant(f"short-{len(endpoint.logins)}", expires_in, sent, clock())

    endpoint.answers = [takes_half_a_second] * 9
    begun = clock()
    tokens = {process.get().access_token for _ in range(50)}
    clock.now = begun + serves * 0.9 - 0.001
    tokens.add(process.get().access_token)

    assert tokens == {"short-1"} and len(endpoint.logins) == 1
    clock.now = begun + serves
    assert process.get().access_token == "short-2"


def test_a_token_that_is_over_is_never_served_by_a_failing_login(
    endpoint: Endpoint, process: Process, clock: Clock
) -> None:
    process.get()
    clock.sleep(43200.0)
    endpoint.down = OUTAGE

    with pytest.raises(TokenEndpointUnavailable, match="503"):
        process.get()


def test_a_token_that_ends_during_a_failing_try_is_asked_for_in_earnest(
    endpoint: Endpoint, process: Process, clock: Clock
) -> None:
    """The failure of the try ahead of time speaks of a token that is over: it binds nobody."""
    process.get()
    clock.sleep(43199.0)
    endpoint.answers = [lambda _: (clock.sleep(10.0), OUTAGE)[1]]

    assert process.get().access_token == "token-3"
    assert [attempts for _, attempts in endpoint.logins] == [3, 1, 3]


def test_a_token_that_is_served_again_is_asked_for_once_more_only_when_it_is_surely_over(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    """Two logins a rollover for the whole fleet, and no call that fails for good."""
    endpoint.same, endpoint.life = True, 1000.3
    fleet[0].get()
    clock.sleep(800.0)

    while clock() < 2200.0:
        clock.sleep(0.25)
        for process in fleet:
            token = process.get()
            if not endpoint.takes(token):  # a 401
                renewed = process.renew(token)
                assert renewed is not None and endpoint.takes(renewed.token)
                process.prove(renewed.token)

    first, again, new = endpoint.times
    assert (first, again, new) == (1000.0, pytest.approx(1900.3, abs=0.5), pytest.approx(2000.3, abs=1.5))


@pytest.mark.parametrize("how", ["due in the store", "refused", "over in the store too early"])
def test_a_token_that_is_served_again_is_known_again_wherever_it_was_met(
    endpoint: Endpoint, shared: Shared, clock: Clock, how: str
) -> None:
    """By a process that has not had it, by one that has forgotten it, by one for whom it is over."""
    endpoint.same = True
    if how == "due in the store":
        Process(endpoint, shared).get()
        clock.sleep(43000.0)
        process = Process(endpoint, shared)
        again = process.get()
    elif how == "refused":
        process = Process(endpoint, shared)
        old = process.get()
        process.forget()
        renewed = process.renew(old)
        assert isinstance(renewed, Got)
        again = renewed.token
    else:  # as by a script that lets it go 300 s before its end
        first = Process(endpoint, None).get()
        shared.put(token=Slot(b'{"access_token": "%s"}' % first.access_token.encode(), 42900.0))
        process = Process(endpoint, shared)
        process.get()
        clock.sleep(42900.0)
        again = process.get()

    assert (again.access_token, again.buffer) == ("token-1", 0.0)
    assert again.end == pytest.approx(1000.0 + 43200.0 + 1.0, abs=1.0)
    clock.sleep(again.seconds_left(clock()) - 0.5)
    assert process.get().access_token == "token-1"
    assert len(endpoint.logins) == 2


# -- Threads ----------------------------------------------------------------------------------------------


class Room(MemoryStore):
    """Where threads meet; counts those who wait."""

    waiting = 0

    def wait(self, seen: Snapshot, seconds: float) -> None:
        self.waiting += 1  # under the lock of the interpreter, near enough: more than 63 is no harm
        super().wait(seen, seconds)


@pytest.mark.parametrize("share", [False, True], ids=["alone", "sharing"])
@pytest.mark.parametrize(
    "when", ["at a cold start", "when it is over", "when it is refused", "when all fails"]
)
def test_64_threads_log_in_once(
    endpoint: Endpoint, shared: Shared, clock: Clock, when: str, share: bool
) -> None:
    room = Room(clock=clock)
    process = Process(endpoint, shared if share else None, local=room)
    call: Callable[[], Any] = process.get
    if when in ("when it is over", "when it is refused"):
        old = process.get()
        if when == "when it is over":
            clock.sleep(43200.0)
        else:
            call = lambda: renewed.token if (renewed := process.renew(old)) else None
    if when == "when all fails":
        endpoint.down = OUTAGE
    before = len(endpoint.logins)
    endpoint.gate.clear()

    calls = at_once([call] * 64)
    until(lambda: room.waiting >= 63)
    endpoint.gate.set()
    found = [one.found for one in calls]

    assert len(endpoint.logins) == before + 1
    if when == "when all fails":
        assert [type(one) for one in found] == [TokenEndpointUnavailable] * 64
        assert len({id(one) for one in found}) == 64  # each its own
    else:
        assert {one.access_token for one in found} == {f"token-{before + 1}"}
        assert len(process.heard(Waited)) >= 63 and not process.heard(Adopted)


class LateLeader(Room):
    """Whoever puts a token comes back only when he is let go."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.let_go = threading.Event()

    def swap(self, seen: Snapshot, change: Change) -> bool:
        done = super().swap(seen, change)
        assert not change.wake or self.let_go.wait(LONG)
        return done


def test_a_thread_that_is_faster_than_its_leader_has_adopted_nothing(
    endpoint: Endpoint, clock: Clock
) -> None:
    """The token is of our own login, whoever comes by it first."""
    room = LateLeader(clock)
    process = Process(endpoint, None, local=room)
    endpoint.gate.clear()
    leader = Call(process.get)
    until(lambda: endpoint.logins)
    waiter = Call(process.get)
    until(lambda: room.waiting)
    endpoint.gate.set()

    assert waiter.result().access_token == "token-1"
    assert process.status().origin in ("login", "store")
    room.let_go.set()
    leader.result()

    assert not process.heard(Adopted)


def test_a_due_token_is_renewed_by_one_of_64_threads_and_the_others_do_not_wait(
    endpoint: Endpoint, process: Process, clock: Clock
) -> None:
    process.get()
    clock.sleep(42900.0)
    endpoint.gate.clear()

    calls = at_once([process.get] * 64)
    until(lambda: sum(call.is_alive() for call in calls) == 1)
    [leader] = [call for call in calls if call.is_alive()]
    others = {call.result().access_token for call in calls if call is not leader}
    endpoint.gate.set()

    assert others == {"token-1"}
    assert leader.result().access_token == process.get().access_token == "token-2"
    assert len(endpoint.logins) == 2 and not process.heard(Waited)


def test_a_thread_whose_leader_never_comes_back_has_patience_for_80_s(
    endpoint: Endpoint, clock: Clock
) -> None:
    room = Shared(clock)
    room.put(lease=Slot(OTHER, 120.0))
    process = Process(endpoint, None, local=room)

    assert process.get().access_token == "token-1"
    assert clock() == 1080.0
    assert process.heard(Waited) == [Waited(80.0)]


# -- Processes: one leads ---------------------------------------------------------------------------------


def test_what_one_process_has_got_the_others_adopt(endpoint: Endpoint, fleet: list[Process]) -> None:
    tokens = [process.get() for process in fleet]

    assert {token.access_token for token in tokens} == {"token-1"} and len(endpoint.logins) == 1
    assert fleet[1].told == [Adopted(tokens[0].fingerprint, pytest.approx(43200.0))]
    assert [process.get() for process in fleet] and len(fleet[1].told) == 1


def test_the_lease_is_no_longer_than_an_attempt_needs(endpoint: Endpoint, shared: Shared) -> None:
    leases = []
    endpoint.answers = [lambda _: leases.append(shared.read().lease)]

    Process(endpoint, shared).get()

    [lease] = leases
    assert lease and lease.left == pytest.approx(LEASE) and len(lease.value) == 16
    assert shared.read().lease is None


def test_the_lease_is_extended_before_each_further_attempt(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    left = []

    def tries_again(extend: Extend) -> None:
        for seconds in (0.5, 13.05, 20.0):
            clock.sleep(13.05)
            extend(seconds)
            lease = shared.read().lease
            left.append(lease and lease.left)

    endpoint.answers = [tries_again]
    Process(endpoint, shared).get()

    assert left == [pytest.approx(LEASE), pytest.approx(LEASE), pytest.approx(22.0)]


def test_a_lease_that_is_lost_is_not_extended(endpoint: Endpoint, shared: Shared) -> None:
    def is_late(extend: Extend) -> None:
        shared.put(lease=Slot(OTHER, 5.0))
        extend(13.05)
        assert shared.read().lease == Slot(OTHER, 5.0)
        shared.put(lease=None)

    endpoint.answers = [is_late]

    assert Process(endpoint, shared).get().access_token == "token-1"


def test_a_waiter_leads_when_the_lease_of_a_dead_leader_is_over(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    shared.put(lease=Slot(OTHER, LEASE))
    process = Process(endpoint, shared)

    assert process.get().access_token == shared.held() == "token-1"
    assert clock() == pytest.approx(1000.0 + LEASE)
    assert process.heard(Waited) == [Waited(pytest.approx(LEASE))]


def test_a_waiter_looks_again_when_it_is_woken(endpoint: Endpoint, shared: Shared) -> None:
    first, second = Process(endpoint, shared), Process(endpoint, shared)
    shared.put(lease=Slot(OTHER, LEASE))
    shared.meanwhile = lambda: (shared.put(lease=None), second.get())

    assert first.get().access_token == second.get().access_token == "token-1"
    assert len(endpoint.logins) == 1


class Endless(Shared):
    """A store where somebody else leads for ever."""

    def wait(self, seen: Snapshot, seconds: float) -> None:
        super().wait(seen, seconds)
        self.put(lease=Slot(OTHER, LEASE))


def test_a_waiter_out_of_patience_logs_in_for_itself(endpoint: Endpoint, clock: Clock) -> None:
    """Late beats never; whoever leads is left to it."""
    store = Endless(clock)
    store.put(lease=Slot(OTHER, LEASE))
    process = Process(endpoint, store)

    assert process.get().access_token == "token-1"
    assert clock() == 1040.0
    assert store.held() is None and store.read().lease is not None
    assert process.get().access_token == "token-1" and clock() == 1040.0


def test_a_late_leader_out_of_patience_keeps_what_it_got(endpoint: Endpoint, clock: Clock) -> None:
    store = Endless(clock)
    endpoint.answers = [lambda _: store.put(lease=Slot(OTHER, LEASE))]
    process = Process(endpoint, store)

    assert process.get().access_token == "token-1"
    assert clock() == 1040.0 and store.held() is None


def test_a_store_that_takes_no_more_writes_during_a_login_binds_the_others_until_the_lease_ends(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    """The leader can neither store its token nor give its lease back; it goes on with what it got."""
    leader, other = Process(endpoint, shared), Process(endpoint, shared)
    endpoint.answers = [lambda _: shared.broken.add("swap")]

    assert leader.get().access_token == "token-1" and clock() == 1000.0
    assert other.get().access_token == "token-2" and clock() == pytest.approx(1000.0 + LEASE)
    assert shared.held() is None


@pytest.mark.parametrize("answer", [None, OUTAGE], ids=["logs in", "fails"])
def test_a_leader_stopped_past_its_lease_adopts_the_newer_token(
    endpoint: Endpoint, shared: Shared, clock: Clock, answer: Answer
) -> None:
    late, other = Process(endpoint, shared), Process(endpoint, shared)

    def stopped(_: Extend) -> Answer:
        clock.sleep(20.0)
        other.get()
        return answer or Grant("older", 43200.0, 1000.0, clock())

    endpoint.answers = [stopped]

    assert late.get().access_token == other.get().access_token == shared.held() == "token-2"
    assert shared.read().failure is None


def test_a_late_leader_waits_for_the_one_who_leads_now(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    """... and does not end that one's lease."""
    late, other = Process(endpoint, shared), Process(endpoint, shared)

    def stopped(_: Extend) -> None:
        clock.sleep(20.0)
        shared.put(lease=Slot(OTHER, 9.0))

    endpoint.answers = [stopped]
    shared.meanwhile = lambda: other.get()

    assert late.get().access_token == "token-2"
    assert clock() == pytest.approx(1029.0)


def test_a_due_token_is_renewed_by_one_process_and_the_others_do_not_ask_again_soon(
    endpoint: Endpoint, shared: Shared, fleet: list[Process], clock: Clock
) -> None:
    for process in fleet:
        process.get()
    clock.sleep(42900.0)
    others = []

    def meanwhile(_: Extend) -> None:
        others.extend(process.get().access_token for process in fleet[1:])
        reads = shared.reads
        others.extend(process.get().access_token for process in fleet[1:] * 50)
        assert shared.reads == reads

    endpoint.answers = [meanwhile]

    assert fleet[0].get().access_token == "token-2"
    assert set(others) == {"token-1"} and len(endpoint.logins) == 2
    clock.sleep(LEASE)
    assert {process.get().access_token for process in fleet} == {"token-2"}
    assert len(endpoint.logins) == 2


# -- Processes: failures are shared -----------------------------------------------------------------------


def poll(fleet: list[Process], clock: Clock, seconds: int) -> list[Any]:
    """What all of them get or are told, each second."""
    found: list[Any] = []
    for _ in range(seconds):
        for process in fleet:
            try:
                found.append(process.get().access_token)
            except (TokenEndpointUnavailable, CredentialsRejected) as error:
                found.append(error)
        clock.sleep(1.0)
    return found


def test_an_outage_is_not_felt_while_the_token_is_due(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    """The fleet tries once a step of 30 s, doubling, in one try each; then the token is over."""
    for process in fleet:
        process.get()
    clock.sleep(42900.0)
    begun = clock()
    endpoint.down = OUTAGE

    served = poll(fleet, clock, 300)

    assert set(served) == {"token-1"}
    assert [when - begun for when in endpoint.times[1:]] == [0.0, 30.0, 90.0, 210.0]
    assert {attempts for _, attempts in endpoint.logins[1:]} == {1}

    # What was soft does not bind when the token is over.
    failed = poll(fleet, clock, 5)
    assert {type(one) for one in failed} == {TokenEndpointUnavailable}
    assert endpoint.logins[5:] == [(begun + 300.0, 3)]


def test_a_step_of_the_back_off_is_waited_for_without_asking_the_store(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    process = Process(endpoint, shared)
    process.get()
    clock.sleep(42900.0)
    endpoint.down = OUTAGE
    process.get()
    reads = shared.reads

    assert set(poll([process], clock, 29)) == {"token-1"}
    assert shared.reads == reads


def test_a_due_token_is_renewed_at_the_next_step_after_an_outage(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    for process in fleet:
        process.get()
    clock.sleep(42900.0)
    begun = clock()
    endpoint.down = OUTAGE
    poll(fleet, clock, 50)
    endpoint.down = None

    poll(fleet, clock, 45)

    assert [when - begun for when in endpoint.times[1:]] == [0.0, 30.0, 90.0]
    assert {process.get().access_token for process in fleet} == {"token-4"}
    endpoint.down = OUTAGE
    clock.sleep(42900.0 - 5.0)
    begun = clock()
    poll(fleet, clock, 35)
    assert [when - begun for when in endpoint.times[4:]] == [0.0, 30.0]  # from the beginning


def test_a_back_off_ahead_of_time_is_soft_though_the_server_named_a_shorter_one(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    """``Retry-After: 1`` for minutes, then all is well, then the token ends: nobody is kept from logging in."""
    for process in fleet:
        process.get()
    clock.sleep(42900.0)
    begun = clock()
    endpoint.down = OUTAGE._replace(retry_after=1.0)
    poll(fleet, clock, 290)
    endpoint.down = None

    found = poll(fleet, clock, 30)

    assert set(found) == {"token-1", "token-6"}
    assert [when - begun for when in endpoint.times[1:]] == [0.0, 30.0, 90.0, 210.0, 300.0]


@pytest.mark.parametrize("kind", [UNAVAILABLE, INVALID])
def test_an_outage_is_everybodys_error_until_the_next_step(
    endpoint: Endpoint, fleet: list[Process], clock: Clock, kind: str
) -> None:
    endpoint.down = Failure(kind, "POST answered nonsense")
    process = fleet[0]
    begun = clock()

    for step in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        with pytest.raises(Exception, match="POST answered nonsense") as caught:
            process.get()
        assert getattr(caught.value, "retry_after", step) == step
        clock.sleep(step - 0.5)
        for other in fleet:
            with pytest.raises(Exception, match="POST answered nonsense"):
                other.get()
        clock.sleep(0.5)

    assert [when - begun for when in endpoint.times] == [0.0, 5.0, 15.0, 35.0, 75.0, 135.0]
    endpoint.down = None
    assert {process.get().access_token for process in fleet} == {"token-7"}


def test_retry_after_binds_everybody_also_while_the_token_is_due(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    for process in fleet:
        process.get()
    clock.sleep(43150.0)
    begun = clock()
    endpoint.down = Failure(THROTTLED, "POST answered 429", retry_after=100.0)

    found = poll(fleet, clock, 110)

    assert set(found[:150]) == {"token-1"} and not set(map(type, found[150:])) - {TokenEndpointUnavailable}
    assert [when - begun for when in endpoint.times[1:]] == [0.0, 100.0]


def test_a_wrong_password_is_tried_once_in_a_quarter_of_an_hour(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    fleet = [Process(endpoint, shared, "wrong") for _ in range(3)]
    begun = clock()

    found = poll(fleet, clock, 901)

    assert {type(error) for error in found} == {CredentialsRejected}
    assert [when - begun for when in endpoint.times] == [0.0, 900.0]


def test_two_wrong_passwords_cannot_take_turns(endpoint: Endpoint, shared: Shared, clock: Clock) -> None:
    """The store remembers the last rejection; each process remembers its own."""
    fleet = [Process(endpoint, shared, user) for user in ("ann", "bob")]
    endpoint.down = REJECTION

    found = poll(fleet, clock, 899)

    assert {type(error) for error in found} == {CredentialsRejected}
    assert endpoint.users == ["ann", "bob"]


def test_a_rejection_is_remembered_where_the_store_forgets_it(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    process = Process(endpoint, shared, "wrong")
    poll([process], clock, 2)
    shared.put(failure=None)
    poll([process], clock, 2)
    shared.broken = ALL
    poll([process], clock, 400)
    shared.broken = set()

    found = poll([process], clock, 400)

    assert len(endpoint.logins) == 1
    assert "tries the same credentials again for 97 s" in str(found[-1])


def test_a_rejection_met_while_the_store_was_away_hides_no_token_that_it_has_later(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    process = Process(endpoint, shared, "wrong")
    shared.broken = ALL
    poll([process], clock, 60)
    shared.broken = set()
    Process(endpoint, shared, "right").get()

    assert process.get().access_token == "token-2"
    assert endpoint.users == ["wrong", "right"]


def test_a_rejection_learned_from_the_store_is_remembered_too(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    first, second = (Process(endpoint, shared, "wrong") for _ in range(2))
    poll([first], clock, 100)
    poll([second], clock, 1)
    shared.put(failure=None)

    poll([second], clock, 790)
    assert len(endpoint.logins) == 1
    clock.sleep(10.0)
    poll([second], clock, 1)
    assert len(endpoint.logins) == 2


def test_the_right_password_is_tried_at_once_and_clears_it_for_all(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    wrong = [Process(endpoint, shared, "wrong") for _ in range(2)]
    poll(wrong, clock, 10)

    assert Process(endpoint, shared, "right").get().access_token == "token-2"
    assert set(poll(wrong, clock, 2)) == {"token-2"}
    assert len(endpoint.logins) == 2


def test_a_rejection_while_due_leaves_the_old_token_in_use(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    for process in fleet:
        process.get()
    clock.sleep(42900.0)
    endpoint.down = REJECTION

    found = poll(fleet, clock, 310)

    assert set(found[:900]) == {"token-1"}
    assert {type(one) for one in found[900:]} == {CredentialsRejected}
    assert len(endpoint.logins) == 2


def test_a_failure_is_told_to_the_listener_of_the_one_who_tried(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    endpoint.answers = [lambda _: (clock.sleep(2.0), OUTAGE)[1]]

    poll(fleet, clock, 1)

    assert [process.told for process in fleet] == [[LoginFailed("POST answered 503", 2.0)], [], []]


# -- Refused ----------------------------------------------------------------------------------------------


def renewed(process: Process, refused: Token) -> tuple[str, str] | None:
    """How a token came, and which."""
    outcome = process.renew(refused)
    return outcome and (type(outcome).__name__, outcome.token.access_token)


def test_a_refused_token_costs_one_login_however_many_are_refused_with_it(fleet: list[Process]) -> None:
    old = [process.get() for process in fleet]

    assert [renewed(*both) for both in zip(fleet, old, strict=True)] == [
        ("Got", "token-2"),
        ("Adopt", "token-2"),
        ("Adopt", "token-2"),
    ]
    assert [renewed(*both) for both in zip(fleet, old, strict=True)] == [("Adopt", "token-2")] * 3


def test_a_401_that_a_login_does_not_cure_causes_no_other_for_a_minute(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    """For the whole fleet: it is remembered beside the token."""
    old = fleet[0].get()
    new = fleet[0].renew(old)
    assert isinstance(new, Got)
    for process in fleet[1:]:
        process.get()

    clock.sleep(59.0)
    assert [renewed(process, new.token) for process in fleet * 10] == [None] * 30
    assert len(endpoint.logins) == 2
    clock.sleep(1.0)
    assert [renewed(process, new.token) for process in fleet] == [
        ("Got", "token-3"),
        ("Adopt", "token-3"),
        ("Adopt", "token-3"),
    ]


def test_a_token_that_has_worked_is_in_no_doubt(fleet: list[Process]) -> None:
    new = fleet[0].renew(fleet[0].get())
    assert isinstance(new, Got)

    fleet[0].prove(new.token)

    assert [renewed(process, new.token) for process in fleet] == [
        ("Got", "token-3"),
        ("Adopt", "token-3"),
        ("Adopt", "token-3"),
    ]


def test_a_token_that_is_served_again_although_refused_is_not_asked_for_again(
    endpoint: Endpoint, process: Process
) -> None:
    endpoint.same = True
    token = process.get()

    assert renewed(process, token) == ("Got", "token-1")
    assert [renewed(process, token) for _ in range(9)] == [None] * 9
    assert len(endpoint.logins) == 2
    assert process.get().access_token == "token-1" and len(endpoint.logins) == 2


def test_a_token_that_one_stays_with_is_as_good_as_before(
    endpoint: Endpoint, fleet: list[Process], clock: Clock
) -> None:
    """What it was refused for, no token cures; while it is due and all logins fail, it serves on."""
    new = fleet[0].renew(fleet[0].get())
    assert new is not None
    for process in fleet:
        process.get()
        assert process.renew(new.token) is None
    clock.sleep(42900.0)
    endpoint.down = OUTAGE

    assert set(poll(fleet, clock, 300)) == {"token-2"}
    assert {attempts for _, attempts in endpoint.logins[2:]} == {1}


def test_a_refused_token_in_a_store_that_cannot_be_written_to_is_not_adopted_again(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    process = Process(endpoint, shared)
    old = process.get()
    shared.broken = {"swap"}
    process.renew(old)
    clock.sleep(43000.0)
    shared.put(token=renewal.put(clock(), renewal.Ask(OTHER), Got(Token("token-1", clock(), 1e4, 0.0))).token)

    assert process.get().access_token == "token-3"


def test_a_swap_that_somebody_was_faster_with_is_made_again(endpoint: Endpoint, shared: Shared) -> None:
    process = Process(endpoint, shared)
    faster = [lambda: shared.put(lease=Slot(OTHER, 0.5)), lambda: shared.put(lease=None)]

    shared.faster = faster.copy()
    new = process.renew(process.get())
    assert new is not None
    shared.faster = faster.copy()
    process.prove(new.token)
    assert shared.read().failure is None
    shared.faster = faster.copy()
    process.forget()

    assert shared.held() is None and len(endpoint.logins) == 2


# -- Forget, and status -----------------------------------------------------------------------------------


def test_what_is_forgotten_is_gone_for_all(endpoint: Endpoint, shared: Shared) -> None:
    first, second = Process(endpoint, shared), Process(endpoint, shared)
    first.get()

    first.forget()

    assert first.current is None and shared.held() is None
    assert first.told[1:] == [Forgotten(fingerprint("token-1"))]
    assert second.get().access_token == "token-2"


def test_forgetting_leaves_a_newer_token_alone(endpoint: Endpoint, shared: Shared) -> None:
    first, second = Process(endpoint, shared), Process(endpoint, shared)
    second.renew(first.get())

    first.forget()

    assert shared.held() == "token-2"
    assert first.get().access_token == "token-2" and len(endpoint.logins) == 2


def test_a_process_without_a_token_forgets_the_stored_one(endpoint: Endpoint, shared: Shared) -> None:
    Process(endpoint, shared).get()
    other = Process(endpoint, shared)

    other.forget()
    other.forget()

    assert shared.held() is None
    assert other.told == [Forgotten(fingerprint("token-1"))]


def test_forgetting_works_as_far_as_it_goes_where_the_store_does_not(
    endpoint: Endpoint, shared: Shared
) -> None:
    process = Process(endpoint, shared)
    process.forget()
    process.get()
    shared.broken = ALL

    process.forget()
    process.forget()

    assert process.current is None
    assert process.heard(Forgotten) == [Forgotten(fingerprint("token-1"))]
    assert process.get().access_token == "token-2"


def test_status_tells_what_is_known_and_never_logs_in(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    nothing = TokenStatus(None, None, 0.0, "none", "<Shared>", True, 0.0, None, 0.0)
    name = fingerprint("token-1")
    first, second = Process(endpoint, shared), Process(endpoint, shared)
    alone = Process(endpoint, None)

    assert first.status() == nothing
    assert alone.status() == nothing.__class__(
        None, None, 0.0, "none", "<MemoryStore>", None, None, None, 0.0
    )

    first.get()
    clock.sleep(200.0)
    assert first.status() == TokenStatus("login", name, 43000.0, "fresh", "<Shared>", True, 0.0, None, 0.0)
    assert second.status() == TokenStatus("store", name, 43000.0, "fresh", "<Shared>", True, 0.0, None, 0.0)
    second.get()
    assert second.status().origin == "store"
    clock.sleep(42800.0)
    assert (second.status().state, second.status().seconds_left) == ("due", pytest.approx(200.0))

    endpoint.down = OUTAGE
    first.get()
    status = first.status()
    assert (status.failure, status.failure_seconds) == ("POST answered 503", 30.0)
    clock.sleep(30.0)
    assert first.status().failure is None

    shared.broken = ALL
    status = second.status()
    assert (status.origin, status.store_reachable, status.store_seconds) == ("store", False, None)
    clock.sleep(200.0)
    assert second.status() == TokenStatus(None, None, 0.0, "none", "<Shared>", False, None, None, 0.0)
    assert len(endpoint.logins) == 2


def test_a_rejection_is_in_force_for_the_credentials_that_it_speaks_of_only(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    """Whoever has mended the password is not told that it is wrong; whoever has not is, also without the store."""
    wrong, right = Process(endpoint, shared, "wrong"), Process(endpoint, shared, "right")
    poll([wrong], clock, 1)

    assert right.status().failure is None
    assert wrong.status().failure == REJECTION.why
    shared.broken = ALL
    assert wrong.status().failure == REJECTION.why
    assert wrong.status().failure_seconds == pytest.approx(899.0, abs=1.0)


def test_a_token_in_doubt_is_no_failure_in_force(endpoint: Endpoint, shared: Shared) -> None:
    process = Process(endpoint, shared)
    process.renew(process.get())

    assert failures.load(shared.read().failure) is not None
    assert process.status().failure is None


# -- A store in trouble is a level that is skipped --------------------------------------------------------


@pytest.mark.parametrize("what", [ALL, {"read"}, {"swap"}], ids=["all", "read", "swap"])
def test_a_store_out_of_order_is_told_once_and_told_again_when_it_works(
    endpoint: Endpoint, shared: Shared, clock: Clock, what: set[str]
) -> None:
    process = Process(endpoint, shared)
    shared.broken = what

    for _ in range(5):
        token = process.get()
        clock.sleep(42900.0)
    process.renew(token)

    assert process.heard(StoreFailed) == [
        StoreFailed("<Shared>", f"no {'read' if 'read' in what else 'swap'}")
    ]
    assert process.store_errors >= 6 and not process.heard(StoreRecovered)
    shared.broken = set()
    for _ in range(3):
        clock.sleep(42900.0)
        process.get()
    assert process.heard(StoreRecovered) == [StoreRecovered("<Shared>")]
    assert shared.held() == process.get().access_token
    shared.broken = what
    clock.sleep(42900.0)
    process.get()
    assert len(process.heard(StoreFailed)) == 2


def test_threads_still_log_in_once_without_the_store(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    room = Room(clock=clock)
    process = Process(endpoint, shared, local=room)
    shared.broken = ALL
    endpoint.gate.clear()

    calls = at_once([process.get] * 16)
    until(lambda: room.waiting >= 15)
    endpoint.gate.set()

    assert {call.result().access_token for call in calls} == {"token-1"}


def test_a_failing_login_is_backed_off_from_without_the_store(
    endpoint: Endpoint, shared: Shared, clock: Clock
) -> None:
    process = Process(endpoint, shared)
    shared.broken = ALL
    endpoint.down = OUTAGE
    begun = clock()

    poll([process], clock, 40)

    assert [when - begun for when in endpoint.times] == [0.0, 5.0, 15.0, 35.0]


@pytest.mark.parametrize("answer", [None, OUTAGE], ids=["got", "failed"])
@pytest.mark.parametrize("what", [ALL, {"swap"}], ids=["all", "swap"])
def test_a_store_that_breaks_during_a_login_takes_nothing_away(
    endpoint: Endpoint, shared: Shared, answer: Answer, what: set[str]
) -> None:
    process = Process(endpoint, shared)
    endpoint.answers = [lambda _: (shared.broken.update(what), answer)[1]]

    if answer:
        with pytest.raises(TokenEndpointUnavailable, match="for 5 s"):
            process.get()
        with pytest.raises(TokenEndpointUnavailable):
            process.get()
    else:
        assert process.get().access_token == process.get().access_token == "token-1"
    assert len(endpoint.logins) == 1


def test_a_store_that_breaks_during_a_wait_is_left(endpoint: Endpoint, shared: Shared) -> None:
    shared.put(lease=Slot(OTHER, LEASE))
    shared.broken = {"wait"}
    process = Process(endpoint, shared)

    assert process.get().access_token == "token-1"
    assert process.heard(StoreFailed) == [StoreFailed("<Shared>", "no wait")]


def test_a_lease_cannot_be_extended_in_a_store_that_breaks_and_that_is_all(
    endpoint: Endpoint, shared: Shared
) -> None:
    endpoint.answers = [lambda extend: (shared.broken.update(ALL), extend(5.0))[1]]

    assert Process(endpoint, shared).get().access_token == "token-1"


def test_a_proof_that_cannot_be_written_down_is_no_trouble(endpoint: Endpoint, shared: Shared) -> None:
    process = Process(endpoint, shared)
    new = process.renew(process.get())
    assert new is not None
    shared.broken = ALL

    process.prove(new.token)

    assert renewed(process, new.token) == ("Got", "token-3")


def test_what_is_no_token_is_told_once_and_replaced(endpoint: Endpoint, shared: Shared, clock: Clock) -> None:
    shared.put(token=Slot(b"rubbish", 1e6))
    fleet = [Process(endpoint, shared) for _ in range(2)]

    assert fleet[0].status().state == "none"
    tokens = {process.get().access_token for process in fleet}

    assert tokens == {"token-1"} and shared.held() == "token-1"
    assert [process.heard(ValueUnusable) for process in fleet] == [[ValueUnusable("<Shared>")], []]


# -- Whatever a leader dies of ----------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises, which it does not in a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    "end",
    [
        lambda _: signal.raise_signal(signal.SIGINT),
        lambda _: (_ for _ in ()).throw(MemoryError),
        lambda _: (_ for _ in ()).throw(SystemExit),
    ],
    ids=["SIGINT", "MemoryError", "SystemExit"],
)
def test_a_leader_that_is_interrupted_gives_its_leases_back(
    endpoint: Endpoint, shared: Shared, clock: Clock, end: Callable[[Extend], object]
) -> None:
    first, second = Process(endpoint, shared), Process(endpoint, shared)
    endpoint.answers = [end, end]

    for _ in range(2):
        with pytest.raises((KeyboardInterrupt, MemoryError, SystemExit)):
            first.get()
        assert shared.read().lease is None

    assert second.get().access_token == first.get().access_token == "token-3"
    assert clock() == 1000.0  # nobody has waited


def test_an_interrupted_leader_wakes_those_who_wait(endpoint: Endpoint, clock: Clock) -> None:
    room = Room(clock=clock)
    process = Process(endpoint, None, local=room)
    endpoint.gate.clear()
    endpoint.answers = [lambda _: (_ for _ in ()).throw(OSError("broken"))]

    calls = at_once([process.get] * 8)
    until(lambda: room.waiting >= 7)
    endpoint.gate.set()
    found = [call.found for call in calls]

    assert sorted(type(one).__name__ for one in found) == ["OSError"] + ["Token"] * 7
    assert len(endpoint.logins) == 2


def in_a_forked_child(call: Callable[[], bool]) -> Callable[[], int]:
    """Forks; the exit status of the child tells whether ``call`` was true there."""
    child = os.fork()
    if child == 0:
        threading.Timer(LONG / 2, os._exit, (3,)).start()
        try:
            os._exit(0 if call() else 1)
        finally:
            os._exit(2)
    return lambda: os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("share", [False, True], ids=["alone", "sharing"])
def test_a_child_forked_in_the_middle_of_a_login_of_another_thread_works(redis_url: str, share: bool) -> None:
    """Alone, it logs in itself; sharing, it waits for its parent's login and adopts."""
    endpoint = Endpoint(time.monotonic)
    process = Process(endpoint, RedisStore.from_url(redis_url, KEY) if share else None)
    endpoint.gate.clear()
    leader = Call(process.get)
    until(lambda: endpoint.logins)

    def child() -> bool:
        endpoint.gate = threading.Event()
        endpoint.gate.set()
        return process.get().access_token == ("token-1" if share else "token-2")

    status = in_a_forked_child(child)
    if not share:
        assert status() == 0
    endpoint.gate.set()

    assert leader.result().access_token == "token-1"
    assert not share or status() == 0


# -- Redis ------------------------------------------------------------------------------------------------


@pytest.fixture
def real(redis_url: str) -> Iterator[tuple[Endpoint, Callable[[], Process]]]:
    endpoint = Endpoint(time.monotonic)
    yield endpoint, lambda: Process(endpoint, RedisStore.from_url(redis_url, KEY))


def test_4_processes_x_4_threads_log_in_once_through_redis(
    real: tuple[Endpoint, Callable[[], Process]], redis_client: redis.Redis
) -> None:
    endpoint, process = real
    fleet = [process() for _ in range(4)]
    endpoint.gate.clear()
    queue = fleet * 4

    calls = at_once([lambda: queue.pop().get()] * 16)
    until(lambda: redis_client.info("clients")["blocked_clients"] == 3)
    endpoint.gate.set()

    assert {call.result().access_token for call in calls} == {"token-1"}
    assert len(endpoint.logins) == 1
    queue = fleet * 4
    old = fleet[0].get()
    calls = at_once([lambda: queue.pop().renew(old)] * 16)
    kinds = sorted(type(one).__name__ for one in (call.result() for call in calls))
    assert len(endpoint.logins) == 2 and "Got" in kinds and set(kinds) == {"Got", "Adopt"}


def test_what_is_in_redis_while_somebody_leads_is_a_lease_with_an_end(
    real: tuple[Endpoint, Callable[[], Process]], redis_client: redis.Redis
) -> None:
    endpoint, process = real
    seen = []
    endpoint.answers = [lambda _: seen.append((redis_client.keys(), redis_client.pttl(f"{KEY}:lease")))]

    process().get()

    [(keys, left)] = seen
    assert keys == [f"{KEY}:lease".encode()] and 0 < left <= 15050
    assert sorted(redis_client.keys()) == [KEY.encode(), f"{KEY}:wake".encode()]
    assert 43_190_000 < redis_client.pttl(KEY) <= 43_200_000


@pytest.mark.parametrize("name", ["", ":lease", ":failure", ":wake"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda client, key: client.rpush(key, "x"),
        lambda client, key: client.setrange(key, (64 << 20) - 1, "x"),
        lambda client, key: client.set(key, b"\xff\x00"),
        lambda client, key: client.set(key, "rubbish", px=600_000),
    ],
    ids=["a list", "64 MB", "binary", "rubbish"],
)
def test_whatever_somebody_put_into_redis_costs_one_login(
    real: tuple[Endpoint, Callable[[], Process]], redis_client: redis.Redis, name: str, damage: Any
) -> None:
    endpoint, process = real
    damage(redis_client, KEY + name)

    assert [process().get().access_token for _ in range(3)] == ["token-1"] * 3
    assert len(endpoint.logins) == 1


@pytest.mark.parametrize("how", ["cut", "swallow"])
@pytest.mark.parametrize("nth", [2, 4], ids=["taking the lease", "the put"])
def test_a_lost_answer_locks_nobody_out_and_costs_no_login(
    monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, nth: int, how: Any
) -> None:
    monkeypatch.setattr(redis_store, "PATIENCE", 3 * redis_store.PATIENCE)  # whatever stalls the machine
    endpoint = Endpoint(time.monotonic)
    assert redis_server.port is not None
    with Proxy(redis_server.port) as proxy:
        process = Process(endpoint, RedisStore.from_url(proxy.url, KEY))
        proxy.lose(b"EVAL", nth=nth, how=how)

        renewed = process.renew(Token("old", 0.0, 0.0, 0.0))

        assert proxy.lost and isinstance(renewed, Got)
        assert [type(event) for event in process.told] == [LoggedIn], process.told
        assert Process(endpoint, RedisStore.from_url(redis_server.url, KEY)).get().access_token == "token-1"
    assert len(endpoint.logins) == 1


def test_redis_lost_and_found(redis_server: RedisServer) -> None:
    """One warning, no call that fails, and the token is shared again by itself."""
    endpoint = Endpoint(time.monotonic)
    process = Process(endpoint, RedisStore.from_url(redis_server.url, KEY))
    process.get()
    redis_server.kill()

    for number in (2, 3, 4):
        assert renewed(process, process.get()) == ("Got", f"token-{number}")
        process.prove(process.get())
    assert [type(event) for event in process.heard(StoreFailed, StoreRecovered)] == [StoreFailed]

    redis_server.start()
    until(lambda: process.status().store_reachable)
    assert renewed(process, process.get()) == ("Got", f"token-{len(endpoint.logins)}")
    assert [type(event) for event in process.heard(StoreFailed, StoreRecovered)] == [
        StoreFailed,
        StoreRecovered,
    ]
    other = Process(endpoint, RedisStore.from_url(redis_server.url, KEY))
    assert other.get().access_token == process.get().access_token


class Gated(Shared):
    """A store whose next reader is kept waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.shut = False
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def read(self) -> Snapshot:
        if self.shut:
            self.arrived.set()
            self.go_on.wait(LONG)
        return super().read()


def test_what_one_thread_asks_of_the_new_token_makes_no_other_log_in_for_the_old(
    endpoint: Endpoint, clock: Clock
) -> None:
    """A 401 that no token cures, met by two threads: one with the new token, one still with the old."""
    shared = Gated(clock)
    leader, ours = (Process(endpoint, shared) for _ in range(2))
    old = leader.get()
    assert ours.get() == old
    assert leader.renew(old)
    adopted = ours.renew(old)
    assert adopted
    shared.shut = True
    threads = [threading.Thread(target=ours.renew, args=(token,)) for token in (adopted.token, old)]
    threads[0].start()
    assert shared.arrived.wait(LONG)
    threads[1].start()
    threads[1].join(1)
    shared.go_on.set()
    for thread in threads:
        thread.join()
    assert len(endpoint.logins) == 2
