"""The contract that every store passes, and what only the store in memory promises.

For a store of your own: add a way to open it to ``open_store`` and run this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest
import redis
from cryptography.fernet import Fernet

from tests.support.clock import Clock
from tests.support.forks import SlowLook, is_true_in_child
from tests.support.servers import cluster_of_one
from tests.support.threads import LONG, Call, at_once, until
from turvo_session import Change, MemoryStore, RedisStore, Slot, Snapshot, TokenStore

KEY = "turvo:auth_token"
TOKEN, LEASE, FAILURE = (
    Slot(value, LONG) for value in (b'{"access_token": "a b"}', b"lease", b"failure")
)
WHICH = pytest.mark.parametrize("which", ["token", "lease", "failure"])
Open = Callable[[], TokenStore]


def write(store: TokenStore, *slots: Slot | None, wake: bool = False) -> None:
    assert store.swap(store.read(), Change(*slots, wake=wake))


def values(seen: Snapshot) -> tuple[bytes | None, ...]:
    return tuple(slot and slot.value for slot in (seen.token, seen.lease, seen.failure))


@pytest.fixture(scope="session")
def cluster() -> Iterator[redis.RedisCluster]:
    with cluster_of_one() as client:
        yield client


OPENERS = ["memory", "url", "tagged", "sealed", "decoding", "small", "cluster"]


@pytest.fixture(params=OPENERS)
def open_store(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens the same store, as another process would."""
    memory, key = MemoryStore(), Fernet.generate_key().decode()
    url, client = "", cast(redis.Redis, None)
    if request.param == "cluster":
        client = request.getfixturevalue("cluster")
    elif request.param != "memory":
        url = request.getfixturevalue("redis_url")
    with ExitStack() as clients:
        if request.param == "decoding":
            options = {"decode_responses": True, "protocol": 3, "encoding": "latin-1"}
            client = clients.enter_context(redis.Redis.from_url(url, **options))
        if request.param == "small":
            pool = redis.BlockingConnectionPool.from_url(url, max_connections=1)
            clients.callback(pool.disconnect)
            client = redis.Redis(connection_pool=pool)
        openers: dict[str, Open] = {
            "memory": lambda: memory,
            "url": lambda: RedisStore.from_url(url, KEY),
            "tagged": lambda: RedisStore.from_url(url, f"{KEY}:{{a}}"),
            "sealed": lambda: RedisStore.from_url(url, KEY, encryption_keys=[key]),
        }
        opener = openers.get(request.param, lambda: RedisStore(client, KEY))
        write(opener(), None, None, None)
        yield opener


@pytest.fixture
def store(open_store: Open) -> TokenStore:
    return open_store()


def test_it_is_empty_at_first(store: TokenStore) -> None:
    before = time.monotonic()
    seen = store.read()
    assert isinstance(store, TokenStore)
    assert values(seen) == (None, None, None)
    assert before <= seen.at <= time.monotonic()


def test_it_holds_three_values_with_a_life_each(open_store: Open) -> None:
    lives = (1000.0, 20.0, 300.0)
    for value in (b" ", b'{"a": "b\\u0000"}', bytes(range(0x20, 0x7F)), b"ab" * 5000):
        write(open_store(), *(Slot(value, life) for life in lives))
        seen = open_store().read()
        assert values(seen) == (value, value, value)
        left = [slot.left for slot in (seen.token, seen.lease, seen.failure) if slot]
        assert left == [pytest.approx(life, abs=10) for life in lives]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Change(wake=True), (b"1", b"2", b"3")),
        (Change(token=None), (None, b"2", b"3")),
        (Change(lease=Slot(b"9", LONG)), (b"1", b"9", b"3")),
        (Change(failure=Slot(b"9", LONG)), (b"1", b"2", b"9")),
        (Change(Slot(b"9", LONG), None, None, wake=True), (b"9", None, None)),
    ],
    ids=range(5),
)
def test_a_change_touches_only_what_it_names(
    store: TokenStore, change: Change, left: tuple[bytes | None, ...]
) -> None:
    write(store, *(Slot(value, LONG) for value in (b"1", b"2", b"3")))
    assert store.swap(store.read(), change)
    assert values(store.read()) == left


@pytest.mark.parametrize("left", [-5.0, 0.0, 0.001])
def test_a_value_without_a_life_is_not_kept(store: TokenStore, left: float) -> None:
    write(store, TOKEN, LEASE, FAILURE)
    write(store, TOKEN, *[Slot(b"a", left)] * 2, wake=True)
    until(lambda: values(store.read()) == (TOKEN.value, None, None))


