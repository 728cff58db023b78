"""The contract that every store must pass, then what is special about the one in Redis.

For a store of your own: add a way to open it to ``OPENERS`` and run this file.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from conftest import Clock
from cryptography.fernet import Fernet
from proxies import Proxy
from redis.cluster import RedisCluster
from redis.crc import key_slot
from servers import RedisServer, free_port
from threads import LONG, Call, at_once, until

from turvo_session import (
    Change,
    MemoryStore,
    RedisStore,
    SettingsError,
    Slot,
    Snapshot,
    StoreError,
    Token,
    TokenStore,
    renewal,
    tokens,
)
from turvo_session.redis_store import companion
from turvo_session.settings import Settings

KEY = "turvo:auth_token:{0123456789ab}"
PLAIN_KEY = "turvo:auth_token"
NAMES = ("lease", "failure", "wake")
SECRET = "3b_-secret-of-a-token"
TOKEN, LEASE, FAILURE = (
    Slot(value, LONG) for value in (b'{"access_token": "one two"}', b"lease", b"failure")
)


def write(store: TokenStore, *values: Slot | None, wake: bool = False, **named: Slot | None) -> None:
    assert store.swap(store.read(), Change(*values, wake=wake, **named))


def read_if_well(store: TokenStore) -> Snapshot | None:
    try:
        return store.read()
    except StoreError:
        return None


def values(seen: Snapshot) -> tuple[bytes | None, ...]:
    return tuple(slot and slot.value for slot in (seen.token, seen.lease, seen.failure))


# -- The contract -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cluster_port() -> Iterator[int]:
    """A cluster of one."""
    with RedisServer("cluster-enabled yes", f"cluster-port {free_port()}", port=0) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=[]))
        assert server.port is not None
        yield server.port


OPENERS = ["memory", "redis", "sealed", "decoding client", "plain key", "cluster"]
Open = Callable[[], TokenStore]


@pytest.fixture(params=OPENERS)
def open_store(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the same store, as another process would."""
    if request.param == "memory":
        only = MemoryStore()
        yield lambda: only
        return
    with ExitStack() as clients:
        if request.param == "cluster":
            port = request.getfixturevalue("cluster_port")
            of_cluster = RedisCluster(host="127.0.0.1", port=port, socket_timeout=5)
            clients.callback(of_cluster.close)
            of_cluster.flushall()
            yield lambda: RedisStore(of_cluster, KEY)
            return
        url, sealed = request.getfixturevalue("redis_url"), Fernet.generate_key().decode()

        def decoding() -> TokenStore:
            client = clients.enter_context(redis.Redis.from_url(url, decode_responses=True, socket_timeout=5))
            return RedisStore(client, KEY)

        yield {
            "redis": lambda: RedisStore.from_url(url, KEY),
            "sealed": lambda: RedisStore.from_url(url, KEY, encryption_keys=[sealed]),
            "decoding client": decoding,
            "plain key": lambda: RedisStore.from_url(url, PLAIN_KEY),
        }[request.param]


@pytest.fixture
def store(open_store: Open) -> TokenStore:
    return open_store()


def test_it_is_a_token_store(store: TokenStore) -> None:
    assert isinstance(store, TokenStore)


def test_it_is_empty_at_first(store: TokenStore) -> None:
    before = time.monotonic()

    seen = store.read()

    assert values(seen) == (None, None, None)
    assert before <= seen.at <= time.monotonic()


def test_it_holds_three_values_with_a_life_each(open_store: Open) -> None:
    write(open_store(), Slot(b"a", 1000.0), Slot(b"b", 20.0), Slot(b"c", 300.0))

    seen = open_store().read()

    assert values(seen) == (b"a", b"b", b"c")
    for slot, life in zip((seen.token, seen.lease, seen.failure), (1000.0, 20.0, 300.0), strict=True):
        assert life - 10 < slot.left <= life


