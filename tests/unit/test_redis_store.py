"""What the store in Redis promises beside the contract: keys, mistakes, words."""

from __future__ import annotations

import gc
import pickle
import socket
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import redis
import redis.asyncio
from cryptography.fernet import Fernet
from redis.crc import key_slot
from redis.sentinel import Sentinel

from tests.support.threads import LONG, Call, until
from turvo_session import Change, RedisStore, SettingsError, Slot
from turvo_session.redis_client import BoundedSocket, client_from_url, share_client
from turvo_session.redis_store import COMPANIONS, companion
from turvo_session.redis_trouble import describe_error
from turvo_session.secret import Secret

KEY = "turvo:auth_token"
PASSWORD = "redis-password-0001"
TOKEN = Slot(b'{"access_token": "3b_-secret-of-a-token"}', LONG)


def write(store: RedisStore, *slots: Slot | None) -> None:
    assert store.swap(store.read(), Change(*slots, wake=True))


@pytest.mark.parametrize(
    ("key", "beside"),
    [
        ("turvo:auth_token:{0123}", "turvo:auth_token:{0123}:NAME"),
        (KEY, "turvo:auth_token:NAME:{turvo:auth_token}"),
        ("a{b", "{a{b}:NAME"),
    ],
)
def test_all_keys_share_a_hash_slot_and_each_ends_with_its_value(
    redis_client: redis.Redis, redis_url: str, key: str, beside: str
) -> None:
    store = RedisStore.from_url(redis_url, key)
    for _ in range(3):
        write(store, Slot(b"a", 43200.0), Slot(b"b", 15.05), Slot(b"c", 900.0))
    keys = [key, *(beside.replace("NAME", name) for name in COMPANIONS)]
    assert {one.decode() for one in redis_client.scan_iter()} == set(keys)
    assert len({key_slot(one.encode()) for one in keys}) == 1
    for one, life in zip(keys, (43200.0, 15.05, 900.0, 3600.0), strict=True):
        assert life - 10 < redis_client.pttl(one) / 1000 <= life
    assert redis_client.xlen(keys[3]) == 1


def test_only_the_token_is_sealed(redis_client: redis.Redis, redis_url: str) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))

    def opened(key: str, *keys: str) -> bytes:
        seen = RedisStore.from_url(redis_url, key, encryption_keys=keys).read().token
        assert seen is not None
        return seen.value

    write(RedisStore.from_url(redis_url, KEY, encryption_keys=[old]), TOKEN, TOKEN)
    redis_client.set("other", redis_client.get(KEY) or b"", px=60_000)
    assert redis_client.get(companion(KEY, "lease")) == TOKEN.value
    assert b"secret" not in opened(KEY)
    assert opened(KEY, old) == opened(KEY, new, old) == TOKEN.value
    assert opened(KEY, new) == opened("other", old) == b"?"


LAST_ID = f"{2**64 - 1}-{2**64 - 1}"
DAMAGE: dict[str, Callable[[redis.Redis, str], object]] = {
    "a list": lambda client, key: client.rpush(key, "x"),
    "a stream": lambda client, key: client.xadd(key, {"x": "y"}),
    "64 MB": lambda client, key: client.setrange(key, (64 << 20) - 1, "x"),
    "binary": lambda client, key: client.set(key, bytes(range(256))),
    "empty": lambda client, key: client.set(key, ""),
    "last id": lambda client, key: client.xadd(key, {"w": ""}, LAST_ID),
    "10 MB entry": lambda client, key: client.xadd(key, {"w": "x" * 10_000_000}),
}


