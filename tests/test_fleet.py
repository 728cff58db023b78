"""One login for the whole fleet, whatever dies: real processes, a real Redis-protocol server.

What holds while Redis itself is in trouble is in ``test_fleet_faults``.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import md5, sha1, sha256
from statistics import median
from typing import NamedTuple

import pytest
import redis
import requests
from fleet import (
    FAILURE,
    HANDSHAKE,
    KEY,
    LEASE,
    AtOnce,
    answers,
    finish,
    go,
    lasted,
    monitored,
    named,
    shared,
    sleep_until,
    start,
    trouble,
    until,
    waiting,
    workers,
)
from proxies import Proxy
from servers import RedisServer

from turvo_session.testing import FakeTurvo

INVALID_GRANT = '{"error": "invalid_grant", "error_description": "Bad credentials"}'
QUICK = (0.5, 1.0)  # a token_timeout: the lease of such a leader lasts 3.5 s
FOREVER = float("inf")


def stored(client: redis.Redis) -> str:
    """The token in Redis, as an existing script reads it."""
    value = client.get(KEY)
    assert isinstance(value, bytes)
    return str(json.loads(value)["access_token"])


def asked(turvo: FakeTurvo, times: int = 1) -> None:
    """Wait for the token request that makes it so many; it takes as long as a login takes now."""
    until(lambda: turvo.token_requests == times)


def make_due(client: redis.Redis, *, after: float = 0.0) -> float:
    """Have the stored token be due in ``after`` seconds; the monotonic moment at which it ends."""
    value, left = client.get(KEY), client.pttl(KEY) / 1000
    assert isinstance(value, bytes)
    client.set(KEY, json.dumps(json.loads(value) | {"buffer": left - after}), keepttl=True)
    return time.monotonic() + left


def pass_back_off(client: redis.Redis) -> None:
    """Let the time pass for which the failure in Redis binds everybody."""
    value = client.get(FAILURE)
    assert isinstance(value, bytes)
    client.pexpire(FAILURE, int(json.loads(value)["over"] * 1000))


# One login


def test_cold_start_of_8_processes_x_8_threads_is_one_login_and_takes_hardly_longer(redis_url: str) -> None:
    """64 callers at once: one token request, and all are served within 1.5 x the login's own time."""
    with (
        FakeTurvo(login_seconds=3) as turvo,
        workers(8, shared(turvo, redis_url)) as fleet,
    ):
        calls = go(fleet, threads=8)
        assert answers(calls) == {200: 64}
        assert turvo.token_requests == turvo.logins == 1, trouble(fleet)
        assert lasted(calls) < 1.5 * turvo.login_seconds


def test_expiry_under_8_processes_x_8_threads_is_one_login(redis_url: str, redis_client: redis.Redis) -> None:
    """All 64 hold a token that is over: one token request replaces it, and no caller sees a 401."""
    with FakeTurvo(token_life=1.5) as turvo, workers(8, shared(turvo, redis_url)) as fleet:
        assert answers(go(fleet, threads=8)) == {200: 64}
        assert turvo.logins == 1
        turvo.token_life = 600
        until(lambda: not redis_client.exists(KEY))
        until(lambda: not any(worker.ask("status").seconds_left for worker in fleet))
        assert answers(go(fleet, threads=8)) == {200: 64}
        assert turvo.token_requests == 2, trouble(fleet)
        assert turvo.refused == 0


