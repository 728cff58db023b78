"""The poller keeps what its docstring promises."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import poller
import pytest
from ledger import CLAIM_SECONDS, MARK_SECONDS
from schedule import next_moment
from screen import printable_text
from shipments import summary

from tests.support.programs import EXAMPLES, Webhook, World, wait_until
from tests.support.servers import RedisServer
from tests.support.turvo_shapes import SUMMARIES

QUICKLY = ("poller.py", "--every", "0.004")  # minutes: four polls a second
ONCE = ("poller.py", "--once")
ERROR = '{"Status": "ERROR", "details": {"errorMessage": "busy"}}'
SUCCESS = '{"Status": "SUCCESS", "details": %s}'

# What it forwards


def test_once_forwards_every_page_and_marks_it_for_two_days(world: World) -> None:
    """One JSON line each; the next run finds nothing to do, and does not log in."""
    program = world.start(*ONCE, "--prefix", "mine")
    assert (program.end(), program.ids) == (0, world.en_route)
    line = json.loads(program.out.splitlines()[0])
    assert all(line.values())
    marks = world.keys("mine")
    assert sorted(marks) == world.en_route
    assert all(MARK_SECONDS - 60 < left <= MARK_SECONDS for left in marks.values())
    mark = json.loads(world.redis.get(f"mine:in_transit:{line['id']}"))
    assert mark.keys() == {"forwarded_at", "custom_id", "eta"}

    logins = world.turvo.logins
    world.turvo.requests.clear()
    again = world.start(*ONCE, "--prefix", "mine")
    assert (again.end(), again.ids) == (0, world.en_route)
    paths = {seen.path for seen in world.turvo.requests}
    assert (paths, world.turvo.logins) == ({"/v1/shipments/list"}, logins)


def test_a_webhook_gets_one_batch_a_poll_and_nothing_twice(world: World) -> None:
    """Without Redis a poller knows what it has forwarded itself. No body is read."""
    first, *others = world.en_route
    rows = json.dumps({"shipments": [{"customId": "no id"}, {"id": first}]})
    world.turvo.fail_next(200, path="/list", body=SUCCESS % rows)
    polls = world.polls()
    assert polls.poll() == (True, [first])
    assert polls.poll() == (True, others)
    assert len(world.webhook.batches) == 1
    assert polls.poll() == (True, [])


@pytest.mark.parametrize(
    ("judge", "good", "posts"),
    [
        (lambda body, ids: 422 if any(i % 7 == 0 for i in ids) else 200, 7, 40),
        (lambda body, ids: 413 if len(body) > 2000 else 200, 10**9, 15),
        (lambda body, ids: 400, 1, 31),
        (lambda body, ids: 500, 1, 1),
        (lambda body, ids: 302, 1, 1),
        (lambda body, ids: 0, 1, 1),
    ],
    ids=["one in seven", "too large", "all refused", "error", "redirect", "drips"],
)
def test_what_a_webhook_does_not_take_holds_up_no_others(
    world: World, judge: Any, good: int, posts: int
) -> None:
    """It is named, and goes out with the next poll that may. Posts are bounded."""
    polls, asked = world.polls(), []
    world.webhook.judge = lambda body, ids: asked.append(1) or judge(body, ids)
    taken = [i for i in world.en_route if i % good]
    left = sorted(set(world.en_route) - set(taken))

    assert polls.poll() == (not left, taken)
    assert len(asked) <= posts
    if left and taken:
        named = re.findall(r"shipment (\d+): HTTP 422, .*; left for", polls.said)
        assert sorted(map(int, named)) == left
    elif left:
        assert re.search(r"\d+ not forwarded: \w.*; left for the next poll", polls.said)
    world.webhook.judge = lambda body, ids: 200
    assert polls.poll() == (True, left)


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (401, "", "HTTP 401, Turvo refuses even a new token"),
        (403, "", "HTTP 403, Turvo forbids it"),
        (404, "", "HTTP 404, Turvo has no such shipment"),
        (429, "", "HTTP 429, Turvo wants fewer requests"),
        (500, "<html>", "HTTP 500, the server is in trouble"),
        (200, ERROR, "busy"),
        (200, SUCCESS % '{"id": [1]}', "an unknown form"),
    ],
)
def test_a_shipment_that_cannot_be_read_holds_up_no_others(
    world: World, status: int, body: str, meaning: str
) -> None:
    """It is named with what that means, and is forwarded by the next poll."""
    polls, (bad, *good) = world.polls(), world.en_route
    world.turvo.fail_next(status, path=f"/shipments/{bad}", body=body, times=2)
    assert polls.poll() == (False, good)
    assert re.search(rf"shipment {bad}: .*{meaning}.*; left for", polls.said)
    world.turvo.heal()
    assert polls.poll() == (True, [bad])


def test_shipments_that_always_fail_come_last(world: World) -> None:
    """Three in a row end a poll, since Turvo may be down; the next one goes on."""
    polls = world.polls()
    for shipment_id in world.en_route[:3]:
        world.turvo.fail_next(500, path=str(shipment_id), times=float("inf"))
    assert polls.poll() == (False, [])
    assert polls.poll() == (False, world.en_route[3:])
    world.turvo.fail_next(200, path="/list", body=SUCCESS % "{}")
    assert (polls.poll(), polls.poller.failures) == ((True, []), {})


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, "", "Turvo: HTTP 500"),
        (200, ERROR, "busy"),
        (200, SUCCESS % '{"shipments": [[]]}', "Turvo: "),
    ],
)
def test_a_poll_is_left_out_while_turvo_is_down(
    world: World, status: int, body: str, said: str
) -> None:
    polls = world.polls()
    world.turvo.fail_next(status, body=body)
    assert polls.poll() == (False, [])
    assert said in polls.said
    assert "this poll is left out" in polls.said
    assert polls.poll() == (True, world.en_route)


def test_shipments_that_are_always_refused_take_turns(world: World) -> None:
    """Ten a poll, where none is taken; so each of them gets its chance."""
    polls, last = world.polls(), world.en_route[-1]
    world.webhook.judge = lambda body, ids: 422
    assert [polls.poll() for _ in range(5)] == [(False, [])] * 5
    world.webhook.judge = lambda body, ids: 200 if ids == [last] else 422
    assert [last] in [polls.poll()[1] for _ in range(5)]


@pytest.mark.parametrize(("shipment", "expected"), SUMMARIES)
def test_summary_takes_the_next_delivery_and_the_present_driver(
    shipment: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = summary(shipment)
    assert {name: found[name] for name in expected} == expected


# Once, and never not at all


def test_pollers_at_once_forward_each_shipment_once(world: World) -> None:
    """While one of them waits for the webhook, the others leave its shipments to it."""
    first, *others = [world.polls(world.redis_url).poller for _ in range(3)]
    first.forward = partial(poller.to_webhook, world.webhook.url)
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


def test_a_claim_is_given_back_by_its_owner_only(world: World) -> None:
    slow, quick = (world.polls(world.redis_url).poller.ledger for _ in range(2))
    assert slow.take_claims([1, 2]) == [1, 2]
    assert quick.take_claims([1, 2]) == []
    world.redis.delete("turvo:in_transit:1", "turvo:in_transit:2")  # they have ended
    assert quick.take_claims([1, 2]) == [1, 2]
    quick.mark_forwarded([{"id": 2, "custom_id": "L2", "eta": None}])
    slow.release_claims([1, 2])
    assert sorted(world.keys()) == [1, 2]
    quick.release_claims([1])
    assert sorted(world.keys()) == [2]


def test_a_poller_that_was_killed_is_made_up_for(world: World) -> None:
    """kill -9 while the webhook has the batch; the claims end by themselves."""
    world.webhook.go.clear()
    victim = world.start(*ONCE, "--webhook", world.webhook.url)
    assert world.webhook.arrived.wait(20)
    assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    world.webhook.go.set()
    assert sorted(world.keys()) == world.en_route
    for key in world.redis.keys("turvo:in_transit:*"):
        world.redis.pexpire(key, 1)
    wait_until(lambda: not world.keys(), "the end of the claims")
    assert world.start(*ONCE, "--webhook", world.webhook.url).end() == 0
    assert world.webhook.batches == [world.en_route, world.en_route]


@pytest.mark.parametrize("when", ["at first", "between two polls", "before the mark"])
def test_redis_killed_and_back(
    world: World, redis_server: RedisServer, when: str
) -> None:
    """Turvo is not asked without Redis. Marks are written again, nothing goes twice."""
    polls = world.polls(redis_server.url)
    if when == "before the mark":
        world.webhook.judge = lambda body, ids: redis_server.kill() or 200
    if when != "at first":
        assert polls.poll() == (when != "before the mark", world.en_route)
    if redis_server.process:
        redis_server.kill()
    asked = world.turvo.api_requests
    assert polls.poll() == (False, [])
    assert "Redis: it cannot be reached (ConnectionError); nothing" in polls.said
    assert world.turvo.api_requests == asked
    redis_server.start()
    assert polls.poll() == (True, world.en_route if when == "at first" else [])
    with redis_server.client() as world.redis:
        assert world.are_marked()


# Full disks, and readers that go away


def test_a_full_disk_leaves_no_torn_line(world: World) -> None:
    """What did not fit is taken back, and goes out when there is room."""
    two_kilobytes = ("bash", "-c", 'ulimit -f 2; exec "$@"', "bash")
    full = world.start(*ONCE, through=two_kilobytes)
    assert (full.end(), full.out, world.keys()) == (1, "", {})
    left = len(world.en_route)
    assert f"{left} not forwarded: File too large; left for the next" in full.err
    assert world.start(*ONCE).end() == 0
    assert full.ids == world.en_route


def test_after_a_torn_line_the_next_batch_begins_on_a_new_one() -> None:
    """Where nothing can be taken back, as in a pipe that is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    forward = poller.StdoutLines()
    with os.fdopen(writer, "w") as out, redirect_stdout(out):
        with pytest.raises(BlockingIOError):
            forward([{"id": 1, "custom_id": "x" * 1_000_000}])
        os.read(reader, 1_000_000)
        forward([{"id": 2}])
        forward([{"id": 3}])
    assert os.read(reader, 1_000_000) == b'\n{"id": 2}\n{"id": 3}\n'
    os.close(reader)


