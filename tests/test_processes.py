"""Forks, pickles and greenlets: an auth works on the other side of each of them, or says that it does not."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from fleet import answers, finish, pass_calls, shared, start, until, workers
from fleet_worker import fetch

from turvo_session import MemoryStore, TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo


def run(script: str, environ: Mapping[str, str]) -> str:
    """What a script prints in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(params=["redis", "memory"])
def environ(request: pytest.FixtureRequest, turvo: FakeTurvo, redis_url: str) -> dict[str, str]:
    """Variables for a process that shares its token, and for one that does not."""
    return shared(turvo, redis_url) if request.param == "redis" else turvo.environ


def test_a_child_forked_in_the_middle_of_a_login_in_another_thread_works(
    turvo: FakeTurvo, environ: dict[str, str]
) -> None:
    """With Redis it is served by that login; alone it logs in itself, though its memory says that one leads."""
    turvo.login_seconds = 1
    with workers(1, environ) as fleet:
        start(fleet, threads=2, calls=1)
        until(lambda: turvo.token_requests)
        (calls,) = fleet[0].ask("fork", 1, 2)
        assert answers(calls) == {200: 2}
        assert max(call.seconds for call in calls) < 5
        assert answers(finish(fleet, stop=False)) == {200: 2}
        assert turvo.token_requests == (1 if "REDIS_URL" in environ else 2)


def test_children_forked_at_any_moment_under_load_work(turvo: FakeTurvo, environ: dict[str, str]) -> None:
    """8 threads call, the token is revoked again and again, and nobody chooses the moment of the forks."""
    turvo.login_seconds = 0.02
    with workers(1, environ) as (parent,):
        start([parent], threads=8, pause=0.01)
        for _ in range(6):
            pass_calls(turvo, 40)
            turvo.revoke()
            children = parent.ask("fork", 2, 1)
            assert [answers(calls) for calls in children] == [{200: 1}] * 2
        assert answers(finish([parent])).keys() == {200}


def test_a_child_forked_while_another_thread_holds_the_lock_of_the_memory_works() -> None:
    """The thread that held it is not there any more."""
    script = """
import os, signal, threading, time
from turvo_session import MemoryStore

inside, forked = threading.Event(), threading.Event()

def clock():
    if threading.current_thread().name == "holder":  # a clock is read with the lock held
        inside.set()
        forked.wait()
    return time.monotonic()

store = MemoryStore(clock=clock)
threading.Thread(target=store.read, name="holder", daemon=True).start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    store.read()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    assert run(script, {"PYTHONWARNINGS": "ignore::DeprecationWarning"}) == "0\n"


def test_workers_forked_from_one_auth_before_its_first_call_log_in_once(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """As with gunicorn's pre-fork: made in the parent, used by 4 children with 4 threads each."""
    turvo.login_seconds = 0.5
    with workers(1, shared(turvo, redis_url)) as (parent,):
        children = parent.ask("fork", 4, 4)
        assert [answers(calls) for calls in children] == [{200: 4}] * 4
        assert turvo.token_requests == 1


def test_workers_forked_after_the_first_call_inherit_its_token(
    turvo: FakeTurvo, environ: dict[str, str]
) -> None:
    """With ``preload_app``: no login in any child; after a revocation one for all, if they share it."""
    with workers(1, environ) as (parent,):
        parent.ask("token")
        children = parent.ask("fork", 4, 4)
        assert [answers(calls) for calls in children] == [{200: 4}] * 4
        assert turvo.token_requests == 1
        turvo.revoke()
        children = parent.ask("fork", 4, 4)
        assert [answers(calls) for calls in children] == [{200: 4}] * 4
        assert turvo.token_requests == 1 + (1 if "REDIS_URL" in environ else 4)


def test_spawned_processes_take_an_auth_made_by_from_env_and_log_in_once(
    turvo: FakeTurvo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shared(turvo, redis_url).items():
        monkeypatch.setenv(name, value)
    auth = TurvoAuth.from_env()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(fetch, [auth] * 4, chunksize=1) == [200] * 4
        pool.close()
        pool.join()
    assert fetch(auth) == 200
    assert turvo.token_requests == 1


def test_a_pickle_holds_no_secret_also_when_there_is_a_token(
    turvo: FakeTurvo, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shared(turvo, redis_url).items():
        monkeypatch.setenv(name, value)
    auth = TurvoAuth.from_env()
    token = auth.token().access_token
    for pickled in (pickle.dumps(auth), pickle.dumps(TurvoSession(auth))):
        for secret in (token, turvo.api_key, turvo.username, turvo.password, redis_url):
            assert secret.encode() not in pickled
    assert fetch(pickle.loads(pickle.dumps(auth))) == 200
    assert turvo.token_requests == 1


def test_an_auth_made_from_arguments_refuses_to_pickle(turvo: FakeTurvo) -> None:
    made = [
        TurvoAuth.from_env(turvo.environ),
        TurvoAuth.from_env(turvo.environ, store=MemoryStore()),
        TurvoAuth(base_url=turvo.base_url, api_key="k", username="u", password="p"),
    ]
    for auth in made:
        with pytest.raises(TypeError, match=r"from_env\(\)"):
            pickle.dumps(auth)


def test_an_openssl_without_scrypt_costs_no_more_than_one_wrong_password_a_process(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """As where only FIPS is allowed: no proof can be made for the others; the process itself remembers."""
    environ = {"TURVO_PASSWORD": "wrong"}
    script = """
import _hashlib, ctypes, hashlib
from fleet_worker import fetch
from turvo_session import CredentialsRejected, TurvoAuth

assert ctypes.CDLL(_hashlib.__file__).EVP_set_default_properties(None, b"fips=yes") == 1
try:
    print(hashlib.scrypt(b"", salt=b"salt", n=2, r=8, p=1))
except ValueError:
    auth = TurvoAuth.from_env()
    for _ in range(3):
        try:
            fetch(auth)
        except CredentialsRejected:
            print("rejected")
"""
    for processes in (1, 2):
        assert run(script, shared(turvo, redis_url) | environ) == "rejected\n" * 3
        assert turvo.token_requests == processes


def test_100_greenlets_under_gevent_log_in_once(turvo: FakeTurvo, environ: dict[str, str]) -> None:
    """Everything monkey-patched: they wait for the one that logs in, and for nothing else."""
    turvo.login_seconds = 0.5
    script = """
from gevent import monkey; monkey.patch_all()
import gevent
from fleet_worker import fetch
from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()
tasks = [gevent.spawn(fetch, auth) for _ in range(100)]
gevent.joinall(tasks, timeout=30)
print([task.value for task in tasks].count(200), auth.stats.store_errors)
"""
    assert run(script, environ) == "100 0\n"
    assert turvo.token_requests == 1
