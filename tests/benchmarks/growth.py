"""What a fleet costs Redis and the token endpoint as it grows: commands and logins of
every token life.

The workers are children forked from one process, each with an auth and a Redis
connection of its own. They attach a token at their own pace and send nothing, so that
hundreds of them fit on a small machine.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import redis
import requests

from tests.benchmarks.herd import workers
from tests.benchmarks.peers import Ours, Site
from tests.benchmarks.server import Api, environ

LOGIN_SECONDS = 0.1
SPREAD = 0.01
"""Seconds, times the processes, within which they start: here all of them share a
processor or two."""


class Growth(NamedTuple):
    """A fleet of ``processes`` and what it cost.

    At the cold start, when there is no token and all of them begin: ``cold_logins`` of
    the fleet, ``cold`` Redis commands of a process. In each token life after that,
    renewal ahead of time and all: ``logins`` of the fleet, ``per_life`` commands of a
    process. ``handshake``: commands of a process when it connects.
    """

    processes: int
    cold_logins: int
    cold: float
    logins: float
    per_life: float
    handshake: float


def growth(
    api: Api, site: Site, processes: int, *, seconds: float = 3.0, lives: int = 2
) -> Growth:
    """Watch a fleet from its cold start until its token has been renewed ``lives``
    times.

    A token lives ``seconds``, and longer in a large fleet: a token's last tenth is when
    all look for another, and the few processors of one machine must play them all in
    that time.
    """
    token_life = seconds + processes / 40
    command = [
        sys.executable,
        "-m",
        "benchmarks.growth",
        str(processes),
        str(token_life),
        *site,
    ]
    pipe = subprocess.PIPE
    with (
        redis.Redis.from_url(site.redis_url) as client,
        subprocess.Popen(
            command, env=environ(), stdin=pipe, stdout=pipe, text=True
        ) as fleet,
    ):
        assert fleet.stdin is not None and fleet.stdout is not None
        fleet.stdout.readline()  # they are there
        client.flushall()
        client.config_resetstat()
        api.control(login_seconds=LOGIN_SECONDS, token_life=token_life, reset=True)
        fleet.stdin.write("go\n")
        fleet.stdin.flush()
        fleet.stdout.readline()  # all have a token
        cold, cold_logins = _sent(client), api.control(reset=True)["logins"]
        deadline = time.monotonic() + (lives + 5) * token_life
        while api.control()["logins"] < lives and time.monotonic() < deadline:
            time.sleep(token_life / 50)
        time.sleep(token_life / 4)  # the last of them learn of it
        after, logins = _sent(client), api.control()["logins"]
    api.control(login_seconds=0.0, token_life=43199.0)
    return Growth(
        processes,
        cold_logins,
        cold.commands / processes,
        logins / lives,
        (after.commands - cold.commands) / processes / lives,
        cold.handshake / processes,
    )


class CronRun(NamedTuple):
    """What a script that runs once and finds a token in Redis sends before its first
    API request."""

    commands: int
    handshake: int
    logins: int


def cron_run(api: Api, site: Site) -> CronRun:
    """A new process, one GET. What it sends to Redis is all sent before, there being
    nothing to say after."""
    with redis.Redis.from_url(site.redis_url) as client, workers(1) as (worker,):
        client.flushall()
        Ours(site).get()
        client.config_resetstat()
        api.control(reset=True)
        worker.say(make=Ours.title, site=site)
        worker.hear()
        worker.say(threads=1)
        worker.hear()
        worker.say(go=True)
        if worker.hear()["failed"]:
            raise RuntimeError("the request was not answered with 200")
        sent = _sent(client)
    return CronRun(sent.commands, sent.handshake, api.control()["logins"])


class _Sent(NamedTuple):
    commands: int
    handshake: int


def _sent(client: Any) -> _Sent:
    """What clients have sent: what the scripts call by themselves is not among it."""
    stats = client.info("commandstats")
    calls = {
        name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()
    }
    return _Sent(
        calls.get("eval", 0) + calls.get("xread", 0),
        sum(
            number
            for name, number in calls.items()
            if name.startswith(("client", "hello", "auth", "select"))
        ),
    )


def read_seconds(site: Site, *, rounds: int = 5, reads: int = 500) -> float:
    """Seconds of Redis's own time for reading a token, by its own account, in the best
    of the rounds."""
    ours = Ours(site)
    ours.auth.token()
    best = 1.0
    with redis.Redis.from_url(site.redis_url) as client:
        for _ in range(rounds):
            client.config_resetstat()
            for _ in range(reads):
                ours.auth.status()
            best = min(
                best, client.info("commandstats")["cmdstat_eval"]["usec_per_call"] / 1e6
            )
    return best


def _work(
    site: Site, token_life: float, spread: float, go: int, report: int, stop: int
) -> None:
    """One process: when ``go`` is closed a token, and then again and again until
    ``stop`` is closed."""
    random.seed(os.getpid())
    auth = Ours(site).auth
    request = requests.Request("GET", site.url).prepare()
    os.read(go, 1)
    time.sleep(random.uniform(0, spread))
    auth(request)
    os.write(report, b".")
    ended = threading.Event()
    threading.Thread(
        target=lambda: (os.read(stop, 1), ended.set()), daemon=True
    ).start()
    while not ended.wait(random.uniform(0.5, 1.5) * token_life / 50):
        request.hooks["response"].clear()
        auth(request)


def main(processes: int, token_life: float, site: Site) -> None:
    """Fork the workers, let them go when told, say when all have a token, end them with
    the input."""
    (go, goer), (told, report), (stop, stopper) = os.pipe(), os.pipe(), os.pipe()
    Ours(site).get()  # all is imported before the first fork
    children = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            os.close(goer)
            os.close(stopper)
            try:
                _work(site, token_life, processes * SPREAD, go, report, stop)
            finally:
                os._exit(0)
        children.append(child)
    print("they are there", flush=True)
    sys.stdin.readline()
    os.close(goer)
    heard = 0
    while heard < processes:
        heard += len(os.read(told, processes))
    print("all have a token", flush=True)
    sys.stdin.read()
    os.close(stopper)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Site(*sys.argv[3:]))
