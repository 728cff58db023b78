"""The poller keeps what its docstring promises."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import runpy
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import poller
import pytest
from poller import CLAIM_SECONDS, MARK_SECONDS, summary

from tests.support.fleet import PASS_TIME
from tests.support.programs import EXAMPLES, Webhook, World, wait_until
from tests.support.servers import RedisServer, free_port
from tests.support.turvo_shapes import SUMMARIES, driven_by
from turvo_session.testing import FakeTurvo

QUICKLY = ("poller.py", "--every", "0")  # A poll a second.
ONCE = ("poller.py", "--once")
ERROR = '{"Status": "ERROR", "details": {"errorMessage": "busy"}}'
SUCCESS = '{"Status": "SUCCESS", "details": %s}'


@pytest.fixture
def quick_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a webhook a third of a second in all."""
    monkeypatch.setattr(poller, "SEND_SECONDS", 0.3)


# What it forwards


def test_once_forwards_every_page_and_marks_it_for_two_days(world: World) -> None:
    """One JSON line each; the next run finds nothing to do, and does not log in."""
    program = world.start(*ONCE, "--prefix", "mine", "--workers", "3")
    assert (program.end(), program.ids) == (0, world.en_route)
    line = json.loads(program.out.splitlines()[0])
    assert all(line.values())
    marks = world.keys("mine")
    assert sorted(marks) == world.en_route
    assert all(abs(MARK_SECONDS - left) < 60 for left in marks.values())
    assert world.redis.get(f"mine:in_transit:{line['id']}") == b"forwarded"

    logins = world.turvo.logins
    world.turvo.requests.clear()
    again = world.start(*ONCE, "--prefix", "mine")
    assert (again.end(), again.ids) == (0, world.en_route)
    assert again.err.endswith(" 0 new shipments read, 0 left\n")
    paths = {seen.path for seen in world.turvo.requests}
    assert (paths, world.turvo.logins) == ({"/v1/shipments/list"}, logins)


def test_it_is_one_file_that_can_be_copied(world: World) -> None:
    """It needs no module beside it."""
    shutil.copy(EXAMPLES / "poller.py", world.folder)
    assert len((world.folder / "poller.py").read_text().splitlines()) <= 170
    program = world.start(str(world.folder / "poller.py"), "--once")
    assert (program.end(), program.ids) == (0, world.en_route)


def test_a_webhook_gets_one_batch_in_order_of_the_list(world: World) -> None:
    """Whichever thread is the fastest."""
    world.turvo.delay = lambda path: 0.1 * random.random()
    assert world.polls().poll() == (True, world.en_route)
    assert world.webhook.batches == [world.en_route]


