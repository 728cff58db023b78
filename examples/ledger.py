"""What has been forwarded: claims and marks in Redis, shared by all pollers.

The key of a shipment is ``<prefix>:in_transit:{shipment_id}``. A *claim* is set with NX
while one poller forwards the shipment; it ends by itself if that poller dies. A *mark*
says that the shipment was forwarded, and stays for two days.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

CLAIM_SECONDS = 120
"""Longer than a webhook may take, so that no claim ends while its poller works."""

MARK_SECONDS = 2 * 24 * 3600

REDIS_TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 3}

RELEASE_SCRIPT = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
"""


class Ledger:
    """The claims and marks as one poller sees them.

    Without a ``url`` it knows only what this poller has forwarded itself. Its methods
    raise ``redis.RedisError`` if Redis does not work.
    """

    def __init__(self, url: str | None, prefix: str) -> None:
        self.redis: Any = None
        if url:
            no_retry = Retry(NoBackoff(), 0)
            self.redis = redis.Redis.from_url(url, retry=no_retry, **REDIS_TIMEOUTS)
        self.prefix = prefix
        self.claim_value = json.dumps({"claimed_by": uuid4().hex})
        self.marks: dict[int, tuple[float, str]] = {}
        """What this poller has forwarded: the end of the mark, and its text."""

    def repeat_marks(self) -> None:
        """Write this poller's marks again: Redis may have been down, or lost them."""
        now = time.monotonic()
        self.marks = {
            shipment_id: mark
            for shipment_id, mark in self.marks.items()
            if now < mark[0]
        }
        if self.redis:
            # Also when there is nothing to write: a poll needs a Redis that works.
            self.redis.ping()

        def write_mark(pipe: Any, key: str, shipment_id: int) -> None:
            """Set a mark for what is left of its two days."""
            end, text = self.marks[shipment_id]
            pipe.set(key, text, ex=math.ceil(end - now))

        self._run_for_each(self.marks, write_mark)

    def find_new_ids(self, ids: Iterable[int]) -> list[int]:
        """Return the shipments that no poller has claimed or marked."""
        unknown = [shipment_id for shipment_id in ids if shipment_id not in self.marks]

        def ask_for_key(pipe: Any, key: str, _: int) -> None:
            """Ask whether somebody has set the key."""
            pipe.exists(key)

        answers = self._run_for_each(unknown, ask_for_key)
        return [shipment_id for shipment_id, there in answers if not there]

    def take_claims(self, ids: Iterable[int]) -> list[int]:
        """Claim shipments; return those that no other poller has claimed or marked."""

        def write_claim(pipe: Any, key: str, _: int) -> None:
            """Set a claim, if the key is free."""
            pipe.set(key, self.claim_value, nx=True, ex=CLAIM_SECONDS)

        answers = self._run_for_each(ids, write_claim)
        return [shipment_id for shipment_id, set_ in answers if set_ or not self.redis]

    def release_claims(self, ids: Iterable[int]) -> None:
        """Give back this poller's claims, and no other poller's claim or mark."""

        def delete_claim(pipe: Any, key: str, _: int) -> None:
            """Delete a key, if its value is this poller's claim."""
            pipe.eval(RELEASE_SCRIPT, 1, key, self.claim_value)

        self._run_for_each(ids, delete_claim)

    def mark_forwarded(self, shipments: Iterable[dict[str, Any]]) -> None:
        """Write down that these shipments were forwarded."""
        end = time.monotonic() + MARK_SECONDS
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for shipment in shipments:
            note = {
                "forwarded_at": now,
                "custom_id": shipment["custom_id"],
                "eta": shipment["eta"],
            }
            self.marks[shipment["id"]] = (end, json.dumps(note))
        self.repeat_marks()

    def _run_for_each(
        self,
        ids: Iterable[int],
        command: Callable[[Any, str, int], object],
    ) -> list[tuple[int, Any]]:
        """Run a command on the key of each shipment, all in one round trip.

        Returns the ids, each with the answer of Redis (``None`` without Redis).
        """
        wanted = list(ids)
        if not self.redis:
            return [(shipment_id, None) for shipment_id in wanted]
        with self.redis.pipeline(transaction=False) as pipe:
            for shipment_id in wanted:
                key = f"{self.prefix}:in_transit:{shipment_id}"
                command(pipe, key, shipment_id)
            return list(zip(wanted, pipe.execute(), strict=True))
