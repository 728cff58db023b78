"""Forward every shipment that is en route, once, to a webhook or to stdout (--help).

It needs TURVO_API_KEY, TURVO_USERNAME, TURVO_PASSWORD and REDIS_URL. Pollers can share
a Redis. What cannot be read, or is refused (400, 413, 422), is tried again by the next
poll, after all others. A shipment comes twice only if
- it is still en route two days later;
- the webhook took it, but did not answer 2xx within 60 seconds;
- its poller was killed, or held up for ten minutes, before it was marked in Redis;
- Redis failed or lost data, and the poller that set the mark has not polled since.
SIGTERM ends it within ten seconds. With --once, exit code 1 says that work is left.
"""

import argparse
import json
import logging
import os
import re
import runpy
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import redis
import requests

from turvo_session import TurvoSession

MARK_SECONDS, CLAIM_SECONDS, SEND_SECONDS, GRACE_SECONDS = 2 * 86_400, 600, 60, 3
DELIVERY = re.compile("1501|delivery", re.IGNORECASE)  # A type may have no key.
log = logging.getLogger("poller")


def find(value: object, *path: str) -> list:
    """Return all that is at a path, through lists, except what Turvo has deleted."""
    if isinstance(value, list):
        return [found for row in value for found in find(row, *path)]
    if isinstance(value, dict) and not value.get("deleted"):
        return find(value.get(path[0]), *path[1:]) if path else [value]
    return [value] if isinstance(value, str) and value and not path else []


def summary(shipment: dict) -> dict:
    """Return where a shipment goes next, and the phone of the driver assigned last."""
    stops = find(shipment, "globalRoute") or find(shipment, "customerOrder", "route")
    ahead = [stop for stop in stops if "COMPLETED" not in find(stop, "state")]
    delivery = [stop for stop in ahead if DELIVERY.search(str(find(stop, "stopType")))]
    drivers = reversed(find(find(shipment, "carrierOrder")[-1:], "drivers"))
    phones = [find(each, "phone") + find(each, "context", "phones") for each in drivers]
    found = {
        "custom_id": find(shipment, "customId"),
        "driver_phone": find(phones, "number"),
        "destination": find(delivery[:1], "address", "city"),
        "eta": find(delivery[:1], "etaToStop", "etaValue"),
    }
    return {name: values[0] if values else None for name, values in found.items()}


def send(webhook: str | None, batch: list[dict]) -> int:
    """Post a batch to a webhook, or write it to stdout. Return the webhook's status."""
    if webhook:
        options = {"timeout": (3, 30), "allow_redirects": False, "stream": True}
        post = partial(requests.post, webhook, json={"shipments": batch}, **options)
        try:  # In a thread: the timeouts limit the pauses between bytes, not their sum.
            with ThreadPoolExecutor(1).submit(post).result(SEND_SECONDS) as answer:
                return answer.status_code
        except OSError as error:  # Its text may show the URL, which may be a secret.
            raise OSError(f"the webhook: {type(error).__name__}") from None
    data = "".join(json.dumps(shipment) + "\n" for shipment in batch).encode()
    if (written := os.write(1, data)) < len(data):  # A full disk: leave no torn line.
        os.truncate(1, os.lseek(1, -written, os.SEEK_CUR))
        raise OSError("the disk is full")
    return 200


class Poller:
    """Forwards what is new by ``send(batch)``, which returns an HTTP status."""

    def __init__(self, session, redis_url, webhook, prefix="turvo", workers=8) -> None:
        self.session, self.send = session, partial(send, webhook)
        self.pool = ThreadPoolExecutor(workers)
        self.redis = redis.Redis.from_url(redis_url, socket_timeout=2)
        self.key = f"{prefix}:in_transit:{{}}".format
        self.marks, self.left = {}, []  # Its marks with their ends; the ids it claimed.

    def poll(self) -> bool:
        """Poll once. Return whether all is done; the log says what is not."""
        late, self.left, self.is_busy = self.left, [], threading.Lock()
        try:
            self.write_marks()
            rows = self.session.records("/shipments/list?status[eq]=2105", "shipments")
            for each in sorted((row.get("id") for row in rows), key=late.__contains__):
                self.pool.submit(self.claim, each).result()
            if found := list(filter(None, self.pool.map(self.read, self.left))):
                self.pool.submit(self.forward, found).result()
            log.info("%d new shipments read, %d left", len(found), len(self.left))
            return not self.left
        except (OSError, ValueError, redis.RedisError) as error:
            log.warning("the rest is left: %a", str(error))
            return False
        finally:
            self.is_busy.acquire(timeout=GRACE_SECONDS)  # A thread may claim or send.
            with suppress(redis.RedisError):
                self.redis.delete(*map(self.key, self.left))

    def claim(self, each: int) -> None:
        """Claim a shipment, if no other poller has. In a thread no signal strikes."""
        with self.is_busy:
            if self.redis.set(self.key(each), "claimed", nx=True, ex=CLAIM_SECONDS):
                self.left.append(each)

    def write_marks(self) -> None:
        """Mark what was forwarded, and do so again: Redis may have lost the marks."""
        self.marks = {key: end for key, end in self.marks.items() if end > time.time()}
        for key, end in self.marks.items():
            self.redis.set(key, "forwarded", ex=1 + int(end - time.time()))

    def read(self, shipment_id: int) -> dict | None:
        """Return what is to be forwarded of a shipment, or None after a failure."""
        try:
            details = self.session.details(f"/shipments/{shipment_id}")
            if details.get("id") != shipment_id:
                raise ValueError("Turvo's answer is about another shipment")
            return {"id": shipment_id, **summary(details)}
        except (OSError, ValueError) as error:
            log.warning("shipment %a is left: %a", shipment_id, str(error))

    def forward(self, batch: list[dict]) -> None:
        """Send a batch and mark it. Halve it if it is refused, to find out why."""
        with self.is_busy:
            status = self.send(batch)
            if 200 <= status < 300:
                for shipment in batch:
                    self.left.remove(shipment["id"])
                    self.marks[self.key(shipment["id"])] = time.time() + MARK_SECONDS
                return self.write_marks()
        if status not in (400, 413, 422):
            raise OSError(f"the webhook answered {status}")
        if len(batch) == 1:
            return log.warning("shipment %a is left: HTTP %s", batch[0]["id"], status)
        self.forward(batch[: len(batch) // 2])
        self.forward(batch[len(batch) // 2 :])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Forward shipments that are en route.")
    parser.add_argument("--webhook", help="where to send them; default: stdout")
    parser.add_argument("--every", type=float, default=15, help="minutes; default: 15")
    parser.add_argument("--once", action="store_true", help="poll once, then end")
    parser.add_argument("--prefix", default="turvo", help="of the keys in Redis")
    parser.add_argument("--workers", type=int, default=8, help="threads; default: 8")
    parser.add_argument("--demo", action="store_true", help="show a day in 20 seconds")
    if (given := parser.parse_args()).demo:
        runpy.run_module("demo", run_name="__main__")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        session, url = TurvoSession.from_env(), os.environ.get("REDIS_URL", "")
        poller = Poller(session, url, given.webhook, given.prefix, given.workers)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    is_done = False
    with suppress(KeyboardInterrupt):
        is_done = poller.poll()
        while not given.once:
            time.sleep(max(1, 60 * given.every))
            poller.poll()
    os._exit(given.once and not is_done)  # At once: threads may wait for the webhook.