@pytest.mark.parametrize("workers", [2, 8])
def test_eight_workers_need_an_eighth_of_the_time(world: World, workers: int) -> None:
    """Turvo answers as soon as it has a request of each of them."""
    for known in world.en_route[32:]:
        world.redis.set(f"turvo:in_transit:{known}", "forwarded")
    all_there, places, threads = threading.Barrier(workers), Counter[int](), set[int]()
    polls = world.polls(workers=workers)

    def wait_for_all(path: str) -> float:
        if "/shipments/9" in path:
            places[all_there.wait(20)] += 1
        return 0.0

    def note_thread(*_: object, **__: object) -> None:
        threads.add(threading.get_ident())

    world.turvo.delay = wait_for_all
    polls.poller.session.hooks["response"].append(note_thread)
    assert polls.poll() == (True, world.en_route[:32])
    assert places == dict.fromkeys(range(workers), 32 // workers)
    assert len(threads - {threading.get_ident()}) == workers


@pytest.mark.parametrize(
    ("judge", "good", "posts"),
    [
        (lambda body, ids: 422 if any(i % 7 == 0 for i in ids) else 200, 7, 40),
        (lambda body, ids: 413 if len(body) > 2000 else 200, 10**9, 15),
        (lambda body, ids: 400, 1, 80),
        (lambda body, ids: 500, 1, 1),
        (lambda body, ids: 302, 1, 1),
        (lambda body, ids: 0, 1, 1),
    ],
    ids=["one in seven", "too large", "all refused", "error", "redirect", "drips"],
)
@pytest.mark.usefixtures("quick_webhook")
def test_what_a_webhook_does_not_take_holds_up_no_others(
    world: World, judge: Any, good: int, posts: int
) -> None:
    """It is found by halving and named, and goes out with the next poll that may."""
    polls, asked = world.polls(), []
    world.webhook.judge = lambda body, ids: asked.append(1) or judge(body, ids)
    taken = [i for i in world.en_route if i % good]
    left = sorted(set(world.en_route) - set(taken))

    assert polls.poll() == (not left, taken)
    assert len(asked) <= posts
    assert sorted(world.keys()) == taken
    if left and taken:
        named = re.findall(r"shipment (\d+) is left: HTTP 422", polls.said)
        assert sorted(map(int, named)) == left
    assert ("is left: " in polls.said) == bool(left)
    world.webhook.judge = lambda body, ids: 200
    assert polls.poll() == (True, left)


def test_a_webhook_that_answers_a_gigabyte_is_taken_at_its_status(
    world: World,
) -> None:
    """All but what the sockets hold stays where it is."""
    world.webhook.chunk = bytes(1_000_000)
    assert world.polls().poll() == (True, world.en_route)
    assert world.webhook.bytes_sent < 20_000_000


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (403, "", "403"),
        (500, "<html>", "500"),
        (200, ERROR, "busy"),
        (200, SUCCESS % '{"id": 1}', "about another shipment"),
    ],
)
def test_a_shipment_that_cannot_be_read_holds_up_no_others(
    world: World, status: int, body: str, meaning: str
) -> None:
    """It is named with the reason, and is forwarded by the next poll."""
    polls, (bad, *good) = world.polls(), world.en_route
    world.turvo.fail_next(status, path=f"/shipments/{bad}", body=body, times=2)
    assert polls.poll() == (False, good)
    assert re.search(rf"shipment {bad} is left: .*{meaning}", polls.said)
    world.turvo.heal()
    assert polls.poll() == (True, [bad])


def test_what_was_refused_comes_after_all_others(world: World) -> None:
    polls, bad = world.polls(), world.en_route[0]
    world.webhook.judge = lambda body, ids: 422 if bad in ids else 200
    assert polls.poll() == (False, world.en_route[1:])
    world.redis.flushall()
    polls.poller.marks.clear()
    world.webhook.judge = lambda body, ids: 200
    assert polls.poll() == (True, world.en_route)
    assert world.webhook.batches == [[*world.en_route[1:], bad]]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, "", "500"),
        (200, ERROR, "busy"),
        (200, SUCCESS % '{"shipments": [[]]}', "must be a list of records"),
    ],
)
def test_a_poll_is_left_out_while_turvo_is_down(
    world: World, status: int, body: str, said: str
) -> None:
    polls = world.polls()
    world.turvo.fail_next(status, body=body)
    assert polls.poll() == (False, [])
    assert re.search(f"the rest is left: .*{said}", polls.said)
    assert polls.poll() == (True, world.en_route)


BOTH_PHONES_GONE = {
    "phone": {"number": "1", "deleted": True},
    "context": {"phones": [{"number": "1", "deleted": True}]},
}
OFFSET = "2026-01-02T10:00:00-06:00"
STOP = {"stopType": {"value": "Delivery"}, "etaToStop": {"etaValue": OFFSET}}


