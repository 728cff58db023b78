"""What can happen to a Redis, done to a real server, and how it ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import redis

from tests.support.fleet import Site, Worker, answers, go, until
from tests.support.fleet_worker import Call
from tests.support.proxies import Proxy


class FaultySite:
    """A site, the proxy through which its Redis is reached, and what is done to
    both."""

    def __init__(self, site: Site, proxy: Proxy | None = None) -> None:
        self.proxy = proxy
        self.server = site.server
        self.redis = site.redis

    def set(self, **options: Any) -> None:
        """Change the server's configuration."""
        for name, value in options.items():
            self.redis.config_set(name.replace("_", "-"), value)

    def load_slowly(self) -> None:
        """Have the server load its data again, and take its time."""
        filler = random.Random(0)
        for number in range(100):
            self.redis.set(f"filler:{number}", filler.randbytes(2000))
        self.set(key_load_delay=200_000)
        threading.Thread(target=self._reload, daemon=True).start()
        until(lambda: self.redis.info("persistence")["loading"])

    def finish_loading(self) -> None:
        """Let the server load at its own speed."""
        self.set(key_load_delay=0)
        until(lambda: not self.redis.info("persistence")["loading"])

    def drip(self, pause: float) -> None:
        """Pass on the answers byte by byte."""
        assert self.proxy
        self.proxy.drip = pause

    def _reload(self) -> None:
        with suppress(redis.RedisError), self.server.client() as client:
            client.execute_command("DEBUG", "RELOAD")


SERVER_OPTIONS = (
    "enable-debug-command yes",
    "loading-process-events-interval-bytes 1024",
)
"""What ``FaultySite`` needs of the server's configuration."""


class Fault(NamedTuple):
    """What is done to Redis, and what undoes it.

    ``at_start``: it is done before the workers begin. ``login`` is what their URL holds
    before the host.
    """

    hurt: Callable[[FaultySite], object]
    heal: Callable[[FaultySite], object]
    at_start: bool = False
    login: str = ""


FAULTS = {
    "down at the start": Fault(
        lambda at: at.server.kill(), lambda at: at.server.start(), at_start=True
    ),
    "killed, and back without data": Fault(
        lambda at: at.server.kill(), lambda at: at.server.start()
    ),
    "hung": Fault(lambda at: at.server.pause(), lambda at: at.server.resume()),
    "full": Fault(lambda at: at.set(maxmemory=1), lambda at: at.set(maxmemory=0)),
    "a read-only replica": Fault(
        lambda at: at.redis.replicaof("127.0.0.1", 1),
        lambda at: at.redis.replicaof("NO", "ONE"),
    ),
    "loading": Fault(FaultySite.load_slowly, FaultySite.finish_loading),
    "wrong password": Fault(
        lambda at: at.set(requirepass="other"),
        lambda at: at.set(requirepass="right"),
        at_start=True,
        login=":right@",
    ),
    "no right to run scripts": Fault(
        lambda at: at.redis.execute_command("ACL SETUSER default -@scripting"),
        lambda at: at.redis.execute_command("ACL SETUSER default +@scripting"),
    ),
    "dripping": Fault(lambda at: at.drip(0.1), lambda at: at.drip(0.0)),
}


def renew(site: Site, fleet: list[Worker], *, in_redis: bool = True) -> list[Call]:
    """Let the tokens of all processes expire, and have them call in two threads."""
    site.expire(in_redis=in_redis)
    return go(fleet, threads=2)


def recover(site: Site, worker: Worker) -> None:
    """Let a process renew its token until it has found out that Redis works again."""
    until(lambda: _is_recovered(site, worker))


def _is_recovered(site: Site, worker: Worker) -> bool:
    assert answers(renew(site, [worker])) == {200: 2}
    return bool(worker.events("StoreRecovered"))
