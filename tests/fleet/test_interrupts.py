"""What is raised in the caller's thread comes out at once, whatever it waits for.

Each situation holds a call up for as long as the test lets it, so an exception that
comes out has not waited for the end of the situation.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

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

Check = Callable[[], object]
Obstacle = tuple[Check, Check]
"""Whether it holds a call up yet, and how to take it away."""


def hold_login(site: Site, _: Proxy) -> Obstacle:
    """Hold the next login up."""
    hold = site.turvo.hold()
    return hold.arrived.is_set, hold.released.set


def lead_elsewhere(site: Site, _: Proxy) -> Obstacle:
    """Let another process lead, or so it seems."""
    site.redis.set(LEASE, OWNER, px=60_000)
    return lambda: site.is_waited_at(1), lambda: site.redis.delete(LEASE)


def hang_redis(_: Site, proxy: Proxy) -> Obstacle:
    """Let Redis not answer the next command."""
    proxy.held.clear()
    proxy.released.clear()
    proxy.hold(b"EVAL")
    return proxy.held.is_set, proxy.released.set


SITUATIONS = {
    "a login": hold_login,
    "a wait for another process's login": lead_elsewhere,
    "a hung Redis": hang_redis,
}


@rows_at_once(SITUATIONS)
def test_an_interrupt_comes_out_at_once_and_leaves_no_lease(
    obstruct: Callable[[Site, Proxy], Obstacle],
) -> None:
    """None is taken for trouble of Redis, and the next caller does not wait."""
    with (
        separate_site() as site,
        Proxy(site.server.port or 0) as proxy,
        site.workers(1, {"REDIS_URL": proxy.url}) as (other, worker),
    ):
        for name in (*SIGNALS, "gevent.Timeout"):
            is_met, remove = obstruct(site, proxy)
            if name in SIGNALS:
                worker.tell("call_until_interrupted", SIGNALS[name])
                until(is_met)
                worker.signal(SIGNALS[name])
                assert worker.hear() == name
            else:
                environ = site.environ | {"REDIS_URL": proxy.url}
                assert run_python(UNDER_GEVENT, environ) == "Timeout 0 0\n"
            assert site.redis.get(LEASE) in (None, OWNER), "it has kept its lease"
            remove()
            assert answers(site.call([other])) == {200: 1}
            assert answers(site.call([worker])) == {200: 1}
            site.expire()
        assert not trouble([other, worker])
        most_logins = 6 if obstruct is hold_login else 3
        assert site.turvo.token_requests <= most_logins