@pytest.mark.parametrize(
    "value",
    [b"x", b" ", b'{"a": "b\\u0000"}', bytes(range(0x20, 0x7F)), b"long" * 2500],
    ids=lambda v: repr(v[:9]),
)
def test_a_value_is_visible_ascii_of_any_kind(store: TokenStore, value: bytes) -> None:
    write(store, *[Slot(value, LONG)] * 3)

    assert values(store.read()) == (value, value, value)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Change(), (b"1", b"2", b"3")),
        (Change(wake=True), (b"1", b"2", b"3")),
        (Change(token=None), (None, b"2", b"3")),
        (Change(lease=None), (b"1", None, b"3")),
        (Change(failure=None), (b"1", b"2", None)),
        (Change(token=Slot(b"9", LONG)), (b"9", b"2", b"3")),
        (Change(lease=Slot(b"9", LONG)), (b"1", b"9", b"3")),
        (Change(failure=Slot(b"9", LONG)), (b"1", b"2", b"9")),
        (Change(Slot(b"9", LONG), None, None, wake=True), (b"9", None, None)),
        (Change(None, None, None), (None, None, None)),
    ],
)
def test_a_change_touches_what_it_names_only(
    store: TokenStore, change: Change, left: tuple[bytes | None, ...]
) -> None:
    write(store, *(Slot(value, LONG) for value in (b"1", b"2", b"3")))

    assert store.swap(store.read(), change)

    assert values(store.read()) == left


def test_each_value_ends_at_its_own_time(store: TokenStore) -> None:
    write(store, TOKEN, Slot(b"b", 0.05), FAILURE)

    until(lambda: store.read().lease is None)

    assert values(store.read()) == (TOKEN.value, None, FAILURE.value)


@pytest.mark.parametrize("left", [-5.0, 0.0, 0.0001, 0.001])
def test_a_value_without_a_life_does_no_harm_and_is_not_kept(store: TokenStore, left: float) -> None:
    write(store, TOKEN, LEASE, FAILURE)

    write(store, Slot(b"a", left), Slot(b"b", left), Slot(b"c", left), wake=True)

    until(lambda: values(store.read()) == (None, None, None))


@pytest.mark.parametrize("which", ["token", "lease", "failure"])
@pytest.mark.parametrize("to", [Slot(b"other", LONG), None], ids=["changed", "removed"])
def test_a_swap_after_any_change_is_refused_and_writes_nothing(
    open_store: Open, which: str, to: Slot | None
) -> None:
    store = open_store()
    write(store, TOKEN, LEASE, FAILURE)
    seen = store.read()
    write(open_store(), **{which: to})
    before = values(store.read())

    assert not store.swap(seen, Change(*[Slot(b"mine", LONG)] * 3, wake=True))
    assert values(store.read()) == before
    assert store.swap(store.read(), Change(*[Slot(b"mine", LONG)] * 3))


@pytest.mark.parametrize("which", ["token", "lease", "failure"])
def test_a_swap_after_a_value_has_ended_is_refused(store: TokenStore, which: str) -> None:
    def alive() -> Snapshot | None:
        write(store, **{which: Slot(b"x", 0.2)})
        seen = store.read()
        return seen if getattr(seen, which) else None

    seen = until(alive)
    until(lambda: getattr(store.read(), which) is None)
    store.wait(store.read(), 0.01)  # for Redis, it has now the rest of a millisecond

    assert not store.swap(seen, Change(token=TOKEN))
    assert values(store.read()) == (None, None, None)


@pytest.mark.parametrize("which", ["token", "lease", "failure"])
def test_a_swap_after_a_value_has_appeared_is_refused(open_store: Open, which: str) -> None:
    store = open_store()
    seen = store.read()
    write(open_store(), **{which: Slot(b"other", LONG)})

    assert not store.swap(seen, Change(token=TOKEN))