def test_a_reader_that_goes_away_ends_it(world: World) -> None:
    """``poller.py | head``: one line, exit code 1, and the claims are given back."""
    reader, writer = os.pipe()
    world.turvo.hold = "/list"
    program = world.start(*QUICKLY, stdout=writer)
    os.close(writer)
    assert world.turvo.held.wait(20)
    os.close(reader)
    world.turvo.go.set()
    assert (program.end(), world.keys()) == (1, {})
    left = f"{len(world.en_route)} not forwarded: Broken pipe; left for the next poll"
    assert program.err == f"poller: {left}\n"


# Stopping

HANGS: dict[str, Callable[[Any, Webhook], object]] = {
    "Retry-After": lambda turvo, hook: turvo.throttle("30", times=9**9),
    "login": lambda turvo, hook: setattr(turvo, "login_seconds", 60),
    "details": lambda turvo, hook: setattr(turvo, "hold", "/shipments/9"),
    "webhook": lambda turvo, hook: hook.go.clear(),
    "dripping webhook": lambda turvo, hook: setattr(hook, "judge", lambda *_: 0),
}


@pytest.mark.parametrize("hangs", HANGS)
def test_sigterm_ends_it_with_nothing_half_done(world: World, hangs: str) -> None:
    """Whatever it waits for, which would take half a minute or more. No claim stays."""
    turvo, webhook = world.turvo, world.webhook
    HANGS[hangs](turvo, webhook)
    turvo.requests.clear()
    asked = turvo.token_requests + turvo.api_requests
    program = world.start(*QUICKLY, "--webhook", webhook.url)
    if hangs in ("Retry-After", "login"):
        wait_until(lambda: turvo.token_requests + turvo.api_requests > asked, hangs)
    else:
        wait_until(lambda: turvo.held.is_set() or webhook.arrived.is_set(), hangs)
    assert (program.end(signal.SIGTERM), world.keys()) == (0, {})


