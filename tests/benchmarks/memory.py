"""What a process that has made many requests has left over: bytes, threads, open
files."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from typing import NamedTuple

import redis
import requests

from tests.benchmarks.peers import Ours, Site
from tests.benchmarks.server import environ


class Leftover(NamedTuple):
    """What a process has more of at the end than when it was warm: Python's bytes,
    threads, open files."""

    bytes: int
    threads: int
    files: int


def leftover(site: Site, calls: int, renewals: int, healed: int) -> Leftover:
    """Requests, logins because there is no token, and 401s healed by a login and a
    replay."""
    with redis.Redis.from_url(site.redis_url) as client:
        client.flushall()
    numbers = (str(number) for number in (calls, renewals, healed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", *site, *numbers],
        env=environ(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return Leftover(*json.loads(done.stdout))


def _work(ours: Ours, calls: int, renewals: int, healed: int) -> None:
    before = ours.auth.stats
    for _ in range(calls):
        ours.get()
    request = requests.Request("GET", ours.site.url).prepare()
    for _ in range(renewals):
        ours.auth.forget()
        request.hooks["response"].clear()
        ours.auth(request)
    for _ in range(healed):
        # The fleet makes three logins at once because of a 401; this allows the next.
        ours.auth.forget()
        ours.get()
        ours.session.post(f"{ours.site.base_url}/control", json={"revoke": True})
        ours.get()
    logins, replays = (
        getattr(ours.auth.stats, name) - getattr(before, name)
        for name in ("logins", "replays")
    )
    # A Redis that is starved of its processor may spoil a few.
    if logins < 0.9 * (renewals + 2 * healed) or replays < 0.9 * healed:
        raise RuntimeError(f"only {logins} logins and {replays} replays")


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


def main(site: Site, calls: int, renewals: int, healed: int) -> None:
    """Warm up, take stock, work, take stock again."""
    tracemalloc.start(1)
    ours = Ours(site)
    ours.get()
    _work(ours, min(200, calls), min(20, renewals), min(20, healed))
    gc.collect()
    before, threads, files = (
        tracemalloc.get_traced_memory()[0],
        threading.active_count(),
        _open_files(),
    )
    _work(ours, calls, renewals, healed)
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] - before
    print(json.dumps((left, threading.active_count() - threads, _open_files() - files)))


if __name__ == "__main__":
    main(Site(*sys.argv[1:3]), *map(int, sys.argv[3:]))