def test_of_many_who_saw_the_same_one_swaps(open_store: Open) -> None:
    stores = [open_store() for _ in range(8)]
    seen = [store.read() for store in stores]

    def swap(i: int) -> bool:
        return stores[i].swap(seen[i], Change(lease=Slot(b"%d" % i, LONG)))

    swapped = [call.result() for call in at_once(lambda i=i: swap(i) for i in range(8))]

    assert swapped.count(True) == 1
    assert values(stores[0].read()) == (None, b"%d" % swapped.index(True), None)


def count_up(store: TokenStore, times: int) -> None:
    """Read, add one, swap; again if somebody was faster."""
    while times:
        seen = store.read()
        number = int(seen.token.value) if seen.token else 0
        times -= store.swap(seen, Change(token=Slot(b"%d" % (number + 1), LONG)))


def test_no_swap_of_many_threads_is_lost(open_store: Open) -> None:
    for call in at_once([lambda: count_up(open_store(), 20)] * 6):
        call.result()

    assert values(open_store().read()) == (b"120", None, None)


def test_a_wait_ends_when_woken(open_store: Open) -> None:
    store = open_store()
    write(store, lease=LEASE)
    seen = store.read()
    calls = [Call(lambda: open_store().wait(seen, LONG)) for _ in range(6)]

    write(store, TOKEN, None, wake=True)

    for call in calls:
        call.result()


def test_a_wake_between_looking_and_waiting_is_not_lost(open_store: Open) -> None:
    store = open_store()
    seen = store.read()
    write(open_store(), wake=True)

    Call(lambda: store.wait(seen, LONG)).result()


@pytest.mark.parametrize("change", [None, Change(TOKEN, LEASE, FAILURE), Change(None, None, None)])
def test_a_wait_that_nobody_wakes_ends_in_time_and_not_before(
    store: TokenStore, change: Change | None
) -> None:
    """What was woken for before it looked, or what is changed without a word, wakes nobody."""
    write(store, TOKEN, wake=True)
    seen = store.read()
    if change:
        assert store.swap(seen, change)
    start = time.monotonic()

    store.wait(seen, 0.2)

    assert 0.19 < time.monotonic() - start < LONG / 2


def test_a_wait_of_no_time_comes_back(store: TokenStore) -> None:
    Call(lambda: store.wait(store.read(), 0.0)).result()


def test_no_wake_up_is_ever_lost(open_store: Open) -> None:
    """Two who answer each other a hundred times: one wake-up lost, and both sleep."""

    def play(mine: int) -> None:
        store = open_store()
        while True:
            seen = store.read()
            ball = int(seen.token.value) if seen.token else 0
            if ball >= 100:
                return
            if ball % 2 == mine:
                assert store.swap(seen, Change(token=Slot(b"%d" % (ball + 1), LONG), wake=True))
            else:
                store.wait(seen, LONG)

    for call in at_once([lambda: play(0), lambda: play(1)]):
        call.result()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_it(store: TokenStore) -> None:
    write(store, TOKEN)

    child = os.fork()
    if child == 0:
        try:
            write(store, FAILURE, wake=True)
            os._exit(0 if values(store.read())[0] == FAILURE.value else 1)
        finally:
            os._exit(2)

    assert os.waitpid(child, 0)[1] == 0
    assert values(store.read())[0] in (TOKEN.value, FAILURE.value)


def test_it_shows_nothing_of_what_it_holds(store: TokenStore) -> None:
    value = Slot(SECRET.encode(), LONG)
    change = Change(value, value, value)
    assert store.swap(store.read(), change)
    seen = store.read()

    assert seen.token and seen.token.value == SECRET.encode()
    for shown in (store, seen, seen.token, change):
        assert SECRET not in f"{shown!r} {shown}"


# -- In memory --------------------------------------------------------------------------------------------


