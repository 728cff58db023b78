"""Encryption at rest: who has a key reads, everybody else sees a value to be replaced."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from cryptography.fernet import Fernet, MultiFernet
from leaks import PACKAGE

from turvo_session import RedisStore, SettingsError, TurvoAuth
from turvo_session.events import Event, ValueUnusable
from turvo_session.sealing import UNREADABLE, Keyring, Sealing
from turvo_session.testing import FakeTurvo

KEY = "turvo:auth_token"
ONE, TWO, THREE = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def auth(turvo: FakeTurvo, redis_url: str) -> Callable[..., TurvoAuth]:
    """Makes an auth as a process with these keys would have it."""

    def make(*keys: str, heard: list[Event] | None = None, key: str = KEY) -> TurvoAuth:
        environ = {
            "REDIS_URL": redis_url,
            "TURVO_TOKEN_KEY": key,
            "TURVO_TOKEN_ENCRYPTION_KEYS": ",".join(keys),
        }
        listener = None if heard is None else heard.append
        return TurvoAuth.from_env({**turvo.environ, **environ}, on_event=listener)

    return make


def unusable(heard: list[Event]) -> int:
    """How often the value was told to be unusable."""
    return sum(isinstance(event, ValueUnusable) for event in heard)


# The value


@pytest.mark.parametrize(
    ("write", "read", "readable"),
    [
        ([ONE], [ONE], True),
        ([ONE], [TWO, ONE], True),  # a new key is handed out, and writes
        ([TWO, ONE], [ONE, TWO], True),  # in any order, half way
        ([TWO, ONE], [TWO], True),  # the old one is taken away
        ([TWO, ONE], [ONE], False),  # the first one writes
        ([ONE], [TWO, THREE], False),
    ],
)
def test_rotation(write: list[str], read: list[str], readable: bool) -> None:
    """The first key writes, every key reads."""
    sealed = Sealing(Keyring(write), KEY).seal(b"value")
    assert b"value" not in sealed
    assert Sealing(Keyring(read), KEY).open(sealed) == (b"value" if readable else UNREADABLE)


@pytest.mark.parametrize("name", ["turvo:auth_tokens", "turvo:auth_toke", "", "another"])
def test_a_value_is_bound_to_its_key(name: str) -> None:
    """One that was copied to another key is as good as none."""
    ring = Keyring([ONE])
    sealed = Sealing(ring, KEY).seal(b"s: value")
    assert Sealing(ring, name).open(sealed) == UNREADABLE


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"?",
        b"{}",
        b'{"access_token": "abc"}',
        b"gAAAA",
        "ä".encode(),
        Fernet(ONE).encrypt(b"value"),  # by another program
        Sealing(Keyring([ONE]), KEY).seal(b"value")[:-4],
        Sealing(Keyring([ONE]), KEY).seal(b"value").swapcase(),
    ],
    ids=range(9),
)
def test_what_was_not_sealed_by_us_is_unreadable(sealed: bytes) -> None:
    """Nothing is taken for a value that does not carry our signature, and our name for it."""
    assert Sealing(Keyring([ONE]), KEY).open(sealed) == UNREADABLE


def test_only_the_sealed_token_is_in_redis(
    auth: Callable[..., TurvoAuth], redis_client: redis.Redis, turvo: FakeTurvo
) -> None:
    """What is stored opens with the first key, and lives as long as the token."""
    token = auth(TWO, ONE).token()
    stored = redis_client.get(KEY)
    assert token.access_token.encode() not in stored
    name, _, value = Fernet(TWO).decrypt(stored).partition(b"\0")
    assert name.decode() == KEY
    assert json.loads(value)["access_token"] == token.access_token
    assert 0 < turvo.token_life * 1000 - redis_client.pttl(KEY) < 60_000


# The fleet


def test_processes_with_a_key_share_the_token(auth: Callable[..., TurvoAuth], turvo: FakeTurvo) -> None:
    """Eight threads of four processes, in the middle of a rotation: one login; one more when it is dropped."""
    turvo.login_seconds = 0.2
    for logins in (1, 2):
        auths = [auth(*keys) for keys in [(ONE,), (ONE, TWO), (ONE,), (ONE, THREE)]]
        with ThreadPoolExecutor(8) as pool:
            tokens = set(pool.map(lambda one: one.token().access_token, 2 * auths))
        assert (len(tokens), turvo.logins) == (1, logins)
        auths[0].forget()


def test_a_copied_value_is_replaced(
    auth: Callable[..., TurvoAuth], redis_client: redis.Redis, turvo: FakeTurvo
) -> None:
    """A token that was copied to another user's key is not used there."""
    token = auth(ONE).token()
    redis_client.copy(KEY, "turvo:another")
    assert auth(ONE, key="turvo:another").token().access_token != token.access_token
    assert turvo.logins == 2


