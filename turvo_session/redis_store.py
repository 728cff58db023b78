"""The token in Redis (5 or newer, Valkey, Sentinel, Cluster), for many processes.

At ``key`` lies the token, as other scripts write and read it there. Beside it, in the
same hash slot, lie the lease, the failures and the wake stream (``companion``). Each
of the three values has its own time to live, and what has none is not used.

Two Lua scripts read and swap in one atomic step each. A swap is given the values that
its caller has seen, as the script itself shows them, and applies nothing if one of
them differs. A caller that waits reads the wake stream with ``XREAD BLOCK``. The
stream has one entry, and a snapshot knows its id, so that a wake-up between the
snapshot and the wait ends the wait at once.

The commands are EVAL and XREAD, and in the scripts GETRANGE, PTTL, XREVRANGE, SET,
PEXPIRE and XADD. An ACL must allow these eight, on the keys that begin with ``key``.
A command that is forbidden is met by the first read or swap of a login, before
anything is written and before another caller waits for it.

The scripts are part of this module, since a program frozen into one file has no other
files. They avoid what common doubles of Redis lack, such as ``redis.sha1hex``.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from .breaker import CircuitBreaker
from .deadline import BoundedCall
from .errors import SettingsError
from .redis_client import client_from_url, expect_reply_within, share_client
from .redis_trouble import (
    CommandRefused,
    NonsenseReply,
    ReplyTooLong,
    describe_error,
    describe_silence,
    is_client_error,
    is_lost_connection,
)
from .sealing import Keyring, Sealing
from .secret import Hidden, Secret
from .store import KEEP, Change, Slot, Snapshot, StoreError
from .text import printable

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds after which a silent Redis counts as out of order, unless told otherwise."""
COMPANIONS = ("lease", "failures", "wake")
"""What is kept beside the token."""
PAUSE = 0.1
"""Seconds between two looks at the stream where nothing may block."""

LOOK = r"""
-- The text of an error, or nil. fakeredis has it as another kind of object.
local function text_of(reply)
  return type(reply) == 'table' and reply.err and tostring(reply.err)
end

-- Redis 7.0 does not say which command of a script it refuses: remember it.
local refused
local function try(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  local text = text_of(reply)
  if text and not text:find('WRONGTYPE', 1, true) then
    refused = refused or {'refused', command, key, text}
  end
  return reply
end

-- The id of the last wake-up. A stream that we did not write has none ('').
local function last_wake()
  local last = try('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)
  if text_of(last) then return '' end
  if #last == 0 then return '0-0' end
  local id, fields = last[1][1], last[1][2]
  local ours = #fields == 2 and fields[1] == 'w' and fields[2] == ''
  if ours and id:find('^%d+%-%d+$') and id:find('-', 1, true) <= 14 then return id end
  return ''
end

-- The three values, each with its milliseconds, and the last wake-up. What is not
-- visible ASCII of a sane size (another type, 64 MB, binary) is '?': nobody can use
-- it, and a swap replaces it.
local function look()
  local seen = {}
  for i = 1, 3 do
    local value = try('GETRANGE', KEYS[i], 0, 65535)
    if type(value) ~= 'string' or #value > 65535 or value:find('[^\32-\126]') then
      value = '?'
    end
    seen[2 * i - 1] = value
    seen[2 * i] = try('PTTL', KEYS[i])
  end
  seen[7] = last_wake()
  return refused or seen
end
"""

READ = LOOK + "return look()"