def test_in_memory_time_is_that_of_the_clock(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    write(store, Slot(b"a", 1000.0), Slot(b"b", 15.0))

    clock.sleep(14.9)
    assert values(store.read())[:2] == (b"a", b"b")
    assert store.read().lease == Slot(b"b", pytest.approx(0.1))
    clock.sleep(0.1)
    assert values(store.read())[:2] == (b"a", None)
    clock.sleep(985.0)
    assert values(store.read())[:2] == (None, None)
    assert store.read().at == 2000.0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_memory_a_forked_child_finds_neither_the_lock_nor_the_lease_of_a_thread_that_it_lacks() -> None:
    """Forked at any moment, also while another thread holds the lock."""
    locked, release = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread() is not threading.main_thread():
            locked.set()
            release.wait(LONG)
        return time.monotonic()

    store = MemoryStore(clock=clock)
    write(store, TOKEN, LEASE, FAILURE)
    reader = Call(store.read)
    assert locked.wait(LONG)

    child = os.fork()
    if child == 0:
        try:
            stuck = threading.Timer(10.0, os._exit, (3,))
            stuck.start()
            as_it_should = values(store.read()) == (TOKEN.value, None, FAILURE.value)
            os._exit(0 if as_it_should else 1)
        finally:
            os._exit(2)

    status = os.waitpid(child, 0)[1]
    release.set()
    assert status == 0
    assert values(reader.result()) == (TOKEN.value, LEASE.value, FAILURE.value)


def test_in_memory_nobody_swaps_while_another_looks(clock: Clock) -> None:
    """A second one that begins in the midst of a swap, when its time is read, is the slower one."""
    looking, over = threading.Event(), threading.Event()

    def time_of_the_first() -> float:
        if threading.current_thread().name == "first":
            looking.set()
            over.wait(0.3)  # which the other one would need if it were let in
        return clock()

    store = MemoryStore(clock=time_of_the_first)
    seen = store.read()
    swapped: list[bool] = []
    first = threading.Thread(
        name="first", target=lambda: swapped.append(store.swap(seen, Change(lease=LEASE))), daemon=True
    )
    first.start()
    assert looking.wait(LONG)

    assert not store.swap(seen, Change(token=TOKEN))
    over.set()
    first.join(LONG)
    assert swapped == [True]
    assert values(store.read()) == (None, LEASE.value, None)


# -- In Redis: what is where ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "beside"),
    [
        (KEY, KEY),
        (PLAIN_KEY, "{turvo:auth_token}"),
        ("{tag}", "{tag}"),
        ("a{b}c{d}", "a{b}c{d}"),
        ("a{b", "{a{b}"),
    ],
)
def test_all_keys_are_in_one_hash_slot(
    redis_client: redis.Redis, redis_url: str, key: str, beside: str
) -> None:
    """An explicit key is the token's, whole; its companions carry its name as their hash tag."""
    write(RedisStore.from_url(redis_url, key), TOKEN, LEASE, FAILURE, wake=True)

    keys = {one.decode() for one in redis_client.scan_iter()}

    assert keys == {key, *(f"{beside}:{name}" for name in NAMES)}
    assert len({key_slot(one.encode()) for one in keys}) == 1


def test_what_is_in_redis_ends_when_it_ends(redis_client: redis.Redis, redis_url: str) -> None:
    write(
        RedisStore.from_url(redis_url, KEY),
        Slot(b"a", 43200.0),
        Slot(b"b", 15.05),
        Slot(b"c", 900.0),
        wake=True,
    )

    lives = [redis_client.pttl(key) for key in (KEY, *(companion(KEY, name) for name in NAMES))]

    for life, left in zip((43200.0, 15.05, 900.0, 3600.0), lives, strict=True):
        assert life - 10 < left / 1000 <= life


def test_the_stream_of_wake_ups_has_one_entry(redis_client: redis.Redis, redis_url: str) -> None:
    store = RedisStore.from_url(redis_url, KEY)

    for _ in range(5):
        write(store, TOKEN, wake=True)

    assert redis_client.xlen(companion(KEY, "wake")) == 1