def test_a_full_pipe_does_not_keep_it_from_stopping(world: World) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, bytes(1_000_000))
    os.set_blocking(writer, True)
    program = world.start(*QUICKLY, stdout=writer)
    wait_until(world.keys, "the claims")
    assert (program.end(signal.SIGTERM), world.keys()) == (0, {})
    os.close(reader)
    os.close(writer)


def test_a_signal_before_a_wait_shortens_it_too() -> None:
    script = """
import os, signal, time, schedule
schedule.GRACE_SECONDS = 0.1
schedule.Stop.on_signals()
os.kill(os.getpid(), signal.SIGTERM)
with schedule.time_limit(60):
    time.sleep(60)
"""
    environ = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=20)
    assert b"TimeoutError: no whole answer in time" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_pause_between_two_polls(world: World, number: int) -> None:
    """A quarter of an hour is not waited for, and all that was forwarded is out."""
    program = world.start("poller.py")
    program.wait_for(" forwarded;")
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


def test_a_second_signal_kills_it(world: World) -> None:
    world.webhook.go.clear()
    program = world.start(*QUICKLY, "--webhook", world.webhook.url)
    assert world.webhook.arrived.wait(20)

    def is_dead() -> bool:
        program.process.send_signal(signal.SIGTERM)
        return program.process.poll() is not None

    wait_until(is_dead, "its end")
    assert program.process.returncode == -signal.SIGTERM


