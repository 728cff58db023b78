"""What pollers have forwarded: claims and marks in Redis, at ``<prefix>:in_transit:{shipment_id}``.

A *claim* (``SET NX``) says that somebody is forwarding a shipment; it ends by itself, should that somebody die.
A *mark* says that it was forwarded; it stays for two days.
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

CLAIM_SECONDS = 120  # more than a webhook may take
MARK_SECONDS = 2 * 24 * 3600
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Ledger:
    """One poller's view of it. ``url`` None: it knows only of itself. Raises ``redis.RedisError``."""

    def __init__(self, url: str | None, prefix: str) -> None:
        self.redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) if url else None
        self.prefix = prefix
        self.claim_value = json.dumps({"claimed_by": uuid4().hex})
        self.done: dict[int, tuple[float, str]] = {}  # what we forwarded: the end of the mark, the mark

    def tell(self) -> None:
        """Put our marks into Redis, which may have been down when they were made, or have lost them."""
        now = time.monotonic()
        self.done = {i: (end, mark) for i, (end, mark) in self.done.items() if now < end}
        if self.redis:
            self.redis.ping()  # also when there is nothing to tell: whoever asks wants to know

        def put(pipe: Any, key: str, i: int) -> None:
            end, mark = self.done[i]
            pipe.set(key, mark, ex=math.ceil(end - now))

        self._each(self.done, put)

    def new(self, ids: Iterable[int]) -> list[int]:
        """Those that nobody has claimed or marked."""
        unknown = [i for i in ids if i not in self.done]
        return [i for i, there in self._each(unknown, lambda pipe, key, _: pipe.exists(key)) if not there]

    def claim(self, ids: Iterable[int]) -> list[int]:
        """Those that are now ours to forward."""
        claim: dict[str, Any] = {"value": self.claim_value, "nx": True, "ex": CLAIM_SECONDS}
        answers = self._each(ids, lambda pipe, key, _: pipe.set(key, **claim))
        return [i for i, ours in answers if ours or not self.redis]

    def release(self, ids: Iterable[int]) -> None:
        """Give back the claims that are still ours."""
        self._each(ids, lambda pipe, key, _: pipe.eval(RELEASE, 1, key, self.claim_value))

    def mark(self, shipments: Iterable[dict[str, Any]]) -> None:
        """Note that these were forwarded."""
        end, now = time.monotonic() + MARK_SECONDS, datetime.now(UTC).isoformat(timespec="seconds")
        for s in shipments:
            note = {"forwarded_at": now, "custom_id": s["custom_id"], "eta": s["eta"]}
            self.done[s["id"]] = (end, json.dumps(note))
        self.tell()

    def _each(self, ids: Iterable[int], command: Callable[[Any, str, int], object]) -> list[tuple[int, Any]]:
        """The ids, each with Redis's answer to the command on its key; all in one round trip."""
        wanted = list(ids)
        if not self.redis:
            return [(i, None) for i in wanted]
        with self.redis.pipeline(transaction=False) as pipe:
            for i in wanted:
                command(pipe, f"{self.prefix}:in_transit:{i}", i)
            return list(zip(wanted, pipe.execute(), strict=True))