@WHICH
@pytest.mark.parametrize("new", [Slot(b"other", LONG), None], ids=["set", "removed"])
def test_a_swap_after_any_change_writes_nothing(
    store: TokenStore, which: str, new: Slot | None
) -> None:
    write(store, *(slot if new is None else None for slot in (TOKEN, LEASE, FAILURE)))
    seen = store.read()
    assert store.swap(store.read(), Change(**{which: new}))
    before = values(store.read())
    mine = Change(*[Slot(b"mine", LONG)] * 3, wake=True)
    assert store.swap(seen, mine) is False
    assert values(store.read()) == before
    assert store.swap(store.read(), mine)


@WHICH
def test_a_swap_after_a_value_ended_fails(store: TokenStore, which: str) -> None:
    def alive() -> Snapshot | None:
        assert store.swap(store.read(), Change(**{which: Slot(b"x", 0.2)}))
        seen = store.read()
        return seen if getattr(seen, which) else None

    seen = until(alive)
    until(lambda: getattr(store.read(), which) is None)
    store.wait(store.read(), 0.01)  # Redis may have left the rest of a millisecond
    assert not store.swap(seen, Change(token=TOKEN))
    assert values(store.read()) == (None, None, None)


def test_no_swap_of_many_threads_is_lost(open_store: Open) -> None:
    def count_up() -> None:
        store, left = open_store(), 15
        while left:
            seen = store.read()
            number = int(seen.token.value) if seen.token else 0
            new = Slot(b"%d" % (number + 1), LONG)
            left -= store.swap(seen, Change(token=new))

    for call in at_once([count_up] * 4):
        call.result()
    assert values(open_store().read())[0] == b"60"


@pytest.mark.parametrize("change", [Change(), Change(TOKEN, LEASE)], ids=["", "write"])
def test_a_wait_ends_in_time(store: TokenStore, change: Change) -> None:
    write(store, TOKEN, wake=True)
    seen = store.read()
    assert store.swap(seen, change)
    start = time.monotonic()
    store.wait(seen, 0.5)
    assert 0.49 < time.monotonic() - start < LONG / 2
    Call(lambda: store.wait(seen, 0.0)).result()


def test_no_wake_up_is_ever_lost(open_store: Open) -> None:
    def play(mine: int) -> None:
        store = open_store()
        while True:
            seen = store.read()
            ball = int(seen.token.value) if seen.token else 0
            if ball >= 30:
                return
            if ball % 2 == mine:
                write(store, Slot(b"%d" % (ball + 1), LONG), wake=True)
            else:
                store.wait(seen, LONG)

    for call in at_once([lambda: play(0), lambda: play(1)]):
        call.result()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_it(store: TokenStore) -> None:
    def work_as_child() -> bool:
        write(store, FAILURE, wake=True)
        return values(store.read())[0] == FAILURE.value

    write(store, TOKEN)
    assert is_true_in_child(work_as_child)
    assert values(store.read())[0] in (TOKEN.value, FAILURE.value)


def test_in_memory_time_is_that_of_the_clock(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    write(store, Slot(b"a", 1000.0), Slot(b"b", 15.0))
    clock.sleep(14.9)
    assert store.read().lease == Slot(b"b", pytest.approx(0.1))
    clock.sleep(0.1)
    assert values(store.read()) == (b"a", None, None)
    clock.sleep(985.0)
    assert values(store.read()) == (None, None, None)
    assert store.read().at == 2000.0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_memory_a_forked_child_finds_no_lock_and_no_lease_of_a_thread() -> None:
    clock = SlowLook(LONG)
    store = MemoryStore(clock=clock)
    write(store, TOKEN, LEASE, FAILURE)
    reader = Call(store.read)
    assert clock.begun.wait(LONG)
    expected = (TOKEN.value, None, FAILURE.value)
    assert is_true_in_child(lambda: values(store.read()) == expected)
    clock.release.set()
    assert values(reader.result()) == (TOKEN.value, LEASE.value, FAILURE.value)


def test_in_memory_no_thread_swaps_while_another_one_looks() -> None:
    clock = SlowLook(0.3)
    store = MemoryStore(clock=clock)
    seen = store.read()
    first = Call(lambda: store.swap(seen, Change(lease=LEASE)))
    assert clock.begun.wait(LONG)
    assert not store.swap(seen, Change(token=TOKEN))
    assert first.result()
    assert values(store.read()) == (None, LEASE.value, None)