def test_an_existing_script_reads_our_token(redis_client: redis.Redis, redis_url: str) -> None:
    """JSON, the token as it is, and ``expires_at``, which has the buffer taken off; the key lives on."""
    token = Token(SECRET, time.monotonic(), 43200.0, 300.0)
    write(
        RedisStore.from_url(redis_url, PLAIN_KEY),
        renewal.put(time.monotonic(), ASK, renewal.Got(token)).token,
    )

    value = redis_client.get(PLAIN_KEY)
    assert isinstance(value, bytes)
    fields = json.loads(value)

    assert fields["access_token"] == SECRET
    left = datetime.fromisoformat(fields["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=42900 - 60) < left <= timedelta(seconds=42900)
    assert 42900 < redis_client.ttl(PLAIN_KEY) <= 43200


@pytest.mark.parametrize(("life", "buffer"), [(43200, 300.0), (1000, 300.0)])
def test_we_read_the_token_of_an_existing_script(
    redis_client: redis.Redis, redis_url: str, life: int, buffer: float
) -> None:
    expires_at = (datetime.now(UTC) + timedelta(seconds=life - 300)).isoformat()
    redis_client.set(PLAIN_KEY, json.dumps({"access_token": SECRET, "expires_at": expires_at}), ex=life)

    token = renewal.held(RedisStore.from_url(redis_url, PLAIN_KEY).read())

    assert token is not None and token.access_token == SECRET
    assert life - 10 < token.life <= life
    assert token.buffer == pytest.approx(buffer, rel=0.01)


ASK = renewal.Ask(b"0" * 16)


def test_two_users_or_base_urls_never_share_a_key() -> None:
    def key(**given: str) -> str:
        return Settings(**{"base_url": "https://a.test/v1", "username": "ann", **given}).token_key

    keys = [
        key(),
        key(username="bob"),
        key(username="ANN"),
        key(client_id="other"),
        key(base_url="https://b.test/v1"),
        key(base_url="https://a.test:8443/v1"),
        key(base_url="https://a.test/v2"),
        key(username="publicapi\nann", client_id=""),
        key(username="iann", client_id="publicap"),
        key(username="ann\n", client_id="publicapi"),
    ]

    assert len(set(keys)) == len(keys)
    assert key() == key(base_url="https://a.test/") == key(base_url="https://A.test:443")
    assert key() == key(api_key="another", password="another", client_secret="another")
    assert all(len({key_slot(one.encode()), key_slot(companion(one, "lease").encode())}) == 1 for one in keys)


def test_stores_of_two_keys_do_not_meet(redis_url: str) -> None:
    first, second = (RedisStore.from_url(redis_url, f"turvo:auth_token:{{{name}}}") for name in "ab")
    seen = second.read()

    write(first, TOKEN, LEASE, FAILURE, wake=True)

    assert values(second.read()) == (None, None, None)
    assert second.swap(seen, Change(lease=LEASE))


def test_a_sealed_token_is_read_with_its_key_and_under_its_name_only(
    redis_client: redis.Redis, redis_url: str
) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))

    def opened(key: str, *keys: str) -> bytes | None:
        return values(RedisStore.from_url(redis_url, key, encryption_keys=keys).read())[0]

    write(RedisStore.from_url(redis_url, KEY, encryption_keys=[old]), TOKEN, LEASE)
    sealed = redis_client.get(KEY)
    redis_client.set(PLAIN_KEY, sealed, px=60_000)

    assert isinstance(sealed, bytes) and b"access_token" not in sealed and sealed.isascii()
    assert opened(KEY, old) == opened(KEY, new, old) == TOKEN.value
    assert {opened(KEY, new), opened(PLAIN_KEY, old)} == {b"?"}
    assert opened(KEY) == sealed and tokens.load(sealed, 9.0, 0.0) is None
    redis_client.set(KEY, TOKEN.value, px=60_000)
    assert opened(KEY, old) == b"?"


# -- In Redis: what others may have put there -------------------------------------------------------------