@pytest.mark.parametrize("has_life", [True, False], ids=["with a life", "without"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["", *COMPANIONS], ids=["token", *COMPANIONS])
def test_whatever_lies_at_a_key_is_read_and_replaced(
    redis_client: redis.Redis, redis_url: str, name: str, damage: str, has_life: bool
) -> None:
    key = companion(KEY, name) if name else KEY
    DAMAGE[damage](redis_client, key)
    if has_life:
        redis_client.expire(key, 100)
    store = RedisStore.from_url(redis_url, KEY)
    seen = store.read()
    for slot in (seen.token, seen.lease, seen.failure):
        assert slot is None or (slot.value == b"?" and has_life)
    assert store.swap(seen, Change(lease=TOKEN))
    seen = store.read()
    assert seen.version.reveal().wake_id  # there is a stream to wait for again
    waiter = Call(lambda: store.wait(seen, LONG))
    write(store, TOKEN, None, None)
    waiter.result()
    assert store.read().token == Slot(TOKEN.value, pytest.approx(LONG, abs=30))
    assert -1 not in {redis_client.ttl(one) for one in redis_client.scan_iter()}


@pytest.mark.parametrize("entry", ["last id", "10 MB entry"])
def test_a_waiter_looks_again_when_somebody_else_writes_to_the_stream(
    redis_client: redis.Redis, redis_url: str, entry: str
) -> None:
    store = RedisStore.from_url(redis_url, KEY)
    seen = store.read()
    waiter = Call(lambda: store.wait(seen, LONG))
    until(lambda: redis_client.info("clients")["blocked_clients"])
    DAMAGE[entry](redis_client, companion(KEY, "wake"))
    waiter.result()
    # It is not replaced yet, so every look is followed by a pause.
    start = time.monotonic()
    Call(lambda: store.wait(store.read(), LONG)).result()
    assert time.monotonic() - start > 0.09


URL = "must be a URL such as redis://"
HERE = f"://:{PASSWORD}@localhost"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("localhost:6379", URL),
        *((f"redis{HERE}{end}", URL) for end in (":port", "/turvo", "/0?db=1.5")),
        *((url, URL) for url in (f"http{HERE}", f"redis://:{PASSWORD}@[::1")),
        (f"redis{HERE}/0?socket_timeout=soon", URL),
        (f"redis{HERE}/0?timeout=3", "options those of redis-py"),
        (f"rediss{HERE}/0?ssl_cert_reqs={PASSWORD}", URL),
        (f"redis{HERE}/0\n", "must not hold a blank or a line end"),
        (f"redis://:{PASSWORD} @localhost/0", "must not hold a blank"),
        (f"redis{HERE}".encode(), "must be a string"),
    ],
    ids=range(12),
)
def test_a_wrong_url_is_told_without_it(url: Any, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RedisStore.from_url(url, KEY)
    assert complaint in str(caught.value)
    assert PASSWORD not in f"{caught.value!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    ("client", "key", "complaint"),
    [
        (f"redis://:{PASSWORD}@localhost", KEY, "RedisStore.from_url takes a URL"),
        (redis.Redis, KEY, "not the class itself"),
        (redis.asyncio.Redis(), KEY, "not one of redis.asyncio"),
        (redis.Redis().pipeline(), KEY, "not a pipeline"),
        (Sentinel([]), KEY, "sentinel.master_for"),
        (redis.Redis().pubsub(), KEY, "not what its pubsub"),
        (redis.Redis(), b"turvo", "must be a string"),
        (redis.Redis(), "", "must not be empty"),
        (redis.Redis(), " turvo", "begin or end with a blank"),
        (redis.Redis(), "turvo\n", "begin or end with a blank"),
    ],
)
def test_a_wrong_client_or_key_is_told(client: Any, key: Any, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        RedisStore(client, key)
    assert PASSWORD not in str(caught.value)


def test_a_store_is_named_by_its_key_and_is_not_pickled() -> None:
    store = RedisStore.from_url(f"redis://:{PASSWORD}@127.0.0.1:1/0", "a\udcff")
    assert repr(store) == r"<RedisStore a\udcff>"
    with pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(store)


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (f"redis://user:{PASSWORD}@redis.example:7000/3", "redis.example:7000"),
        (f"rediss://:{PASSWORD}@redis.example", "redis.example:6379"),
        (Sentinel([("a", 1)]).master_for("one\n"), "the Sentinel service one"),
    ],
)
def test_a_server_is_named_without_its_password(client: Any, server: str) -> None:
    how = client_from_url if isinstance(client, str) else share_client
    assert how(Secret(client)).server == server


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("ERR odd\x1b[31m\n" + 300 * "x", 'refused EVAL: "ERR odd [31m xxx'),
        ("ERR args '3b_-secret-of-a-token'", "its text repeats the command"),
    ],
    ids=range(2),
)
def test_a_reply_is_quoted(reply: str, words: str) -> None:
    error, given = redis.ResponseError(reply), [memoryview(TOKEN.value), 1]
    text = describe_error(error, "here", "EVAL", KEY, given)
    assert text.startswith("Redis at here ") and words in text
    assert text.isprintable() and len(text) < 300 and "secret" not in text


def test_a_command_that_could_not_be_sent_is_told_with_the_reason() -> None:
    error = redis.exceptions.DataError("odd")
    assert 'could not be asked EVAL: "odd"' in describe_error(error, "", "EVAL", "", [])


def test_a_store_closes_connections(redis_client: redis.Redis, redis_url: str) -> None:
    def names() -> list[str]:
        return [client["name"] for client in redis_client.client_list()]

    store = RedisStore.from_url(f"{redis_url}?client_name=of-the-store", KEY)
    store.read()
    assert "of-the-store" in names()
    del store
    gc.collect()
    until(lambda: "of-the-store" not in names())


def test_a_parser_that_reads_into_a_buffer_is_bounded_as_well() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bounded, buffer = BoundedSocket(ours), bytearray(8)
        theirs.sendall(b"+OK\r\n")
        assert bounded.recv_into(buffer) == 5
        assert buffer.startswith(b"+OK\r\n")


def test_a_connection_of_a_double_of_redis_is_used_as_it_is() -> None:
    """As that of fakeredis, whose socket is a queue."""
    double = Mock(_sock="a queue")
    client = client_from_url(Secret("redis://localhost")).of_this_process()
    client.connection_pool.connection_kwargs["redis_connect_func"](double)
    assert double._sock == "a queue"
    double.on_connect.assert_called_once_with()


def test_a_wait_outlasts_the_timeout_of_its_client(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, socket_timeout=0.3, protocol=2) as client:
        store = RedisStore(client, KEY)
        start = time.monotonic()
        store.wait(store.read(), 1.0)
        assert 0.99 < time.monotonic() - start < LONG / 2


def test_a_client_with_one_connection_for_all_threads_looks_now_and_then(
    redis_client: redis.Redis, redis_url: str
) -> None:
    redis_client.config_resetstat()
    options: dict[str, Any] = {"single_connection_client": True, "protocol": 2}
    with redis.Redis.from_url(redis_url, **options) as client:
        store = RedisStore(client, KEY)
        store.wait(store.read(), 0.5)
    assert 3 <= redis_client.info("commandstats")["cmdstat_xread"]["calls"] <= 7
