"""Trouble with Redis over real sockets: told in words, at once, and over by itself."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.support.clock import Clock
from tests.support.forks import is_true_in_child
from tests.support.interrupts import interrupted
from tests.support.proxies import Proxy
from tests.support.redis_replies import GOOD, REPLIES, WORDS, servers_that_reply
from tests.support.servers import RedisServer, free_port, self_signed
from tests.support.threads import LONG, Call, until
from turvo_session import Change, RedisStore, Slot, Snapshot, StoreError, breaker

KEY = "turvo:auth_token"
PASSWORD = "redis-password-0001"
TOKEN = Slot(b'{"access_token": "a b"}', LONG)


def write(store: RedisStore, *slots: Slot | None) -> None:
    assert store.swap(store.read(), Change(*slots, wake=True))


def trouble(call: Callable[[], object]) -> str:
    """Return the words of the ``StoreError`` that ``call`` raises."""
    with pytest.raises(StoreError) as caught:
        call()
    text = str(caught.value)
    assert caught.value.__context__ is None and PASSWORD not in text
    assert text.isprintable() and len(text) < 400
    return text


# In words

PLACES = [
    ("redis://:{password}@127.0.0.1:{free}", "", "refused the connection; check that"),
    ("redis://:{password}@redis.invalid", "", "redis.invalid:6379 was not found"),
    ("unix://:{password}@/no/redis", "", "/no/redis cannot be reached: a file is"),
    ("rediss://localhost:{tls}", "", "a certificate that is not trusted (self"),
    ("rediss://localhost:{other}?ssl_ca_certs={ca}", "", "for another host name"),
    ("redis://localhost:{tls}", "", "closed the connection; check the host, the port"),
    ("rediss://127.0.0.1:{port}", "", "did not answer EVAL"),
    ("redis://nobody:{password}@127.0.0.1:{port}", "", "does not accept the user or"),
    ("redis://:{password}@127.0.0.1:{port}", "", "was given a password and has none"),
    ("redis://127.0.0.1:{port}/99", "", "has no database of that number"),
    ("redis://127.0.0.1:{port}", "CONFIG SET requirepass x", "wants a password"),
    ("redis://127.0.0.1:{port}", "CONFIG SET maxmemory 1", "is out of memory"),
    ("redis://127.0.0.1:{port}", "REPLICAOF 127.0.0.1 1", "is a read-only replica"),
]


@pytest.mark.parametrize(("url", "command", "words"), PLACES, ids=range(13))
def test_trouble_names_the_server_the_cause_and_what_to_check(
    url: str, command: str, words: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    here, _ = self_signed(tmp_path, "localhost")
    there, ca = self_signed(tmp_path, "redis.example")
    port = redis_server.port or 0
    with Proxy(port, tls=here) as tls, Proxy(port, tls=there) as other:
        ports = {"free": free_port(), "tls": tls.port, "other": other.port}
        url = url.format(port=port, ca=ca, password=PASSWORD, **ports)
        # As redis.Redis(...) does by default. It would take longer than we wait.
        options = {"retry": Retry(ConstantBackoff(LONG), 3), "protocol": 2}
        stores = [
            RedisStore.from_url(url, KEY),
            RedisStore(redis.Redis.from_url(url, **options), KEY),
        ]
        if command:
            with redis_server.client() as admin:
                admin.execute_command(*command.split())

        calls = [Call(partial(trouble, partial(write, s, TOKEN))) for s in stores]

        for store, call in zip(stores, calls, strict=True):
            text = call.result()
            assert text.startswith("Redis at ") and words in text
            assert trouble(store.read) == f"still out of order: {text}"


def test_sentinels_that_do_not_run_are_told_at_once() -> None:
    sentinel = Sentinel([("127.0.0.1", free_port())])  # whose clients try again
    store = RedisStore(sentinel.master_for("turvo"), KEY)
    assert "turvo has no master that a sentinel knows" in trouble(store.read)


def test_a_command_that_is_renamed_away_is_named() -> None:
    for command in ("EVAL", "XADD"):
        with RedisServer(f'rename-command {command} ""') as server:
            store = RedisStore.from_url(server.url, KEY)
            text = trouble(lambda s=store: write(s, TOKEN))
            assert f"does not know the command {command}" in text


def test_tls_works_with_a_trusted_certificate_or_unchecked(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    context, trusted = self_signed(tmp_path, "localhost")
    with Proxy(redis_server.port or 0, tls=context) as proxy:
        for option in (f"ssl_ca_certs={trusted}", "ssl_cert_reqs=none"):
            url = f"rediss://localhost:{proxy.port}/0?{option}"
            write(RedisStore.from_url(url, KEY), TOKEN)


# Replies that make no sense


@pytest.fixture
def url_answering() -> Iterator[Callable[[bytes], str]]:
    """Return a function that runs a server with one reply, and returns its URL."""
    with servers_that_reply() as run:
        yield run


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_that_makes_no_sense_is_trouble_and_nothing_else(
    name: str, url_answering: Callable[[bytes], str]
) -> None:
    calls = []
    for options in ("", "?decode_responses=yes"):
        store = RedisStore.from_url(url_answering(REPLIES[name]) + options, KEY)
        calls.append(Call(partial(trouble, store.read)))
    for call in calls:
        assert call.result().startswith("Redis at 127.0.0.1:")
        assert WORDS.get(name, "never answers") in call.result()


def test_a_server_that_answers_tls_with_something_else_is_told(
    url_answering: Callable[[bytes], str],
) -> None:
    url = url_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    store = RedisStore.from_url(url.replace("redis", "rediss"), KEY)
    assert "failed to agree on TLS (" in trouble(store.read)


def test_a_swap_that_is_neither_applied_nor_refused_is_trouble(
    url_answering: Callable[[bytes], str],
) -> None:
    seen = RedisStore.from_url(url_answering(GOOD), KEY).read()
    store = RedisStore.from_url(url_answering(b":7\r\n"), KEY)
    assert "never answers" in trouble(lambda: store.swap(seen, Change()))


def test_trouble_is_the_same_without_threads_and_an_interrupt_is_none(
    url_answering: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    urls = [url_answering(REPLIES[name]) for name in ("nil", "life for ever")]
    urls += [f"redis://127.0.0.1:{free_port()}", url_answering(b":x\r\n")]
    stores = [RedisStore.from_url(url, KEY) for url in urls]
    limit = TimeoutError("of the caller's time limit")

    class Limited(redis.Redis):
        def execute_command(self, *_: object, **__: object) -> NoReturn:
            limit.__traceback__ = None
            interrupt(limit)

    monkeypatch.setattr(threading, "Thread", refuse)
    for store in stores:
        assert trouble(store.read).startswith("Redis at 127.0.0.1:")
    with pytest.raises(TimeoutError) as caught:
        RedisStore(Limited(), KEY).read()
    assert caught.value is limit


def interrupt(error: BaseException) -> NoReturn:
    raise error


# Lost and late


def test_a_hung_server_costs_one_timeout_and_is_used_again_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    store, patient, waiting = (
        RedisStore.from_url(redis_server.url, KEY) for _ in range(3)
    )
    write(store, TOKEN)
    seen = waiting.read()
    redis_server.pause()

    def seconds_of(work: Callable[[], object], words: str) -> float:
        start = time.monotonic()
        assert words in trouble(work)
        return time.monotonic() - start

    def read_patiently() -> None:
        patient.be_patient(1.5)
        patient.read()

    calls = [
        Call(lambda: seconds_of(store.read, "did not answer EVAL")),
        Call(lambda: seconds_of(read_patiently, "did not answer EVAL")),
        Call(lambda: seconds_of(lambda: waiting.wait(seen, 0.1), "answer XREAD")),
    ]
    first, second, third = (call.result() for call in calls)
    assert 0.9 < first < second < LONG / 2 and second > 1.4 and third > 0.9

    start = time.monotonic()
    for call in (store.read, lambda: store.wait(seen, LONG)) * 20:
        assert trouble(call).startswith("still out of order: ")
    assert time.monotonic() - start < LONG / 2  # 40 timeouts would be 40 s

    redis_server.resume()
    store.try_again()
    write(store, TOKEN)


@pytest.mark.parametrize("own", [True, False], ids=["from_url", "handed in"])
def test_a_slow_server_is_used_again_and_one_slower_than_a_second_is_not(
    redis_server: RedisServer, own: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "time", SimpleNamespace(monotonic=clock))

    def read_a_minute_later() -> Snapshot | None:
        clock.sleep(60.0)
        with suppress(StoreError):
            return store.read()
        return None

    with (
        Proxy(redis_server.port or 0) as proxy,
        redis.Redis(port=proxy.port, protocol=2, socket_timeout=None) as client,
    ):
        store = RedisStore.from_url(proxy.url, KEY) if own else RedisStore(client, KEY)
        write(store, TOKEN)
        proxy.drip = 0.03
        assert "did not answer EVAL" in trouble(store.read)
        proxy.drip = 0.0  # the rest of the late answer
        until(lambda: "turvo_session" not in {t.name for t in threading.enumerate()})
        trouble(store.read)

        proxy.drip = 0.001  # slower than a probe waits, so a late answer counts
        assert until(read_a_minute_later).token is not None
        proxy.drip = 0.0
        proxy.lose(b"EVAL", how="swallow")
        read_a_minute_later()
        assert until(read_a_minute_later).token is not None


def test_an_answer_that_never_comes_is_asked_for_again(
    redis_server: RedisServer,
) -> None:
    with Proxy(redis_server.port or 0) as proxy:
        store = RedisStore.from_url(proxy.url, KEY)
        write(store, TOKEN)
        proxy.lose(b"EVAL", how="swallow")
        assert store.read().token is not None and proxy.lost


def test_a_wait_goes_on_when_its_connection_is_lost(redis_server: RedisServer) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    waiter = Call(partial(store.wait, store.read(), LONG))
    with redis_server.client() as client:

        def is_waiting() -> object:
            return client.info("clients")["blocked_clients"]

        until(is_waiting)
        client.client_kill_filter(_type="normal", skipme=True)
        until(is_waiting)
        write(RedisStore.from_url(redis_server.url, KEY), TOKEN)
    waiter.result()


def test_a_full_server_still_removes_a_lease(redis_server: RedisServer) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    write(store, TOKEN, TOKEN)
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
    assert "is out of memory" in trouble(lambda: write(store, TOKEN, None))
    store.try_again()
    seen = store.read()
    assert seen.lease is None and seen.token is not None


def test_a_whole_wait_is_one_command_also_when_an_interrupt_ends_it(
    redis_server: RedisServer,
) -> None:
    store = RedisStore.from_url(redis_server.url, KEY)
    seen = store.read()
    limit = TimeoutError("of the caller's time limit")
    with redis_server.client() as client:

        def reads() -> int:
            return int(client.info("commandstats")["cmdstat_xread"]["calls"])

        store.wait(seen, 1.1)
        assert reads() == 1

        def is_blocked() -> object:
            return client.info("clients")["blocked_clients"]

        with interrupted(is_blocked, limit), pytest.raises(TimeoutError) as caught:
            store.wait(seen, LONG)
        assert caught.value is limit
        assert store.read().token is None


# Forks


class Strange(redis.Redis):
    """A client of which no second one can be made from a pool."""

    def __init__(self, url: str) -> None:
        super().__init__(connection_pool=redis.ConnectionPool.from_url(url))


CLIENTS: dict[str, Callable[[str], Any]] = {
    "pool": redis.Redis.from_url,
    "blocking pool": lambda url: redis.Redis(
        connection_pool=redis.BlockingConnectionPool.from_url(url)
    ),
    "strange": Strange,
}


@contextmanager
def store_over(kind: str, server: RedisServer) -> Iterator[RedisStore]:
    """Return a store whose client is of this kind, and close its connections."""
    with ExitStack() as stack:
        if kind == "url":
            yield RedisStore.from_url(server.url, KEY)
            return
        if kind == "sentinel":
            watch = f"sentinel monitor turvo 127.0.0.1 {server.port} 1"
            watching = stack.enter_context(RedisServer(watch, port=0, sentinel=True))
            sentinel = Sentinel([("127.0.0.1", watching.port)])
            client = sentinel.master_for("turvo")
        else:
            client = CLIENTS[kind](server.url)
        yield RedisStore(client, KEY)
        for pool in pools_of(client):
            pool.disconnect()


def pools_of(client: redis.Redis) -> list[redis.ConnectionPool]:
    """Return its pool, and those of the sentinels that it asks."""
    pool = client.connection_pool
    sentinel = getattr(pool, "sentinel_manager", None)
    others = sentinel.sentinels if sentinel else []
    return [pool, *[one.connection_pool for one in others]]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["url", "sentinel", *CLIENTS])
def test_a_child_forked_while_a_thread_is_in_the_pool_has_a_pool_of_its_own(
    redis_server: RedisServer, kind: str
) -> None:
    """As far as another pool can be made."""
    locked, release = threading.Event(), threading.Event()

    def hold_locks(client: redis.Redis) -> None:
        with ExitStack() as stack:
            for pool in pools_of(client) if kind != "strange" else ():
                stack.enter_context(pool._lock)
            locked.set()
            release.wait(LONG)

    with store_over(kind, redis_server) as store:
        write(store, TOKEN)
        holder = Call(partial(hold_locks, store._client.of_this_process()))
        assert locked.wait(LONG)

        def reads_and_collects() -> bool:
            nonlocal store
            seen = store.read()
            del store
            gc.collect()
            return seen.token is not None

        assert is_true_in_child(reads_and_collects)
        release.set()
        holder.result()
        assert store.read().token is not None
