"""What is raised in the caller's thread comes out at once, whatever it waits for.

Each situation holds a call up for as long as the test lets it, so an exception that
comes out has not waited for the end of the situation.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple

from tests.support.fleet import (
    LEASE,
    Site,
    answers,
    rows_at_once,
    run_python,
    separate_site,
    trouble,
    until,
)
from tests.support.proxies import Proxy

OWNER = b"0123456789abcdef"
SIGNALS = {"KeyboardInterrupt": signal.SIGINT, "TimeIsUp": signal.SIGALRM}
UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()
try:
    with gevent.Timeout(1.0):
        auth.token()
except gevent.Timeout:
    print("Timeout", auth.stats.store_errors, auth.stats.logins)
"""


class Obstacle(NamedTuple):
    """What holds a call up: whether it does so yet, and how to take it away."""

    is_met: Callable[[], object]
    remove: Callable[[], object]


def hold_login(site: Site, _: Proxy) -> Obstacle:
    """Hold the next login up."""
    hold = site.turvo.hold()
    return Obstacle(hold.arrived.is_set, hold.released.set)


def lead_elsewhere(site: Site, _: Proxy) -> Obstacle:
    """Let another process lead, or so it seems."""
    site.redis.set(LEASE, OWNER, px=60_000)
    return Obstacle(lambda: site.is_waited_at(1), lambda: site.redis.delete(LEASE))


def hang_redis(_: Site, proxy: Proxy) -> Obstacle:
    """Let Redis not answer the next command."""
    proxy.held.clear()
    proxy.released.clear()
    proxy.hold(b"EVAL")
    return Obstacle(proxy.held.is_set, proxy.released.set)


class Situation(NamedTuple):
    """What to put in the way of a call, and the logins that may begin until the end."""

    obstruct: Callable[[Site, Proxy], Obstacle]
    logins: int


SITUATIONS = {
    "a login": Situation(hold_login, 2 * 3),
    "a wait for another process's login": Situation(lead_elsewhere, 3),
    "a hung Redis": Situation(hang_redis, 3),
}


@rows_at_once(SITUATIONS)
def test_an_interrupt_comes_out_at_once_and_leaves_no_lease(
    situation: Situation,
) -> None:
    """None is taken for trouble of Redis, and the next caller does not wait."""
    with (
        separate_site() as site,
        Proxy(site.server.port or 0) as proxy,
        site.workers(1, {"REDIS_URL": proxy.url}) as (other, worker),
    ):
        for name in (*SIGNALS, "gevent.Timeout"):
            obstacle = situation.obstruct(site, proxy)
            if name in SIGNALS:
                worker.tell("call_until_interrupted", SIGNALS[name])
                until(obstacle.is_met)
                worker.signal(SIGNALS[name])
                assert worker.hear() == name
            else:
                environ = site.environ | {"REDIS_URL": proxy.url}
                assert run_python(UNDER_GEVENT, environ) == "Timeout 0 0\n"
            assert site.redis.get(LEASE) in (None, OWNER), "it has kept its lease"
            obstacle.remove()
            assert answers(site.call([other])) == {200: 1}
            assert answers(site.call([worker])) == {200: 1}
            site.expire()
        assert not trouble([other, worker])
        assert site.turvo.token_requests <= situation.logins