def test_the_schedule_does_not_drift() -> None:
    """The next poll is a whole number of intervals after the last one."""
    nows = (100.0, 159.9, 160.0, 161.0, 1000.5)
    due = [next_moment(100.0, 60.0, now) for now in nows]
    assert due == [160.0, 160.0, 160.0, 220.0, 1060.0]


# What a person sees


def test_a_line_cannot_control_a_terminal() -> None:
    assert printable_text("a\x1b]0;b\n c\u202e") == "a ]0;b c"


def test_a_terminal_shows_progress_new_shipments_and_logins(world: World) -> None:
    seen = world.on_terminal("--webhook", world.webhook.url)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    count = len(world.en_route)
    result = f"{count} en route, {count} forwarded; logins so far: 1, saved: 0"
    for part in ("Reading the new shipments", f"{count} new", "555-01", result):
        assert part in text
    assert "\x1b[1;32m" in seen


def test_a_terminal_without_rich_shows_plain_lines(world: World) -> None:
    (world.folder / "rich.py").write_text("raise ImportError('not installed')")
    count = len(world.en_route)
    result = f"{count} en route, {count} forwarded; logins so far: 1, saved: 0"
    seen = world.on_terminal(path=str(world.folder))
    assert seen == f"poller: {result}\r\n"


def test_wrong_settings_give_one_line_that_names_all(world: World) -> None:
    wrong = dict.fromkeys(("TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD"), "")
    wrong["TURVO_BASE_URL"] = "http://a.example"
    wrong["REDIS_URL"] = "redis://:a-secret@x:y/0"
    program = world.start(*ONCE, environ=wrong)
    assert (program.process.wait(30), program.err.count("\n")) == (2, 1)
    assert [name for name in wrong if name not in program.err] == []
    assert "a-secret" not in program.err


@pytest.mark.parametrize(
    "arguments",
    ["--every 0", "--every nan", "--every x", "--webhook ftp://x/", "--nonsense"],
)
def test_wrong_arguments_are_named(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        poller.main(arguments.split())
    said = capsys.readouterr().err
    assert (end.value.code, said[:7]) == (2, "usage: ")
    assert arguments.split()[0] in said