HUGE = 64 << 20
DAMAGE: dict[str, Callable[[redis.Redis, str], object]] = {
    "a list": lambda client, key: client.rpush(key, "x"),
    "a hash": lambda client, key: client.hset(key, "access_token", SECRET),
    "another stream": lambda client, key: client.xadd(key, {"x": "y"}),
    "64 MB": lambda client, key: client.setrange(key, HUGE - 1, "x"),
    "64 KB": lambda client, key: client.set(key, "x" * 65536),
    "binary": lambda client, key: client.set(key, bytes(range(256))),
    "no UTF-8": lambda client, key: client.set(key, b"\xff\xfe"),
    "two lines": lambda client, key: client.set(key, "two\nlines"),
    "rubbish": lambda client, key: client.set(key, "rubbish"),
    "empty": lambda client, key: client.set(key, ""),
}


@pytest.mark.parametrize(
    ("decode", "forever"),
    [(False, False), (True, False), (False, True)],
    ids=["with a life", "for a decoding client", "without a life"],
)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["", *NAMES], ids=["token", *NAMES])
def test_whatever_is_at_a_key_can_be_read_and_is_swapped_for_something_good(
    redis_client: redis.Redis, redis_url: str, name: str, damage: str, decode: bool, forever: bool
) -> None:
    key = companion(KEY, name) if name else KEY
    DAMAGE[damage](redis_client, key)
    if not forever:
        redis_client.expire(key, 100)
    with redis.Redis.from_url(redis_url, decode_responses=decode, socket_timeout=5) as client:
        store = RedisStore(client, KEY)

        seen = store.read()
        assert set(values(seen)) <= ({None, b"?", b"rubbish"} if not forever else {None})
        assert store.swap(seen, Change(lease=LEASE))  # the others see who leads, and can wait
        seen = store.read()
        waiter = Call(lambda: store.wait(seen, LONG))
        write(store, TOKEN, None, None, wake=True)

        waiter.result()
        assert values(store.read()) == (TOKEN.value, None, None)
        assert -1 not in {redis_client.ttl(one) for one in redis_client.scan_iter()}


def test_a_value_that_changes_into_another_that_is_none_is_a_change(
    redis_client: redis.Redis, redis_url: str
) -> None:
    """... as far as that can be seen: a swap never overwrites a good value that came in between."""
    store = RedisStore.from_url(redis_url, KEY)
    redis_client.set(KEY, b"\xff", px=60_000)
    seen = store.read()
    redis_client.set(KEY, TOKEN.value, px=60_000)

    assert not store.swap(seen, Change(token=Slot(b"mine", LONG)))
    assert values(store.read())[0] == TOKEN.value


# -- In Redis: processes, and answers that get lost -------------------------------------------------------