SWAP = (
    LOOK
    + r"""
-- ARGV: the three values that were seen; then for each of them a new value and its
-- milliseconds (0: remove it, below 0: keep it); then 1 to wake the waiters.
local seen = look()
if refused then return refused end
for i = 1, 3 do
  if seen[2 * i - 1] ~= ARGV[i] then return 0 end
end

-- Find out now whether the server is full, or a wake-up forbidden, and not when others
-- wait already. This id is never valid, so that nothing is added.
local text = text_of(redis.pcall('XADD', KEYS[4], '0-0', 'w', ''))
if text and not text:find('ID', 1, true) and not text:find('WRONGTYPE', 1, true) then
  -- A full server can still remove a lease that others would wait for.
  if ARGV[7] == '0' then redis.pcall('PEXPIRE', KEYS[2], 0) end
  return {'refused', 'XADD', KEYS[4], text}
end
try('PEXPIRE', KEYS[4], 3600000)

for i = 1, 3 do
  local value, life = ARGV[2 * i + 2], tonumber(ARGV[2 * i + 3])
  if refused then return refused end
  if life > 0 then try('SET', KEYS[i], value, 'PX', life) end
  if life == 0 then try('PEXPIRE', KEYS[i], 0) end
end

-- What somebody else wrote there would hold up the waiters, and can be of another type
-- or have the last possible id: replace it.
local is_foreign = seen[7] == ''
if is_foreign then redis.pcall('PEXPIRE', KEYS[4], 0) end
if ARGV[10] == '1' or is_foreign then
  try('XADD', KEYS[4], 'MAXLEN', 1, '*', 'w', '')
  try('PEXPIRE', KEYS[4], 3600000)
end
return refused or 1
"""
)

_VALUE = re.compile(rb"[\x20-\x7e]{0,65535}").fullmatch
_WAKE_ID = re.compile(rb"(?:\d{1,20}-\d{1,20})?").fullmatch