@pytest.mark.parametrize(
    ("shipment", "expected"),
    [
        *SUMMARIES,
        (driven_by(BOTH_PHONES_GONE), {"driver_phone": None}),
        ({"globalRoute": ["odd", None, STOP]}, {"eta": OFFSET}),
        ({"globalRoute": "odd", "carrierOrder": {"drivers": 5}}, {"eta": None}),
    ],
)
def test_summary_takes_the_next_delivery_and_the_present_driver(
    shipment: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = summary(shipment)
    for name in expected.keys() & found.keys():
        assert found[name] == expected[name]


# Once, and never not at all


def test_pollers_at_once_forward_each_shipment_once(world: World) -> None:
    """While one of them waits for the webhook, the others leave its shipments to it."""
    first, *others = [world.polls().poller for _ in range(3)]
    world.webhook.go.clear()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(first.poll)
        assert world.webhook.arrived.wait(20)
        assert all(0 < left <= CLAIM_SECONDS for left in world.keys().values())
        assert [each.poll() for each in others] == [True, True]
        world.webhook.go.set()
        assert waiting.result(20)
    assert world.webhook.batches == [world.en_route]
    assert world.are_marked()


@pytest.mark.parametrize("step", ["list", "details", "webhook", "mark"])
def test_a_poller_that_was_killed_is_made_up_for(
    world: World, redis_server: RedisServer, step: str
) -> None:
    """kill -9 at each step. It comes twice only if the webhook had it already."""
    world.redis_url = redis_server.url
    held = {"list": "/list", "details": f"/{world.en_route[3]}"}
    world.turvo.hold = held.get(step, "nothing")
    if step == "mark":
        world.webhook.judge = lambda body, ids: redis_server.pause() or 200
    else:
        world.webhook.go.clear()
    victim = world.start(*ONCE, "--webhook", world.webhook.url)
    step_is_reached = world.turvo.held if step in held else world.webhook.arrived
    assert step_is_reached.wait(20)
    assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    redis_server.resume()
    world.turvo.hold = "nothing"
    world.turvo.go.set()
    world.webhook.go.set()
    world.webhook.judge = lambda body, ids: 200

    with redis_server.client() as world.redis:
        if step != "list":
            assert world.polls(redis_server.url).poller.poll()
            assert sorted(world.keys()) == world.en_route
            world.redis.eval(PASS_TIME, 0, CLAIM_SECONDS * 1000)
        assert world.polls(redis_server.url).poller.poll()
        first, *copies = world.webhook.batches
        assert first == world.en_route
        if step in held:
            assert copies == []
        elif step == "webhook":
            assert copies == [world.en_route]
        else:  # The first mark may have been on its way.
            assert copies in ([world.en_route], [world.en_route[1:]])
        assert world.are_marked()


@pytest.mark.parametrize("when", ["at first", "between two polls", "before the mark"])
def test_redis_killed_and_back(
    world: World, redis_server: RedisServer, when: str
) -> None:
    """Marks are written again, nothing goes twice."""
    polls = world.polls(redis_server.url)
    if when == "before the mark":
        world.webhook.judge = lambda body, ids: redis_server.kill() or 200
    if when != "at first":
        assert polls.poll() == (when != "before the mark", world.en_route)
    if redis_server.process:
        redis_server.kill()
    assert polls.poll() == (False, [])
    assert "the rest is left: 'Error 111 connecting" in polls.said
    redis_server.start()
    assert polls.poll() == (True, world.en_route if when == "at first" else [])
    with redis_server.client() as world.redis:
        assert world.are_marked()


HANGS, KILLED, FLUSHED, REDIS_DOWN = "hangs", "killed", "flushed", "Redis down"
HARMLESS = ["Turvo down", "details fail", "webhook down", "refuses one in seven"]
FAULTS = [HANGS, KILLED, FLUSHED, REDIS_DOWN, *HARMLESS]
HEALTHY = "healthy"
POLLS_A_WEEK = 28
POLL_EVERY = 6 * 3600


@pytest.mark.usefixtures("quick_webhook")
def test_a_week_with_all_faults_loses_nothing(
    world: World, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pollers take turns. Copies are only those that the docstring tells of."""
    monkeypatch.setattr(poller, "time", SimpleNamespace(time=world.turvo.clock))
    world.turvo.token_life = 1e9
    world.redis_url = redis_server.url
    pollers = [world.polls(), world.polls()]
    week = FAULTS * 2 + [HEALTHY] * (POLLS_A_WEEK - 2 * len(FAULTS))
    random.Random(7).shuffle(week)
    expected: set[int] = set()
    taken_at: dict[int, list[int]] = {}

    for number, fault in enumerate([*week, HEALTHY, HEALTHY]):
        en_route = world.turvo.en_route()
        if fault == HEALTHY:
            expected.update(en_route)
        is_done, taken = poll_once(world, redis_server, pollers[number % 2], fault)
        assert is_done or fault != HEALTHY
        for shipment_id in taken:
            taken_at.setdefault(shipment_id, []).append(number)
        world.turvo.clock.sleep(POLL_EVERY)
        with redis_server.client() as client:
            client.eval(PASS_TIME, 0, POLL_EVERY * 1000)

    assert expected
    assert expected - taken_at.keys() == set()
    for first, second in chain(*map(pairwise, taken_at.values())):
        mark_has_ended = (second - first) * POLL_EVERY >= MARK_SECONDS
        mark_was_lost = {FLUSHED, REDIS_DOWN} & set(week[first + 1 : second + 1])
        assert mark_has_ended or mark_was_lost or week[first] in (HANGS, KILLED)


def poll_once(
    world: World, redis_server: RedisServer, polls: Any, fault: str
) -> tuple[bool, list[int]]:
    """Poll while something fails; return whether all was done, and what was taken."""
    turvo, webhook = world.turvo, world.webhook
    if fault == FLUSHED:
        with redis_server.client() as client:
            client.flushall()
    elif fault == REDIS_DOWN:
        redis_server.kill()
    elif fault == "Turvo down":
        turvo.fail_next(500, times=9)
    elif fault == "details fail":
        turvo.fail_next(500, path="/shipments/9", times=3)
    elif fault == "webhook down":
        webhook.judge = lambda body, ids: 503
    elif fault == "refuses one in seven":
        webhook.judge = lambda body, ids: 422 if any(i % 7 == 0 for i in ids) else 200
    elif fault in (HANGS, KILLED):
        webhook.go.clear()
    if fault == KILLED:
        webhook.batches.clear()
        webhook.arrived.clear()
        victim = world.start(*ONCE, "--webhook", webhook.url)
        wait_until(
            lambda: webhook.arrived.is_set() or victim.process.poll() is not None,
            "the batch, or the end of a poll that had nothing to do",
        )
        victim.kill()
        result = False, webhook.taken()
    else:
        result = polls.poll()
    webhook.go.set()
    webhook.judge = lambda body, ids: 200
    turvo.heal()
    if fault == REDIS_DOWN:
        redis_server.start()
    return result


def test_a_full_disk_leaves_no_torn_line(world: World) -> None:
    """What did not fit is taken back, and goes out when there is room."""
    two_kilobytes = ("bash", "-c", 'ulimit -f 2; exec "$@"', "bash")
    full = world.start(*ONCE, through=two_kilobytes)
    assert (full.end(), full.out, world.keys()) == (1, "", {})
    assert "the rest is left: 'the disk is full'" in full.err
    assert world.start(*ONCE).end() == 0
    assert full.ids == world.en_route


# Stopping

HANGS_AT: dict[str, Callable[[Any, Webhook], object]] = {
    "Retry-After": lambda turvo, hook: turvo.throttle("30", times=9**9),
    "login": lambda turvo, hook: setattr(turvo, "login_seconds", 60),
    "details": lambda turvo, hook: setattr(turvo, "hold", "/shipments/9"),
    "webhook": lambda turvo, hook: hook.go.clear(),
    "dripping webhook": lambda turvo, hook: setattr(hook, "judge", lambda *_: 0),
}
STOPPED = [*((hangs, QUICKLY, 0) for hangs in HANGS_AT), ("details", ONCE, 1)]


def test_sigterm_ends_it_with_nothing_half_done(tmp_path: Path, redis_url: str) -> None:
    """Whatever it waits for, which would take half a minute or more. No claim stays.

    All of them at once, because each may take the seconds that a webhook is given.
    """
    with ExitStack() as worlds:
        started = []
        for hangs, command, code in STOPPED:
            prefix = f"{hangs} {code}"
            (tmp_path / prefix).mkdir()
            world = worlds.enter_context(World(tmp_path / prefix, redis_url))
            HANGS_AT[hangs](world.turvo, world.webhook)
            options = ("--webhook", world.webhook.url, "--prefix", prefix)
            started.append((world, world.start(*command, *options), prefix, code))
        for world, _, prefix, _ in started:
            wait_until(partial(hangs_at, prefix, world), prefix)
        start = time.monotonic()
        for _, program, *_ in started:
            program.process.send_signal(signal.SIGTERM)
        for world, program, prefix, code in started:
            assert (program.end(), world.keys(prefix)) == (code, {}), prefix
        assert time.monotonic() - start < 10


def hangs_at(prefix: str, world: World) -> bool:
    """Return whether a poller waits for what its prefix names."""
    turvo = world.turvo
    if prefix.startswith("login"):
        return turvo.token_requests > turvo.logins
    if prefix.startswith("Retry-After"):
        return turvo.requests[-1].status == 429
    return turvo.held.is_set() or world.webhook.arrived.is_set()


def test_the_end_of_a_service_with_work_left_is_no_failure(world: World) -> None:
    world.webhook.judge = lambda body, ids: 422
    program = world.start(*QUICKLY, "--webhook", world.webhook.url)
    program.wait_for(f", {len(world.en_route)} left")
    assert (program.end(signal.SIGTERM), world.keys()) == (0, {})


def test_a_signal_at_any_line_of_a_poll_leaves_no_claim(world: World) -> None:
    """Up to the last lines, which give the claims back. Threads see no signal."""
    keys = [f"turvo:in_transit:{each}" for each in world.en_route]
    for key in keys[2:]:
        world.redis.set(key, "forwarded")
    polls, struck, times = world.polls(), set[tuple[int, int]](), Counter[int]()
    lines, first = inspect.getsourcelines(poller.Poller.poll)
    last = first + lines.index("        finally:\n")

    def strike(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not poller.Poller.poll.__code__:
            return None
        if event == "line" and frame.f_lineno < last:
            times[frame.f_lineno] += 1
            here = (frame.f_lineno, times[frame.f_lineno])
            if here[1] < 3 and here not in struck:
                struck.add(here)
                raise KeyboardInterrupt
        return strike

    def poll_until_struck() -> bool:
        before, tracer = len(struck), sys.gettrace()
        times.clear()
        sys.settrace(strike)
        try:
            polls.poll()
        except KeyboardInterrupt:
            return len(struck) > before
        finally:
            sys.settrace(tracer)
        return False

    while poll_until_struck():
        values = world.redis.mget(keys[:2])
        assert set(values) <= {None, b"forwarded"}
        assert len(world.webhook.taken()) == values.count(b"forwarded")
        world.redis.delete(*keys[:2])
        polls.poller.marks.clear()
    assert len(struck) > 10


def test_a_full_pipe_does_not_keep_it_from_stopping(world: World) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(1_000_000))
    os.set_blocking(writer, True)
    program = world.start(*QUICKLY, stdout=writer)
    wait_until(lambda: world.details_read() == len(world.en_route), "the details")
    assert (program.end(signal.SIGTERM), world.keys()) == (0, {})
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_pause_between_two_polls(world: World, number: int) -> None:
    """A quarter of an hour is not waited for, and all that was forwarded is out."""
    program = world.start("poller.py")
    wait_until(world.are_marked, "the marks")
    assert (program.end(number), program.ids) == (0, world.en_route)
    assert world.are_marked()


def test_an_answer_that_comes_after_the_signal_counts(world: World) -> None:
    world.webhook.go.clear()
    program = world.start(*QUICKLY, "--webhook", world.webhook.url)
    assert world.webhook.arrived.wait(20)
    program.process.send_signal(signal.SIGINT)
    world.webhook.go.set()
    assert (program.end(), world.webhook.batches) == (0, [world.en_route])
    assert world.are_marked()


# What a person sees


def test_no_line_tells_the_webhook(world: World) -> None:
    """Its URL may hold a secret; ``end`` looks for it."""
    world.webhook.shutdown()
    world.webhook.server_close()
    program = world.start(*ONCE, "--webhook", world.webhook.url)
    assert program.end() == 1
    assert "'the webhook: ConnectionError'" in program.err


@pytest.fixture
def errors(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., str]:
    """Return a function that runs the poller, and returns what it complains of."""
    settings = {**turvo.environ, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "_exit", sys.exit)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [*ONCE, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / "poller.py"), run_name="__main__")
        out, err = capsys.readouterr()
        assert (ended.value.code, out, err[:7]) == (2, "", "usage: ")
        assert [one for one in (turvo.password, turvo.api_key) if one in err] == []
        return err

    return run


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TURVO_API_KEY", ""),
        ("TURVO_BASE_URL", "http://a.example"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "redis://:a-secret@x:y/0"),
    ],
)
def test_a_wrong_setting_is_named(
    errors: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    said = errors()
    assert name.replace("_", " ").lower() in said.replace("_", " ").lower()
    assert "a-secret" not in said


@pytest.mark.parametrize("arguments", ["--every x", "--workers 0", "--nonsense"])
def test_wrong_arguments_are_named(errors: Callable[..., str], arguments: str) -> None:
    assert arguments.split()[0] in errors(*arguments.split())