@pytest.mark.parametrize(("before", "after"), [([ONE], []), ([], [ONE]), ([ONE], [TWO])])
def test_a_process_with_another_key_heals_the_value(
    before: list[str], after: list[str], auth: Callable[..., TurvoAuth], turvo: FakeTurvo
) -> None:
    """Without the key, or with the first one ever, a process logs in once and shares that token."""
    old = auth(*before)
    old.token()
    heard: list[Event] = []
    new = auth(*after, heard=heard)
    assert new.token().access_token == auth(*after).token().access_token
    assert turvo.logins == 2
    assert unusable(heard) == 1
    assert old.token()  # what it holds is good, whatever Redis holds
    assert turvo.logins == 2


@pytest.mark.parametrize(
    "value", ["no JSON", "{}", '{"access_token": "in\\ntwo"}', "[1]", "x" * 100_000, "\0", []]
)
@pytest.mark.parametrize("keys", [[], [ONE]], ids=["open", "sealed"])
def test_a_bad_value_is_told_once(
    value: str | list[str],
    keys: list[str],
    auth: Callable[..., TurvoAuth],
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With one warning, not one per read; and again when another one comes after a good one."""
    heard: list[Event] = []
    process = auth(*keys, heard=heard)
    for times in (1, 2):
        redis_client.delete(KEY)
        if isinstance(value, list):
            redis_client.rpush(KEY, "a list")
            redis_client.expire(KEY, 60)
        else:
            redis_client.set(KEY, value, ex=60)
        caplog.clear()
        for _ in range(3):
            assert process.status().state == "none"
        assert unusable(heard) == times
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert KEY in warning
        assert auth(*keys).token()
        assert process.status().state == "fresh"


@pytest.mark.parametrize("value", ["", None])
def test_no_value_is_no_bad_value(
    value: str | None, auth: Callable[..., TurvoAuth], redis_client: redis.Redis
) -> None:
    """Nobody is warned of what is not there."""
    if value is not None:
        redis_client.set(KEY, value, ex=60)
    heard: list[Event] = []
    assert auth(ONE, heard=heard).token()
    assert unusable(heard) == 0


# Settings


@pytest.mark.parametrize(
    "wrong",
    ["short", ONE[:-1], "AAAA" + ONE, "ä" * 44, "correct horse battery staple"],
    ids=["short", "cut", "long", "no ASCII", "words"],
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_wrong_key_is_named_by_its_number(wrong: str, number: int, auth: Callable[..., TurvoAuth]) -> None:
    """At once, by the variable, with what makes a key: a command that does."""
    keys = [ONE, TWO]
    keys[number - 1] = wrong
    with pytest.raises(SettingsError, match=rf"TURVO_TOKEN_ENCRYPTION_KEYS: number {number} is no") as caught:
        auth(*keys)
    assert wrong not in str(caught.value)
    command = re.search(r"python -c '(.*)'", str(caught.value))
    made = subprocess.run([sys.executable, "-c", command[1]], capture_output=True, text=True, check=True)
    assert auth(made.stdout.strip()).token()


def test_keys_that_are_no_text_are_refused(redis_client: redis.Redis) -> None:
    """Also where they come as arguments."""
    with pytest.raises(SettingsError, match="number 2 is no Fernet key"):
        RedisStore(redis_client, KEY, encryption_keys=[ONE, 5])  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["", " ", ",", f"{ONE},", f" {ONE} , {TWO} "], ids=range(5))
def test_blanks_between_keys_do_not_matter(
    text: str, auth: Callable[..., TurvoAuth], redis_client: redis.Redis
) -> None:
    """And where there is no key, nothing is sealed."""
    assert auth(text).token()
    stored = redis_client.get(KEY)
    assert stored.startswith(b"gAAAA" if text.strip(", ") else b"{")


_WITHOUT = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from turvo_session import SettingsError, TurvoAuth
try:
    print("made", len(TurvoAuth.from_env().token().access_token))
except SettingsError as error:
    print("refused", error)
"""


@pytest.mark.parametrize(
    ("keys", "printed"),
    [
        ("", "made 40"),
        (ONE, "refused TURVO_TOKEN_ENCRYPTION_KEYS: .* missing: pip install 'turvo_session\\[encryption\\]'"),
    ],
    ids=["no keys", "keys"],
)
def test_the_package_is_needed_for_keys_only(
    keys: str, printed: str, turvo: FakeTurvo, redis_url: str
) -> None:
    """Without ``cryptography`` a process that has no keys works, and one that has is told what to install."""
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_ENCRYPTION_KEYS": keys}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT],
        env={**environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(printed, done.stdout.strip())


def test_without_the_package_keys_are_refused_before_the_store_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the constructor, also where the client is one's own."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(SettingsError, match="pip install"):
        RedisStore(redis.Redis(), KEY, encryption_keys=[ONE])


def test_rotation_is_the_one_of_the_package() -> None:
    """What was sealed can be opened, and sealed anew, by the usual means of ``cryptography``."""
    sealed = Sealing(Keyring([ONE]), KEY).seal(b"value")
    rotated = MultiFernet([Fernet(TWO), Fernet(ONE)]).rotate(sealed)
    assert Sealing(Keyring([TWO]), KEY).open(rotated) == b"value"