class RedisStore(Hidden):
    """A store at ``key`` in Redis, for every process that uses the same key.

    ``client``: a ``redis.Redis``, the ``master_for(...)`` of a Sentinel, or a
    ``RedisCluster``; give it timeouts. Where it would try again by itself, the store
    uses a client like it that reports the first error. ``encryption_keys``: Fernet
    keys (extra ``encryption``); the first one writes, all of them read.

    Trouble of any kind is a ``StoreError`` that says what to check. The first one of
    an outage takes up to a second, the others none until Redis works again.

    Raises ``SettingsError`` for a client, a key or encryption keys of the wrong kind.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        key: str,
        *,
        encryption_keys: Iterable[str] | Keyring = (),
    ) -> None:
        hidden, keys = Secret(client), Secret(encryption_keys)
        del client, encryption_keys  # error trackers show the locals of a traceback
        ring = Keyring(keys.reveal())
        if not isinstance(key, str):
            raise SettingsError("the key of a RedisStore must be a string")
        if not key or key != key.strip():
            raise SettingsError(
                "the key of a RedisStore must not be empty, nor begin or end with a "
                "blank or a line end"
            )
        self._client = share_client(hidden)
        self._key = key
        names = (key, *(companion(key, name) for name in COMPANIONS))
        # os.environ escapes what is not UTF-8 in an environment.
        self._keys = [name.encode(errors="surrogateescape") for name in names]
        self._sealing = None
        if ring.keys:
            self._sealing = Sealing(ring, key)
        self._breaker = CircuitBreaker(slowest=PATIENCE)
        self._of_thread = threading.local()

    @classmethod
    def from_url(
        cls, url: str, key: str, *, encryption_keys: Iterable[str] | Keyring = ()
    ) -> RedisStore:
        """Return a store at a ``redis://``, ``rediss://`` or ``unix://`` URL.

        Nothing is connected yet. Raises ``SettingsError`` for any other URL.
        """
        hidden, keys = Secret(url), Secret(encryption_keys)
        del url, encryption_keys
        ring = Keyring(keys.reveal())
        client: Any = client_from_url(hidden)
        return cls(client, key, encryption_keys=ring)

    def read(self) -> Snapshot:
        """Return what is held now."""
        at = time.monotonic()
        return self._carry_out_bounded("EVAL", lambda: self._read_snapshot(at))

    def swap(self, seen: Snapshot, change: Change) -> bool:
        """Apply ``change`` and return True, unless a value differs from ``seen``."""
        sent: list[memoryview | int]
        sent = [memoryview(value) for value in seen.version.reveal().values]
        sent += self._value_and_life(change.token, seal=True)
        sent += self._value_and_life(change.lease)
        sent += self._value_and_life(change.failure)
        sent.append(int(change.wake))

        def compare_and_set() -> bool:
            reply = self._evaluate_script(SWAP, sent)
            if reply not in (0, 1):
                raise NonsenseReply
            return bool(reply)

        return self._carry_out_bounded("EVAL", compare_and_set, sent=sent)

    def wait(self, seen: Snapshot, seconds: float) -> None:
        """Return when woken after ``seen``, or after ``seconds``."""
        wake_id = seen.version.reveal().wake_id
        longest = self._client.longest_block
        due = time.monotonic() + seconds
        left = seconds
        while not (wake_id and self._wait_for_stream(wake_id, min(left, longest))):
            left = due - time.monotonic()
            if left <= 0.0:
                return
            if not wake_id:
                # Somebody else wrote to the stream. The next swap repairs it, and a
                # caller that returns early looks again.
                time.sleep(min(left, PAUSE))
                return
            if not longest:
                time.sleep(min(left, PAUSE))

    def be_patient(self, seconds: float) -> None:
        """Let each command of this thread take up to ``seconds`` from now on."""
        self._of_thread.patience = seconds

    def try_again(self) -> None:
        """Let the next command through, even if Redis is known to be out of order."""
        self._breaker.try_again()

    def __repr__(self) -> str:
        key = self._key.encode(errors="backslashreplace").decode()
        return f"<RedisStore {key}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a RedisStore holds the Redis password and cannot be pickled; make one in "
            "each process"
        )

    def _carry_out_bounded(
        self,
        command: str,
        call: Callable[[], T],
        *,
        key: str = "",
        block: float = 0.0,
        sent: Sequence[memoryview | int] = (),
    ) -> T:
        """Return what ``call()`` does, within ``block`` seconds and our patience.

        Raises ``StoreError`` for whatever the client raises, and during an outage.
        """
        patience: float = getattr(self._of_thread, "patience", PATIENCE)
        allowed = block + self._breaker.admit_command(patience)
        running = BoundedCall(
            lambda: self._ask_again_if_lost(call, block, patience), is_client_error
        )
        trouble = ""
        if not running.finish_within(allowed):
            trouble = describe_silence(self._client.server, command, allowed)
        elif running.error is not None:
            trouble = describe_error(
                running.error, self._client.server, command, key or self._key, sent
            )
        if trouble:
            del running  # its error may hold a part of a reply
            self._breaker.note_failure(trouble)
            raise StoreError(trouble)
        return running.value

    def _ask_again_if_lost(
        self, call: Callable[[], T], block: float, patience: float
    ) -> T:
        """Return ``call()``, made once more if the connection or the answer is lost.

        A swap whose first answer was lost is then seen to have been applied.
        """
        due = time.monotonic() + block + patience
        try:
            return self._ask_and_time(call, block + patience / 2)
        except Exception as error:
            if not is_lost_connection(error) or time.monotonic() >= due:
                raise
        return self._ask_and_time(call, due - time.monotonic())

    def _ask_and_time(self, call: Callable[[], T], seconds: float) -> T:
        """Return ``call()``, whose replies are due within ``seconds``."""
        start = time.monotonic()
        expect_reply_within(seconds)
        result = call()
        # Also if nobody waits for it any more: late is not lost.
        self._breaker.note_success(time.monotonic() - start)
        return result

    def _read_snapshot(self, at: float) -> Snapshot:
        """Return what the script for reading shows.

        Raises ``NonsenseReply`` if that is not what the script returns: the server is
        not Redis, or something between has changed its answer.
        """
        reply = self._evaluate_script(READ, ())
        if not isinstance(reply, list) or len(reply) != 7:
            raise NonsenseReply
        version = Secret(_version_in_reply(reply))
        lives = reply[1:6:2]
        token, lease, failures = map(_slot_in_reply, version.reveal().values, lives)
        if token and self._sealing:
            token = Slot(self._sealing.open(token.value), token.left)
        return Snapshot(at, token, lease, failures, version)

    def _evaluate_script(
        self, script: str, arguments: Sequence[memoryview | int]
    ) -> Any:
        """Return the reply to a script.

        Raises ``CommandRefused`` if the script reports that. No exception takes this
        frame along, which holds the reply and the client: see ``BoundedCall``.
        """
        client = self._client.of_this_process()
        number_of_keys = len(self._keys)
        reply = client.execute_command(
            "EVAL", script, number_of_keys, *self._keys, *arguments
        )
        if isinstance(reply, list) and len(reply) == 4:
            raise CommandRefused(*map(printable, reply[1:]))
        return reply

    def _wait_for_stream(self, wake_id: bytes, block: float) -> bool:
        """Return whether there is a wake-up after ``wake_id``.

        Waits for it for up to ``block`` seconds; with 0 it only looks.
        """
        due = time.monotonic() + block

        def read_stream() -> bool:
            options: dict[str, int] = {}
            if block:
                left = due - time.monotonic()
                options["block"] = max(1, math.ceil(left * 1000))
            try:
                client = self._client.of_this_process()
                return bool(client.xread({self._keys[3]: wake_id}, count=1, **options))
            except ReplyTooLong:
                return True  # an entry, although not ours

        stream = companion(self._key, "wake")
        return self._carry_out_bounded("XREAD", read_stream, key=stream, block=block)

    def _value_and_life(
        self, slot: Slot | None, *, seal: bool = False
    ) -> list[memoryview | int]:
        """Return what the script is told to write: a value, and its milliseconds.

        Tracers print the arguments of commands, but not what is in a buffer.
        """
        if slot is KEEP:
            return [memoryview(b""), -1]
        if slot is None:
            return [memoryview(b""), 0]
        life = max(1, int(slot.left * 1000))
        if seal and self._sealing:
            return [memoryview(self._sealing.seal(slot.value)), life]
        return [memoryview(slot.value), life]


class _SeenVersion(NamedTuple):
    """What was held, as the scripts see it, and the id of the last wake-up."""

    values: tuple[bytes, ...]
    wake_id: bytes


def companion(key: str, name: str) -> str:
    """Return the key of the lease, the failures or the stream beside the token's.

    It begins with ``key``, so that an ACL by prefix covers it, and shares its hash
    slot. Only where ``key`` has braces that are no hash tag it cannot do both.
    """
    _, brace, rest = key.partition("{")
    if brace and rest.find("}") > 0:
        return f"{key}:{name}"
    if "{" in key or "}" in key:
        return f"{{{key}}}:{name}"
    return f"{key}:{name}:{{{key}}}"


def _version_in_reply(reply: list[Any]) -> _SeenVersion:
    """Return what a later swap compares, and where a later wait begins."""
    *values, wake_id = map(_bytes_of_part, reply[0:7:2])
    if not all(map(_VALUE, values)) or not _WAKE_ID(wake_id):
        raise NonsenseReply
    return _SeenVersion(tuple(values), wake_id)


def _bytes_of_part(part: Any) -> bytes:
    """Return a part of a reply, whether or not the client decodes replies."""
    if isinstance(part, str):
        part = part.encode()
    if not isinstance(part, bytes):
        raise NonsenseReply
    return part


def _slot_in_reply(value: bytes, milliseconds: Any) -> Slot | None:
    """Return a value with its life; ``None`` if it has no end and would be for ever."""
    if not isinstance(milliseconds, int):
        raise NonsenseReply
    if value and milliseconds > 0:
        return Slot(value, milliseconds / 1000)
    return None