def test_revocation_under_load_is_one_login_and_no_401_reaches_a_caller(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """8 x 8 threads call all the time while Turvo revokes the token: one token request heals them all."""
    with workers(8, shared(turvo, redis_url)) as fleet:
        start(fleet, threads=8, pause=0.2)
        until(lambda: turvo.api_requests > 200)
        turvo.revoke()
        until(lambda: turvo.refused and turvo.api_requests > 400)
        calls = finish(fleet)
        assert answers(calls).keys() == {200}
        assert turvo.token_requests == 2, trouble(fleet)


def test_cold_start_of_100_processes_is_one_login(redis_url: str) -> None:
    """All of them at once. They are connected already: else they would mostly wait for two processors."""
    with FakeTurvo(login_seconds=1) as turvo, workers(100, shared(turvo, redis_url)) as fleet:
        for worker in fleet:
            assert worker.ask("status").store_reachable
        assert answers(go(fleet)) == {200: 100}
        assert turvo.token_requests == 1, trouble(fleet)


# Waiters are woken


@pytest.mark.parametrize("seconds", [0, 1.5])
def test_no_process_sends_redis_more_than_6_commands_at_a_cold_start(
    redis_server: RedisServer, seconds: float
) -> None:
    """However long the login takes: who waits does not poll. The connection handshake is not counted."""
    with FakeTurvo(login_seconds=seconds) as turvo:
        with (
            monitored(redis_server) as commands,
            workers(named(turvo, redis_server.url, 8)) as fleet,
        ):
            assert answers(go(fleet, threads=8)) == {200: 64}
        sent = Counter(command.client for command in commands if command.words[0] not in HANDSHAKE)
        del sent["lua"]
        assert sent.keys() == {f"worker-{i}" for i in range(8)}
        assert max(sent.values()) <= 6
        assert turvo.token_requests == 1


def test_a_waiter_goes_on_within_30_ms_of_the_put(redis_server: RedisServer) -> None:
    """From the moment at which the token is in Redis until the waiting process has it (median of 9)."""
    delays = []
    with FakeTurvo(login_seconds=0.05) as turvo, redis_server.client() as client:
        offset = time.time() - time.monotonic()
        for _ in range(9):
            client.flushall()
            with monitored(redis_server) as commands, workers(2, shared(turvo, redis_server.url)) as fleet:
                go(fleet)
                adopted = [line.at + offset for worker in fleet for line in worker.events("Adopted")]
            put = [c.at for c in commands if c.words[:2] == ("SET", KEY)]
            delays.append(adopted[0] - put[0])
    assert 0 < median(delays) < 0.03


def test_a_wake_up_is_not_lost_between_looking_and_waiting(redis_server: RedisServer) -> None:
    """A waiter whose waiting reaches Redis only after the put goes on at once, not at the lease's end."""
    assert redis_server.port
    with (
        FakeTurvo(login_seconds=0.3) as turvo,
        Proxy(redis_server.port) as proxy,
        workers([shared(turvo, redis_server.url), shared(turvo, proxy.url)]) as (leader, waiter),
    ):
        proxy.hold(b"XREAD")
        start([leader], calls=1)
        until(lambda: turvo.token_requests)
        start([waiter], calls=1)
        assert proxy.held.wait(5)
        finish([leader], stop=False)
        proxy.released.set()
        released = time.monotonic()
        (call,) = finish([waiter], stop=False)
        assert call.answer == 200
        assert call.ended - released < 3
        assert turvo.token_requests == 1


# Leaders that die


def test_leader_killed_in_mid_login_a_waiter_leads_when_the_lease_is_gone(
    turvo: FakeTurvo, redis_server: RedisServer
) -> None:
    """``kill -9``: the lease ends (3.5 s here), one waiter logs in, everybody is served by 2 logins in all."""
    with (
        redis_server.client() as client,
        workers(4, shared(turvo, redis_server.url), token_timeout=QUICK) as fleet,
    ):
        turvo.login_seconds = 600
        start(fleet[:1], calls=1)
        asked(turvo)
        start(fleet[1:], threads=4, calls=1)
        until(lambda: waiting(client) == 3)
        fleet[0].kill()
        killed = time.monotonic()
        turvo.login_seconds = 0
        calls = finish(fleet[1:], stop=False)
        assert answers(calls) == {200: 12}
        assert turvo.token_requests == 2
        assert max(call.ended for call in calls) - killed < 3.5 + 2


def test_the_lease_covers_one_attempt_and_is_gone_16_s_after_a_kill_by_default(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """With the default ``token_timeout`` an attempt takes at most 13.05 s; the lease outlasts it a little."""
    with FakeTurvo(login_seconds=0.5) as turvo, workers(1, shared(turvo, redis_url)) as fleet:
        start(fleet, calls=1)
        until(lambda: turvo.token_requests)
        assert 13_050 < redis_client.pttl(LEASE) <= 16_000
        finish(fleet, stop=False)
        assert not redis_client.exists(LEASE)


def test_leader_stopped_past_its_lease_adopts_the_newer_token(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """``SIGSTOP`` in mid-login, another one logs in, then ``SIGCONT``: the newer token stays in Redis."""
    with (
        FakeTurvo(login_seconds=0.5) as turvo,
        workers(2, shared(turvo, redis_url), token_timeout=QUICK) as (stopped, other),
    ):
        start([stopped], calls=1)
        until(lambda: turvo.token_requests)
        stopped.pause()
        until(lambda: not redis_client.exists(LEASE))
        assert answers(go([other])) == {200: 1}
        newer = stored(redis_client)
        stopped.resume()
        assert answers(finish([stopped], stop=False)) == {200: 1}
        assert stored(redis_client) == newer
        assert stopped.ask("token") == other.ask("token")
        assert turvo.token_requests == 2


def test_a_login_that_comes_too_late_does_not_overwrite_the_newer_token(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """Also when that login works: its token is dropped, the newer one adopted."""
    with FakeTurvo(login_seconds=1) as turvo, workers(2, shared(turvo, redis_url)) as (late, other):
        start([late], calls=1)
        asked(turvo)
        redis_client.delete(LEASE)  # as if its time were over
        turvo.login_seconds = 0
        assert answers(go([other])) == {200: 1}
        newer = stored(redis_client)
        assert answers(finish([late], stop=False)) == {200: 1}
        assert turvo.logins == 2
        assert stored(redis_client) == newer
        assert late.ask("token") == other.ask("token")


@pytest.mark.parametrize("how", ["swallow", "cut"])
@pytest.mark.parametrize("lost", ["lease", "put"])
def test_lost_reply_locks_nobody_out(redis_server: RedisServer, lost: str, how: str) -> None:
    """The answer to taking the lease, or to the put, never arrives: one login, no wait for our own lease."""
    assert redis_server.port
    with (
        FakeTurvo() as turvo,
        Proxy(redis_server.port) as proxy,
        workers(1, shared(turvo, proxy.url)) as fleet,
        workers(1, shared(turvo, redis_server.url)) as others,
    ):
        proxy.lose(b"XADD", nth=1 if lost == "lease" else 2, how=how)  # the second swap is the put
        calls = go(fleet, threads=4)
        assert proxy.lost
        assert answers(calls) == {200: 4}
        assert lasted(calls) < 5  # the lease would last 15 s
        assert answers(go(others, threads=4)) == {200: 4}
        assert fleet[0].ask("token") == others[0].ask("token")
        assert turvo.token_requests == 1


def test_forgetting_an_old_token_leaves_the_newer_one_to_the_others(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    with workers(2, shared(turvo, redis_url)) as (old, new):
        go([old])
        turvo.revoke()
        go([new])
        newer = stored(redis_client)
        old.ask("forget")
        assert stored(redis_client) == newer
        assert answers(go([old, new])) == {200: 2}
        assert turvo.token_requests == 2


# Due


def test_a_due_token_is_renewed_by_one_process_and_nobody_else_waits(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """64 callers while a renewal takes 2 s: one of them makes it, the others go on with the old token."""
    with FakeTurvo(token_life=30) as turvo:
        with workers(1, shared(turvo, redis_url)) as first:
            go(first)
        make_due(redis_client, after=1.5)
        due = time.monotonic() + 1.5
        old = stored(redis_client)
        turvo.login_seconds = 2
        with workers(8, shared(turvo, redis_url)) as fleet:
            assert answers(go(fleet)) == {200: 8}
            assert turvo.token_requests == 1
            sleep_until(due)
            calls = go(fleet, threads=8)
            assert answers(calls) == {200: 64}
            assert [call.seconds >= 2 for call in calls].count(True) == 1
            assert turvo.token_requests == 2
            assert stored(redis_client) != old


class Outage(NamedTuple):
    """A way for the token endpoint to fail; what the callers get once the old token is over, and it works."""

    fail: Callable[[FakeTurvo], None]
    then: int | str = 200


def hang(turvo: FakeTurvo) -> None:
    turvo.login_seconds = 600


OUTAGES = {
    "5xx": Outage(lambda turvo: turvo.fail_next(503, where="token", times=FOREVER)),
    "hanging": Outage(hang),
    "connections dropped": Outage(lambda turvo: turvo.drop_next(where="token", times=FOREVER)),
    "credentials refused": Outage(
        lambda turvo: turvo.fail_next(400, where="token", times=FOREVER, body=INVALID_GRANT),
        then="CredentialsRejected",  # for 15 minutes, though the endpoint takes them again
    ),
}


def sit_out(outage: Outage) -> tuple[Counter[int | str], int, Counter[int | str], int]:
    """Answers and token requests while the token is due and the endpoint fails, and past the token's end."""
    with FakeTurvo(token_life=6.5) as turvo, RedisServer() as server, server.client() as client:
        environ = shared(turvo, server.url)
        with workers(1, environ) as first:
            go(first)
        end = make_due(client)
        outage.fail(turvo)
        with workers(4, environ, token_timeout=QUICK) as fleet:
            start(fleet, threads=2, pause=0.1)
            sleep_until(end - 0.8)
            due, tries = [call for worker in fleet for call in worker.ask("calls")], turvo.token_requests
            turvo.heal()
            turvo.login_seconds = 0
            sleep_until(end + 0.2)
            finish(fleet)
            over = go(fleet, threads=2)
            return answers(due), tries, answers(over), turvo.token_requests


sat_out = AtOnce(sit_out, OUTAGES)


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_of_the_token_endpoint_is_not_felt_while_the_token_is_due(name: str) -> None:
    """Every call succeeds until the token really ends; the fleet asks once per back-off step (30 s).

    When the token is over, that back-off binds nobody any more: one more login, if it may be tried at all.
    """
    due, tries, over, in_all = sat_out[name]
    assert due.keys() == {200}
    assert due[200] > 8
    assert tries == 1 + 1
    assert over == {OUTAGES[name].then: 8}
    assert in_all == 1 + 1 + (OUTAGES[name].then == 200)


def test_a_try_that_outlasts_the_due_token_is_followed_by_one_in_earnest(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """Its failure was about renewing ahead of time, and of that there is no more to be said."""
    environ = shared(turvo, redis_url)
    with workers(1, environ) as first:
        go(first)
    redis_client.pexpire(KEY, 600)
    make_due(redis_client)
    turvo.login_seconds = 600
    with workers(2, environ, token_timeout=QUICK) as fleet:
        start(fleet, threads=2, calls=1)
        asked(turvo, 2)
        turvo.login_seconds = 0
        assert answers(finish(fleet, stop=False)) == {200: 4}
        assert turvo.token_requests == 3


def test_each_step_of_the_back_off_is_one_try_of_the_fleet_and_twice_as_long(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """New processes all the time, a due token, an endpoint that is out: 30 s, 60 s, 120 s between tries."""
    with FakeTurvo(token_life=600) as turvo:
        with workers(1, shared(turvo, redis_url)) as first:
            go(first)
        make_due(redis_client)
        turvo.fail_next(503, where="token", times=FOREVER)
        for step in range(3):
            for _ in range(2):
                with workers(2, shared(turvo, redis_url)) as fleet:
                    assert answers(go(fleet, threads=2)) == {200: 4}
            assert turvo.token_requests == 1 + 1 + step
            value = json.loads(redis_client.get(FAILURE))  # type: ignore[arg-type]
            binds = redis_client.pttl(FAILURE) / 1000 - value["over"]
            assert binds == pytest.approx(30 * 2**step, abs=10)
            pass_back_off(redis_client)


# The same token again


def test_a_server_that_serves_the_same_token_until_its_end_sees_at_most_2_logins_a_rollover(
    redis_server: RedisServer,
) -> None:
    """8 processes x 4 threads, busy through a whole rollover: no failed call, no life of zero in Redis."""
    with FakeTurvo(policy="same", token_life=3.6) as turvo, redis_server.client() as client:
        environ = shared(turvo, redis_server.url)
        with workers(1, environ) as first:
            go(first)
        turvo_ends = time.monotonic() + turvo.token_life
        make_due(client, after=0.8)
        with monitored(redis_server) as commands, workers(8, environ) as fleet:
            start(fleet, threads=4, pause=0.1)
            sleep_until(turvo_ends - 0.2)
            turvo.token_life = 600
            sleep_until(turvo_ends + 0.8)
            assert answers(finish(fleet)).keys() == {200}
            assert turvo.token_requests == 1 + 2
        lives = [
            int(c.words[c.words.index("PX") + 1]) for c in commands if "PX" in c.words and c.client == "lua"
        ]
        assert lives
        assert min(lives) > 0
        assert client.info("commandstats")["cmdstat_eval"]["failed_calls"] == 0


# Failures are shared


def test_a_wrong_password_is_tried_once_by_the_whole_fleet(redis_url: str, redis_client: redis.Redis) -> None:
    """8 x 8 workers: 1 token request, ``CredentialsRejected`` for all, for 15 minutes.

    The right password in a new process is tried at once, and clears it for all.
    """
    with FakeTurvo(login_seconds=0.3) as turvo:
        right = shared(turvo, redis_url)
        with workers(8, right | {"TURVO_PASSWORD": "wrong"}) as fleet:
            calls = go(fleet, threads=8)
            assert answers(calls) == {"CredentialsRejected": 64}
            assert turvo.token_requests == 1
            assert 880_000 < redis_client.pttl(FAILURE) <= 900_000
            time.sleep(1.1)  # what the processes believe by themselves, they do for a second
            assert answers(go(fleet, threads=8)) == {"CredentialsRejected": 64}
            assert turvo.token_requests == 1
            with workers(1, right) as mended:
                assert answers(go(mended)) == {200: 1}
            assert turvo.token_requests == 2
            until(lambda: answers(go(fleet)) == {200: 8}, every=0.2)
            assert turvo.token_requests == 2


def test_two_wrong_passwords_cannot_take_turns(turvo: FakeTurvo, redis_url: str) -> None:
    """Each process remembers its own rejection, whatever the store remembers of the other's."""
    right = shared(turvo, redis_url)
    with workers([right | {"TURVO_PASSWORD": f"wrong {i}"} for i in range(2)]) as fleet:
        for pause in (1.1, 0):  # see above
            for worker in fleet:
                assert answers(go([worker])) == {"CredentialsRejected": 1}
            time.sleep(pause)
        assert turvo.token_requests == 2


def test_what_redis_remembers_of_a_rejection_tells_nothing_about_the_password(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """No secret, no plain hash of one, and another proof each time (a salt)."""
    wrong = shared(turvo, redis_url) | {"TURVO_PASSWORD": "wrong"}
    secrets = ["wrong", turvo.username, turvo.api_key]
    proofs = []
    for _ in range(2):
        redis_client.flushall()
        with workers(1, wrong) as fleet:
            go(fleet)
        proofs.append(json.loads(redis_client.get(FAILURE))["proof"])  # type: ignore[arg-type]
        kept = b"".join(bytes(redis_client.dump(key)) for key in redis_client.scan_iter())
        for secret in [*secrets, "".join(secrets), *(f"{a}:{b}" for a in secrets for b in secrets)]:
            assert secret.encode() not in kept
            for hashed in (md5, sha1, sha256):
                assert hashed(secret.encode()).hexdigest().encode() not in kept
    assert proofs[0] != proofs[1]


def test_429_binds_everybody_for_its_retry_after(redis_url: str) -> None:
    """``Retry-After: 2``: nobody asks again before, then one does, and all are served."""
    with FakeTurvo() as turvo, workers(8, shared(turvo, redis_url)) as fleet:
        turvo.throttle("2", where="token")
        start(fleet, threads=8, calls=1)
        until(lambda: turvo.token_requests)
        throttled = time.monotonic()
        until(lambda: turvo.token_requests > 1)
        assert time.monotonic() - throttled > 1.9
        assert answers(finish(fleet, stop=False)) == {200: 64}
        assert turvo.token_requests == 2


def test_429_with_a_long_retry_after_is_everybodys_error_at_once(redis_url: str) -> None:
    with FakeTurvo() as turvo, workers(8, shared(turvo, redis_url)) as fleet:
        turvo.throttle("120", where="token", times=FOREVER)
        calls = go(fleet, threads=8)
        assert answers(calls) == {"TokenEndpointUnavailable": 64}
        assert all(call.retry_after and 100 < call.retry_after <= 120 for call in calls)
        with workers(1, shared(turvo, redis_url)) as new:
            assert answers(go(new)) == {"TokenEndpointUnavailable": 1}
        assert turvo.token_requests == 1


def test_5xx_is_one_leaders_attempts_and_one_back_off_for_everybody(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """8 x 8: three attempts in all, the same error for 64 callers and new processes; later one login."""
    with FakeTurvo() as turvo, workers(8, shared(turvo, redis_url)) as fleet:
        turvo.fail_next(503, where="token", times=FOREVER)
        calls = go(fleet, threads=8)
        assert answers(calls) == {"TokenEndpointUnavailable": 64}
        assert all(call.retry_after and 0 < call.retry_after <= 5 for call in calls)
        with workers(2, shared(turvo, redis_url)) as new:
            assert answers(go([*fleet, *new])) == {"TokenEndpointUnavailable": 10}
        assert turvo.token_requests == 3
        turvo.heal()
        pass_back_off(redis_client)
        until(lambda: answers(go(fleet)) == {200: 8}, every=0.2)
        assert turvo.token_requests == 4


def test_a_401_that_no_login_cures_costs_2_logins_and_is_every_callers_answer(
    turvo: FakeTurvo, redis_url: str
) -> None:
    """200 requests from 8 processes to a path that always answers 401; other paths go on as ever."""
    turvo.fail_next(401, times=FOREVER, path="/forbidden")
    with workers(8, shared(turvo, redis_url)) as fleet:
        assert answers(go(fleet, threads=5, calls=5, path="/forbidden")) == {401: 200}
        assert turvo.token_requests <= 2, trouble(fleet)
        assert answers(go(fleet)) == {200: 8}
        assert turvo.token_requests <= 2, trouble(fleet)


# Clocks


def test_a_wall_clock_that_jumps_an_hour_either_way_changes_nothing(redis_url: str) -> None:
    """Three workers, an hour ahead, an hour behind and right, then jumping: one login a rollover."""
    with (
        FakeTurvo(token_life=2.5) as turvo,
        workers(3, shared(turvo, redis_url), loose_clock=True) as fleet,
    ):
        ahead, behind, _ = fleet
        ahead.ask("jump", 3600)
        behind.ask("jump", -3600)
        assert answers(go([behind])) == {200: 1}
        first_ends = time.monotonic() + turvo.token_life
        assert answers(go(fleet, threads=2)) == {200: 6}
        assert turvo.token_requests == 1
        ahead.ask("jump", -7200)
        behind.ask("jump", 7200)
        start(fleet, threads=2, pause=0.05)
        until(lambda: turvo.logins == 2)  # due after 1.8 s
        turvo.token_life = 600
        sleep_until(first_ends + 0.2)
        assert answers(finish(fleet)).keys() == {200}
        assert turvo.token_requests == 2
        assert turvo.refused == 0


# What is in Redis


def test_the_stored_token_is_what_existing_scripts_read_and_lives_as_long_as_it_does(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """JSON with ``access_token`` and ``expires_at``, the moment the buffer begins; the key ends with it."""
    with FakeTurvo(token_life=5000.5) as turvo, workers(1, shared(turvo, redis_url)) as fleet:
        go(fleet)
        value = json.loads(redis_client.get(KEY))  # type: ignore[arg-type]
        left = (datetime.fromisoformat(value["expires_at"]) - datetime.now(UTC)).total_seconds()
        assert 4650 < left <= 4700
        assert 4_950_000 < redis_client.pttl(KEY) <= 5_000_000
        bearer = {"Authorization": f"Bearer {value['access_token']}", "x-api-key": turvo.api_key}
        url = f"{turvo.base_url}/shipments/list"
        assert requests.get(url, headers=bearer, timeout=10).status_code == 200


def test_a_token_that_an_existing_script_stored_is_adopted(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """No login, though the script knows nothing of a buffer."""
    with workers(1, turvo.environ) as script:  # logs in for itself
        go(script)
    token = turvo.requests[-1].headers["authorization"].removeprefix("Bearer ")
    value = {"access_token": token, "expires_at": datetime.now(UTC).isoformat()}
    redis_client.set(KEY, json.dumps(value), ex=3600)
    with workers(2, shared(turvo, redis_url)) as fleet:
        assert answers(go(fleet, threads=2)) == {200: 4}
    assert turvo.token_requests == 1


def test_two_users_do_not_share_a_token(turvo: FakeTurvo, redis_url: str) -> None:
    """Without a key of its own each user has another one: who may not log in gets nobody else's token."""
    environ = turvo.environ | {"REDIS_URL": redis_url}
    with workers([environ, environ | {"TURVO_USERNAME": "somebody@else.example"}]) as (one, other):
        assert answers(go([one])) == {200: 1}
        assert answers(go([other])) == {"CredentialsRejected": 1}
