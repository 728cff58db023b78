"""What a process can meet: forks, pickles, greenlets, its own end, and interrupts."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable

import pytest

from tests.support.fleet import (
    LEASE,
    Site,
    Worker,
    answers,
    finish,
    pass_calls,
    rows_at_once,
    run_python,
    separate_site,
    start,
    trouble,
    until,
    workers,
)
from tests.support.fleet_worker import fetch
from tests.support.proxies import Proxy
from turvo_session import TurvoAuth

Environ = dict[str, str]


@pytest.fixture(params=["redis", "memory"])
def environ(request: pytest.FixtureRequest, site: Site) -> Environ:
    """Return variables for processes that share their token, or do not."""
    return site.environ if request.param == "redis" else site.turvo.environ


def fork(worker: Worker, children: int, threads: int) -> list[object]:
    """Return the answers that each child of a worker got in its threads."""
    return [answers(calls) for calls in worker.ask("fork", children, threads)]


# Forks


def test_a_child_forked_in_the_middle_of_a_login_works(
    site: Site, environ: Environ
) -> None:
    """With Redis it waits for its parent's login; without, it logs in by itself."""
    hold = site.turvo.hold()
    with workers(1, environ) as (parent,):
        start([parent], threads=2, calls=1)
        hold.wait_for_request()
        parent.tell("fork", 1, 2)
        if "REDIS_URL" in environ:
            until(lambda: site.is_waited_at(1))
        else:
            until(lambda: site.turvo.logins == 2)
        hold.released.set()
        (calls,) = parent.hear()
        calls += finish([parent], stop=False)
        assert answers(calls) == {200: 4}
        assert site.turvo.token_requests == 1 + ("REDIS_URL" not in environ)


def test_children_forked_at_any_moment_under_load_work(
    site: Site, environ: Environ
) -> None:
    """8 threads call, the token is revoked, and the forks come at any time."""
    site.turvo.login_seconds = 0.02
    with workers(1, environ) as (parent,):
        start([parent], threads=8, pause=0.02)
        for _ in range(3):
            pass_calls(site.turvo, 30)
            site.turvo.revoke()
            assert fork(parent, 2, 1) == [{200: 1}] * 2
        assert answers(finish([parent])).keys() == {200}


def test_workers_forked_from_one_auth_log_in_once(site: Site, environ: Environ) -> None:
    """As in gunicorn: before the auth's first call and, with ``preload_app``, after."""
    children = 1 if "REDIS_URL" in environ else 4
    with workers(1, environ) as (parent,):
        assert fork(parent, 4, 4) == [{200: 4}] * 4
        assert site.turvo.token_requests == children
        parent.ask("token")
        before = site.turvo.token_requests
        assert fork(parent, 4, 4) == [{200: 4}] * 4
        assert site.turvo.token_requests == before
        site.turvo.revoke()
        assert fork(parent, 4, 4) == [{200: 4}] * 4
        assert site.turvo.token_requests == before + children


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_take_an_auth_made_by_from_env_and_log_in_once(
    site: Site, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It travels as a pickle, and reads the environment where it arrives."""
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    auth = TurvoAuth.from_env()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(fetch, [auth] * 4, chunksize=1) == [200] * 4
        pool.close()
        pool.join()
    assert fetch(auth) == 200
    assert site.turvo.token_requests == 1


# Other kinds of interpreters


@pytest.mark.parametrize("patched", ["", "thread=False, select=False"])
def test_100_greenlets_under_gevent_log_in_once(
    site: Site, environ: Environ, patched: str
) -> None:
    """They wait for the one that logs in, also where locks are not patched."""
    site.turvo.login_seconds = 0.5
    script = f"""
from gevent import monkey
monkey.patch_all({patched})
import gevent
from tests.support.fleet_worker import fetch
from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()
tasks = [gevent.spawn(fetch, auth) for _ in range(100)]
gevent.joinall(tasks, timeout=30)
print([task.value for task in tasks].count(200), auth.stats.store_errors)
"""
    assert run_python(script, environ) == "100 0\n"
    assert site.turvo.token_requests == 1


def test_an_auth_works_while_the_interpreter_shuts_down(
    site: Site, environ: Environ
) -> None:
    """In an exit handler, where newer Pythons start no thread, and a daemon thread."""
    script = """
import atexit, threading
from tests.support.fleet_worker import fetch
from turvo_session import TurvoAuth

auth, other = TurvoAuth.from_env(), TurvoAuth.from_env()
called = threading.Event()

def call_at_exit():
    other.forget()
    print(fetch(other), other.stats.store_errors)

def call_until_the_end():
    while True:
        fetch(auth)
        called.set()

atexit.register(call_at_exit)
threading.Thread(target=call_until_the_end, daemon=True).start()
called.wait()
"""
    assert run_python(script, environ) == "200 0\n"
    assert site.turvo.token_requests == 2


# Interrupts: what is raised in the caller's thread. An obstacle holds a call up for as
# long as the test lets it, so an exception that comes out has not waited for its end.

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