COUNTER = """
import sys
from threading import Thread
from turvo_session import Change, RedisStore, Slot

url, key, times = sys.argv[1:]

def count_up():
    store, left = RedisStore.from_url(url, key), int(times)
    while left:
        seen = store.read()
        number = int(seen.token.value) if seen.token else 0
        left -= store.swap(seen, Change(token=Slot(b"%d" % (number + 1), 60.0)))

threads = [Thread(target=count_up) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_no_swap_of_many_processes_is_lost(redis_url: str) -> None:
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, redis_url, KEY, "20"]) for _ in range(4)]

    assert [counter.wait(LONG) for counter in counters] == [0, 0, 0, 0]
    assert values(RedisStore.from_url(redis_url, KEY).read())[0] == b"240"


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_a_lost_answer_to_taking_the_lease_locks_nobody_out(redis_server: RedisServer, how: Any) -> None:
    assert redis_server.port is not None
    with Proxy(redis_server.port) as proxy:
        store = RedisStore.from_url(proxy.url, KEY)
        seen = store.read()
        proxy.lose(b"EVAL", how=how)

        taken = store.swap(seen, renewal.take(ASK, 15.0))

        assert proxy.lost and not taken  # as far as one can know
        assert renewal.decide(store.read(), ASK) == renewal.Lead()
        assert isinstance(renewal.decide(store.read(), renewal.Ask(b"1" * 16)), renewal.Wait)


def test_a_connection_that_has_died_meanwhile_is_no_trouble(redis_server: RedisServer) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    write(store, TOKEN)
    redis_server.kill()
    redis_server.start()

    assert values(store.read()) == (None, None, None)


# -- In Redis: out of order -------------------------------------------------------------------------------


def test_a_hung_server_costs_one_timeout_then_none_and_is_used_again_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    write(store, TOKEN)
    seen = store.read()
    redis_server.pause()

    start = time.monotonic()
    with pytest.raises(StoreError, match="no answer within 1.0 s|TimeoutError"):
        store.read()
    first = time.monotonic() - start
    start = time.monotonic()
    for call in (store.read, lambda: store.swap(seen, Change()), lambda: store.wait(seen, LONG)) * 20:
        with pytest.raises(StoreError, match="out of order"):
            call()
    assert 0.9 < first < 5
    assert time.monotonic() - start < 0.9

    # A look after it, now and then, is a tenth of a second.
    def probed() -> str:
        with pytest.raises(StoreError) as caught:
            store.read()
        return str(caught.value) if str(caught.value) != "out of order" else ""

    assert until(probed) == "no answer within 0.1 s"
    assert until(probed) == "no answer within 0.1 s"

    # They grow rarer: from the second to the third it is twice as long as before.
    looked = time.monotonic()
    while time.monotonic() < looked + 3.0:
        with pytest.raises(StoreError, match="out of order"):
            store.read()
        time.sleep(0.1)

    redis_server.resume()

    assert values(until(lambda: read_if_well(store))) == (TOKEN.value, None, None)
    write(store, LEASE)

    # And at the next outage it all begins anew.
    redis_server.pause()
    with pytest.raises(StoreError):
        store.read()
    hurt = time.monotonic()
    assert until(probed) == "no answer within 0.1 s"
    assert time.monotonic() - hurt < 6


def test_an_answer_that_comes_seconds_late_is_no_recovery(redis_server: RedisServer) -> None:
    """From a Redis that takes so long for each answer a call gets one timeout, not one each time."""
    assert redis_server.port is not None
    with Proxy(redis_server.port) as proxy:
        store = RedisStore.from_url(proxy.url, KEY)
        store.read()
        proxy.drip = 0.03
        with pytest.raises(StoreError, match=r"no answer within 1\.0 s"):
            store.read()
        until(lambda: "turvo_session" not in {thread.name for thread in threading.enumerate()})

        with pytest.raises(StoreError, match=r"no answer within 0\.1 s|out of order"):
            store.read()
        proxy.drip = 0.0
        until(lambda: read_if_well(store))


def test_a_server_that_is_back_and_slow_is_used_again(redis_server: RedisServer) -> None:
    """Its answers take longer than a look after it waits, but they come: late is not lost."""
    assert redis_server.port is not None
    with Proxy(redis_server.port) as proxy:
        store = RedisStore.from_url(proxy.url, KEY)
        write(store, TOKEN)
        proxy.drip = 0.002  # a byte: some 0.4 s an answer
        redis_server.pause()
        with pytest.raises(StoreError):
            store.read()
        redis_server.resume()

        assert values(until(lambda: read_if_well(store))) == (TOKEN.value, None, None)


def test_a_wait_on_a_server_that_hangs_ends_a_second_late(redis_server: RedisServer) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    seen = store.read()
    redis_server.pause()

    start = time.monotonic()
    with pytest.raises(StoreError):
        store.wait(seen, 0.1)

    assert 0.9 < time.monotonic() - start < LONG / 2
    until(lambda: "turvo_session" not in {thread.name for thread in threading.enumerate()})


def test_a_longer_wait_than_the_timeout_of_the_client_is_no_trouble(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url, KEY)

    store.wait(store.read(), 1.3)

    assert values(store.read()) == (None, None, None)


def test_a_server_that_is_away_is_told_at_once_and_used_again_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    redis_server.kill()

    with pytest.raises(StoreError, match="^ConnectionError$"):
        store.read()
    with pytest.raises(StoreError, match="^out of order$"):
        store.read()

    redis_server.start()

    def recovered() -> bool:
        try:
            write(store, TOKEN)
        except StoreError:
            return False
        return True

    until(recovered)


def test_an_answer_that_never_comes_to_a_client_without_timeouts_is_one_outage_only(
    redis_server: RedisServer,
) -> None:
    """A thread waits for it for ever; the store does not."""
    assert redis_server.port is not None
    with (
        Proxy(redis_server.port) as proxy,
        redis.Redis(port=proxy.port, protocol=2, socket_timeout=None) as client,
    ):
        store = RedisStore(client, KEY)
        write(store, TOKEN)
        proxy.lose(b"EVAL", how="swallow")
        with pytest.raises(StoreError, match=r"no answer within 1\.0 s"):
            store.read()

        assert values(until(lambda: read_if_well(store))) == (TOKEN.value, None, None)


PASSWORD = "redis-password-0001"


def test_a_wrong_password_is_tried_once_and_told_without_it() -> None:
    with RedisServer() as server, server.client() as client:
        client.config_set("requirepass", "right")
        store = RedisStore.from_url(server.url.replace("unix://", f"unix://:{PASSWORD}@"), KEY)

        with pytest.raises(StoreError) as caught:
            store.read()

        assert client.info("stats")["acl_access_denied_auth"] == 1
        assert str(caught.value) == "AuthenticationError"
        assert PASSWORD not in f"{store!r} {caught.value!r} {caught.value.__context__!r}"


def test_a_full_server_is_read_and_not_written_to(redis_server: RedisServer) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    write(store, TOKEN)
    seen = store.read()
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)

    with pytest.raises(StoreError, match="OutOfMemory|OOM"):
        store.swap(seen, Change(lease=LEASE))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        f"http://:{PASSWORD}@localhost",
        f"redis://:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}@localhost:70000000",
        f"redis://:{PASSWORD}@[::1",
        f"redis://:{PASSWORD}@localhost/0?socket_timeout=soon",
        f"redis://:{PASSWORD}@localhost/turvo",
        f"redis://:{PASSWORD}@localhost/0?timeout=3",
        f"redis://:{PASSWORD}@localhost/0?ssl_cert_reqs=none",
        f"rediss://:{PASSWORD}@localhost/0?ssl_cert_reqs={PASSWORD}",
    ],
)
def test_a_url_that_is_none_is_told_without_it(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL is no URL such as") as caught:
        RedisStore.from_url(url, KEY)

    assert PASSWORD not in f"{caught.value!r} {caught.value.__context__!r} {caught.value.__cause__!r}"


def test_what_is_no_client_is_told_at_once() -> None:
    for client in ("redis://localhost", None):
        with pytest.raises(SettingsError, match="RedisStore.from_url takes a URL"):
            RedisStore(client, KEY)  # type: ignore[arg-type]


def test_a_redis_store_shows_its_key_only_and_does_not_pickle(redis_url: str) -> None:
    store = RedisStore.from_url(f"redis://:{PASSWORD}@127.0.0.1:1/0", KEY)

    assert repr(store) == str(store) == f"<RedisStore {KEY}>"
    with pytest.raises(TypeError, match="make one in each process") as caught:
        pickle.dumps(store)
    assert PASSWORD not in str(caught.value)


class Nonsense:
    """A client whose server answers what no script of ours returns."""

    def __init__(self, reply: object) -> None:
        self.reply = reply

    def execute_command(self, *_: object) -> object:
        return self.reply


@pytest.mark.parametrize("reply", [None, b"x", 7, [], [b"x"], [7, b"x", None, 0, None, 0, b"", b""], {}])
def test_a_reply_that_makes_no_sense_is_trouble_with_the_store(reply: object) -> None:
    """Not an error of the caller's: calls go on without the store."""
    store = RedisStore(Nonsense(reply), KEY)  # type: ignore[arg-type]

    with pytest.raises(StoreError) as caught:
        store.read()
    assert caught.value.__context__ is None
