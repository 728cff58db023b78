"""``examples/poller.py`` as a user runs it: real processes, a local Turvo, a real Redis-protocol server, a real webhook."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import poller
import pytest
import redis
from conftest import Clock
from ledger import Ledger
from schedule import following
from servers import RedisServer, free_port
from shipments import summary

from turvo_session import TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICKLY = ("--every", "0.004")  # minutes: four polls a second
CLAIM_SECONDS, MARK_SECONDS = 120, 172_800  # two minutes, two days
PATH_SECRET = "hook-secret-4711"


def wait_until(true: Callable[[], object], what: str) -> None:
    """Return when it is true; fail if it is not within 20 s."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.01)


class HeldTurvo(FakeTurvo):
    """A Turvo whose clock stands still, and that keeps requests whose URL holds ``hold`` waiting."""

    def __init__(self) -> None:
        super().__init__(shipments=100, clock=Clock())
        self.hold = "nothing"
        self.held, self.go = threading.Event(), threading.Event()

    def _answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Any:
        if self.hold in url:
            self.held.set()
            self.go.wait(20)
        return super()._answer(method, url, headers, body)

    def asked(self, ending: str) -> int:
        """How many requests there were for such a path."""
        return sum(seen.path.endswith(ending) for seen in self.requests)


class Webhook:
    """Takes batches, answers as it is told, and, while ``go`` is clear, not at all."""

    def __init__(self, port: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.status, self.headers = 204, {}
        self.arrived, self.go = threading.Event(), threading.Event()
        self.go.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.batches.append([shipment["id"] for shipment in body["shipments"]])
                hook.arrived.set()
                hook.go.wait(20)
                self.answer(hook.status, hook.headers)

            def do_GET(self) -> None:  # the login page that a redirect leads to
                self.answer(200, {})

            def answer(self, status: int, headers: dict[str, str]) -> None:
                self.send_response_only(status)
                for header in {"Content-Length": "0", **headers}.items():
                    self.send_header(*header)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None: ...

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/{PATH_SECRET}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def delivered(self) -> list[int]:
        """All the shipments that arrived, as often as they did."""
        return sorted(i for batch in self.batches for i in batch)


class Run:
    """A poller that was started."""

    def __init__(self, folder: Path, environ: dict[str, str], *arguments: str, **options: Any) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self.environ = environ
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / "poller.py"), *arguments],
                env=environ,
                **{"stdout": out, "stderr": err, "stdin": subprocess.DEVNULL, **options},
            )

    @property
    def ids(self) -> list[int]:
        """The shipments on stdout; a line that is still being written is not there yet."""
        lines = self.out.read_text().splitlines(keepends=True)
        return sorted(json.loads(line)["id"] for line in lines if line.endswith("\n"))

    @property
    def said(self) -> str:
        """What is on stderr."""
        return self.err.read_text()

    def said_until(self, text: str) -> None:
        """Wait until it says this."""
        wait_until(lambda: text in self.said, f"{text!r} on stderr")

    def end(self, signum: int | None = None) -> int:
        """Send a signal, if any, and wait for the exit code. Whatever it did, it told no secret."""
        if signum is not None:
            self.process.send_signal(signum)
        code = self.process.wait(30)
        everything = self.said + self.out.read_text()
        assert self.out.read_text()[-1:] in ("", "\n")
        secrets = [value for name, value in self.environ.items() if re.search("PASSWORD|API_KEY", name)]
        assert not [secret for secret in (*secrets, PATH_SECRET, "3b_-") if secret in everything]
        assert "Traceback" not in everything
        return code


@pytest.fixture
def turvo() -> Iterator[HeldTurvo]:
    with HeldTurvo() as server:
        yield server
        server.go.set()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


@pytest.fixture
def en_route(turvo: HeldTurvo) -> list[int]:
    """The ids of the shipments that are to be forwarded: more than a page of them."""
    with TurvoSession(TurvoAuth.from_env(turvo.environ)) as session:
        rows = session.records("/shipments/list", "shipments", {"status[eq]": "2105"})
        ids = sorted(row["id"] for row in rows)
    assert len(ids) > 24
    turvo.requests.clear()
    return ids


def listing(*rows: dict[str, Any]) -> str:
    """The body of a list with these shipments."""
    return json.dumps({"Status": "SUCCESS", "details": {"shipments": rows}})


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, turvo: HeldTurvo) -> Iterator[Start]:
    """Start a poller, ``start(redis_url or None, *arguments)``; whatever still runs is killed at the end."""
    runs: list[Run] = []

    def start(redis_url: str | None, *arguments: str, **changes: Any) -> Run:
        environ = {**os.environ, "PYTHONUNBUFFERED": "", **turvo.environ, **changes.pop("environ", {})}
        if redis_url:
            environ["REDIS_URL"] = redis_url
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        runs.append(Run(folder, environ, *arguments, **changes))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def keys(client: redis.Redis, prefix: str = "turvo") -> dict[int, int]:
    """The shipments at whose key something is, and the seconds that it has to live."""
    found = client.keys(f"{prefix}:in_transit:*")
    return {int(key.rpartition(b":")[2]): client.ttl(key) for key in found}  # type: ignore[union-attr]


# What it forwards


def test_once_forwards_every_page_and_marks_it_for_two_days(
    start: Start, turvo: HeldTurvo, redis_url: str, redis_client: redis.Redis, en_route: list[int]
) -> None:
    """More than 24 shipments, one JSON line each; the next cron run finds nothing to do, and makes no login."""
    logins = turvo.logins
    first = start(redis_url, "--once")
    assert first.end() == 0
    assert first.ids == en_route
    line = json.loads(first.out.read_text().splitlines()[0])
    assert all(line.values())
    assert line["carrier"] != "Old Carrier"
    assert re.fullmatch(r"555-01\d\d", line["driver_phone"])
    marks = keys(redis_client)
    assert sorted(marks) == en_route
    assert all(MARK_SECONDS - 60 < left <= MARK_SECONDS for left in marks.values())
    assert set(json.loads(redis_client.get(f"turvo:in_transit:{line['id']}"))) == {  # type: ignore[arg-type]
        "forwarded_at",
        "custom_id",
        "eta",
    }

    turvo.requests.clear()
    second = start(redis_url, "--once")
    assert second.end() == 0
    assert second.ids == []
    assert {seen.path for seen in turvo.requests} == {"/v1/shipments/list"}
    assert turvo.logins == logins + 1


def test_without_redis_it_remembers_for_its_own_run(
    start: Start, turvo: HeldTurvo, en_route: list[int]
) -> None:
    """Several polls, every shipment once."""
    run = start(None, *QUICKLY)
    wait_until(lambda: turvo.asked("/list") >= 8, "four polls of two pages")
    assert run.end(signal.SIGINT) == 0
    assert run.ids == en_route
    assert run.said.count(" 0 forwarded; logins so far: 1, saved: ") >= 2


def test_a_webhook_gets_one_batch(
    start: Start, redis_url: str, redis_client: redis.Redis, webhook: Webhook, en_route: list[int]
) -> None:
    """All of a poll in one POST, nothing on stdout, the marks under the prefix that was asked for."""
    run = start(redis_url, "--once", "--webhook", webhook.url, "--prefix", "mine")
    assert run.end() == 0
    assert webhook.batches == [en_route]
    assert run.ids == []
    assert sorted(keys(redis_client, "mine")) == en_route


DETAIL = {
    "id": 1,
    "customId": "L1",
    "globalRoute": [
        {"stopType": {"key": "1501"}, "state": "COMPLETED", "address": {"city": "done"}},
        {"stopType": {"key": "1500"}, "state": "OPEN", "address": {"city": "a pickup"}},
        {"stopType": {"key": "1501"}, "state": "OPEN", "deleted": True, "address": {"city": "deleted"}},
        {"stopType": {"key": "1501"}, "state": "OPEN", "etaToStop": {"etaValue": "soon"}},
        {"stopType": {"key": "1501"}, "state": "OPEN", "etaToStop": {"etaValue": "later"}},
    ],
    "carrierOrder": [
        {"deleted": True, "carrier": {"name": "gone"}, "drivers": [{"phone": {"number": "1"}}]},
        {
            "carrier": {"name": "here"},
            "drivers": [
                {"deleted": True, "phone": {"number": "2"}},
                {"deleted": False, "phone": None},
                {"deleted": False, "phone": {"number": "3"}},
            ],
        },
    ],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"eta": "soon", "carrier": "here", "driver_phone": "3", "customer": None}),
        ({"globalRoute": None, "carrierOrder": []}, {"eta": None, "carrier": None, "driver_phone": None}),
        ({"globalRoute": DETAIL["globalRoute"][:3]}, {"eta": None, "destination": None}),  # type: ignore[index]
    ],
    ids=["first open delivery, nothing deleted", "nothing there", "no open delivery"],
)
def test_summary_takes_the_open_delivery_and_a_living_driver(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """What is deleted or done is passed over; what is missing is null."""
    found = summary({**DETAIL, **changes})
    assert {name: found[name] for name in expected} == expected


# Once, and never not at all


def test_pollers_at_once_forward_a_shipment_once(
    start: Start, redis_url: str, redis_client: redis.Redis, en_route: list[int]
) -> None:
    """Three that start together share the work; nothing is left, nothing comes twice."""
    runs = [start(redis_url, "--once") for _ in range(3)]
    assert [run.end() for run in runs] == [0] * 3
    assert sorted(i for run in runs for i in run.ids) == en_route
    assert min(keys(redis_client).values()) > CLAIM_SECONDS


def test_a_shipment_being_forwarded_is_left_to_who_forwards_it(
    start: Start, redis_url: str, redis_client: redis.Redis, webhook: Webhook, en_route: list[int]
) -> None:
    """While one poller waits for the webhook, its claims stand, and another finds nothing to do."""
    webhook.go.clear()
    first = start(redis_url, "--once", "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    assert all(0 < left <= CLAIM_SECONDS for left in keys(redis_client).values())
    second = start(redis_url, "--once", "--webhook", webhook.url)
    assert second.end() == 0
    webhook.go.set()
    assert first.end() == 0
    assert webhook.batches == [en_route]
    assert min(keys(redis_client).values()) > CLAIM_SECONDS


def test_a_poller_killed_before_its_mark_is_made_up_for(
    start: Start, redis_url: str, redis_client: redis.Redis, webhook: Webhook, en_route: list[int]
) -> None:
    """kill -9 while the webhook has the batch: the claims end by themselves, then all is forwarded again."""
    webhook.go.clear()
    victim = start(redis_url, "--once", "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    assert victim.end(signal.SIGKILL) == -signal.SIGKILL
    webhook.go.set()
    claims = keys(redis_client)
    assert sorted(claims) == en_route
    assert max(claims.values()) <= CLAIM_SECONDS

    for key in redis_client.keys("turvo:in_transit:*"):  # type: ignore[union-attr]
        redis_client.pexpire(key, 1)  # as if their time had come
    wait_until(lambda: not keys(redis_client), "the end of the claims")
    assert start(redis_url, "--once", "--webhook", webhook.url).end() == 0
    assert webhook.batches == [en_route, en_route]
    assert min(keys(redis_client).values()) > CLAIM_SECONDS


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (404, {}), (302, {"Location": "/login"})],
    ids=["error", "not found", "redirect to a page that answers 200"],
)
def test_a_batch_that_the_webhook_did_not_take_is_not_marked(
    start: Start,
    redis_url: str,
    redis_client: redis.Redis,
    webhook: Webhook,
    en_route: list[int],
    status: int,
    headers: dict[str, str],
) -> None:
    """Only 2xx is success; the claims are given back at once, and the next run forwards all."""
    webhook.status, webhook.headers = status, headers
    run = start(redis_url, "--once", "--webhook", webhook.url)
    assert run.end() == 1
    assert f"{len(en_route)} shipments not forwarded: HTTPError {status}; left for the next poll" in run.said
    assert keys(redis_client) == {}
    webhook.status, webhook.headers = 200, {}
    assert start(redis_url, "--once", "--webhook", webhook.url).end() == 0
    assert webhook.batches == [en_route, en_route]


def test_a_webhook_that_is_down_gets_everything_when_it_is_up(
    start: Start, redis_url: str, en_route: list[int]
) -> None:
    """Nothing listens at first; the poller goes on, and delivers once."""
    port = free_port()
    run = start(redis_url, *QUICKLY, "--webhook", f"http://127.0.0.1:{port}/{PATH_SECRET}")
    run.said_until("not forwarded: ConnectionError; left for the next poll")
    with Webhook(port) as webhook:
        assert webhook.arrived.wait(20)
        run.said_until(f" {len(en_route)} forwarded;")
        assert run.end(signal.SIGTERM) == 0
        assert webhook.delivered() == en_route


def test_a_reader_that_goes_away_ends_it(
    start: Start, turvo: HeldTurvo, redis_url: str, redis_client: redis.Redis, en_route: list[int]
) -> None:
    """``poller.py | head``: one line, exit code 1, and the claims are given back."""
    reader, writer = os.pipe()
    turvo.hold = "/list"
    run = start(redis_url, *QUICKLY, stdout=writer)
    os.close(writer)
    assert turvo.held.wait(20)
    os.close(reader)
    turvo.go.set()
    assert run.end() == 1
    assert (
        run.said == f"poller: {len(en_route)} shipments not forwarded: Broken pipe; left for the next poll\n"
    )
    assert keys(redis_client) == {}


def test_a_claim_is_given_back_by_its_owner_only(redis_url: str, redis_client: redis.Redis) -> None:
    """One that outlasted its claim takes away neither another's claim nor another's mark."""
    slow, quick = Ledger(redis_url, "turvo"), Ledger(redis_url, "turvo")
    with slow.redis, quick.redis:  # type: ignore[union-attr]
        assert slow.claim([1, 2]) == [1, 2]
        assert quick.claim([1, 2]) == []
        redis_client.delete("turvo:in_transit:1", "turvo:in_transit:2")  # as if its time had come
        assert quick.claim([1, 2]) == [1, 2]
        quick.mark([{"id": 2, "custom_id": "L2", "eta": None}])
        slow.release([1, 2])
        assert sorted(keys(redis_client)) == [1, 2]
        quick.release([1])
        assert sorted(keys(redis_client)) == [2]


# Trouble


def test_one_bad_shipment_does_not_stop_the_rest(
    start: Start, turvo: HeldTurvo, redis_url: str, en_route: list[int]
) -> None:
    """Whatever is wrong with its detail: one line, exit code 1, all others forwarded; it itself the next time."""
    odd = ["", "<html>", "[]", "{}", '{"Status": "ERROR", "details": {"errorMessage": "no such thing"}}']
    bad = dict(
        zip(en_route[::5], [*odd, '{"Status": "SUCCESS", "details": {"globalRoute": 5}}'], strict=False)
    )
    for i, body in bad.items():
        turvo.fail_next(200 if body else 500, path=f"/shipments/{i}", body=body)
    run = start(redis_url, "--once")
    assert run.end() == 1
    assert run.ids == sorted(set(en_route) - set(bad))
    assert sorted(re.findall(r"shipment (\d+): \S.*; left for the next poll\n", run.said)) == sorted(
        map(str, bad)
    )
    assert f"{en_route[0]}: HTTPError 500;" in run.said
    assert "Turvo says 'no such thing'" in run.said
    again = start(redis_url, "--once")
    assert again.end() == 0
    assert again.ids == sorted(bad)


def test_a_row_without_an_id_does_not_stop_the_rest(
    start: Start, turvo: HeldTurvo, redis_url: str, en_route: list[int]
) -> None:
    """It cannot be asked for; the row after it can."""
    turvo.fail_next(200, path="/list", body=listing({"customId": "L0"}, {"id": en_route[0]}))
    run = start(redis_url, "--once")
    assert run.end() == 0
    assert run.ids == en_route[:1]


def test_shipments_that_always_fail_keep_nobody_waiting(
    start: Start, turvo: HeldTurvo, redis_url: str, en_route: list[int]
) -> None:
    """Three failures in a row end a poll, since Turvo may be down; the next one begins with the others."""
    for i in en_route[:3]:
        turvo.fail_next(500, path=f"/shipments/{i}", times=float("inf"))
    run = start(redis_url, *QUICKLY)
    wait_until(lambda: len(run.ids) == len(en_route) - 3, "the good ones")
    assert run.end(signal.SIGTERM) == 0
    assert run.ids == en_route[3:]
    assert run.said.index("0 forwarded") < run.said.index(f"{len(en_route) - 3} forwarded")


@pytest.mark.parametrize(
    ("lever", "said"),
    [
        ({"status": 500, "body": "<html>down</html>"}, "Turvo: HTTPError 500; this poll is left out"),
        (
            {"status": 200, "body": '{"Status": "ERROR", "details": {"errorMessage": "busy"}}'},
            "Turvo says 'busy'",
        ),
        (
            {"status": 200, "body": '{"Status": "SUCCESS", "details": {"shipments": [[]]}}'},
            "this poll is left out",
        ),
    ],
    ids=["500", "a Status of ERROR", "rows that are none"],
)
def test_turvo_down_for_a_poll_does_not_end_it(
    start: Start, turvo: HeldTurvo, redis_url: str, en_route: list[int], lever: dict[str, Any], said: str
) -> None:
    """It says so, and forwards all when Turvo is back."""
    turvo.fail_next(**lever)
    run = start(redis_url, *QUICKLY)
    run.said_until(said)
    wait_until(lambda: run.ids == en_route, "the shipments")
    assert run.end(signal.SIGTERM) == 0


def test_turvo_down_for_a_single_run(
    start: Start, turvo: HeldTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """``--once`` says why, and ends with 1."""
    turvo.fail_next(500)
    run = start(redis_url, "--once")
    assert run.end() == 1
    assert run.said == "poller: Turvo: HTTPError 500; this poll is left out\n"
    assert keys(redis_client) == {}


def test_a_wrong_password_is_not_tried_again(start: Start, turvo: HeldTurvo, redis_url: str) -> None:
    """Poll after poll says so; Turvo, which locks the account after ten, sees one."""
    run = start(redis_url, *QUICKLY, environ={"TURVO_PASSWORD": "swordfish"})
    wait_until(lambda: run.said.count("400 invalid_grant. Check TURVO_USERNAME") >= 4, "four polls")
    assert run.end(signal.SIGTERM) == 0
    assert turvo.token_requests == 1


def test_redis_killed_and_back(
    start: Start, turvo: HeldTurvo, redis_server: RedisServer, webhook: Webhook, en_route: list[int]
) -> None:
    """Polls without Redis are left out, without a word to Turvo; the marks are put back into an empty one."""
    run = start(redis_server.url, *QUICKLY, "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    run.said_until(" 0 forwarded;")
    redis_server.kill()
    run.said_until("poller: Redis: ConnectionError; nothing more is forwarded until it is back\n")
    before, polls = turvo.api_requests, run.said.count("Redis:")
    wait_until(lambda: run.said.count("Redis:") >= polls + 2, "two polls without Redis")
    assert turvo.api_requests == before
    redis_server.start()
    with redis_server.client() as client:
        wait_until(lambda: sorted(keys(client)) == en_route, "the marks")
        assert min(keys(client).values()) > CLAIM_SECONDS
    assert run.end(signal.SIGTERM) == 0
    assert webhook.batches == [en_route]


def test_redis_lost_between_forwarding_and_mark(
    start: Start, redis_server: RedisServer, webhook: Webhook, en_route: list[int]
) -> None:
    """What was forwarded is known to the poller itself, and marked when Redis is back: it is not forwarded again."""
    webhook.go.clear()
    run = start(redis_server.url, *QUICKLY, "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    redis_server.kill()
    webhook.go.set()
    run.said_until("nothing more is forwarded until it is back")
    redis_server.start()
    with redis_server.client() as client:
        wait_until(lambda: sorted(keys(client)) == en_route, "the marks")
        assert min(keys(client).values()) > CLAIM_SECONDS
    run.said_until(" 0 forwarded;")
    assert run.end(signal.SIGTERM) == 0
    assert webhook.batches == [en_route]


def test_redis_down_for_a_single_run(start: Start, turvo: HeldTurvo) -> None:
    """``--once`` without Redis forwards nothing, makes no login, says why, and ends with 1."""
    run = start(f"redis://127.0.0.1:{free_port()}/0", "--once")
    assert run.end() == 1
    assert run.said == "poller: Redis: ConnectionError; nothing more is forwarded until it is back\n"
    assert turvo.token_requests == turvo.api_requests == 0


# Stopping


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_polls_ends_it_at_once(
    start: Start, turvo: HeldTurvo, redis_url: str, en_route: list[int], signum: int
) -> None:
    """A quarter of an hour is not waited for. What was forwarded is out before it is marked: in no buffer."""
    turvo.fail_next(200, path="/list", body=listing({"id": en_route[0]}))
    run = start(redis_url)
    run.said_until(" forwarded;")
    assert run.ids == en_route[:1]
    assert run.end(signum) == 0


@pytest.mark.parametrize("arguments", [("--once",), QUICKLY])
def test_a_signal_in_a_poll_finishes_the_shipment_in_hand(
    start: Start,
    turvo: HeldTurvo,
    redis_url: str,
    redis_client: redis.Redis,
    en_route: list[int],
    arguments: tuple[str, ...],
) -> None:
    """What was read is forwarded and marked, what was not is not begun; exit code 0."""
    turvo.hold = f"/shipments/{en_route[2]}"
    run = start(redis_url, *arguments)
    assert turvo.held.wait(20)
    run.process.send_signal(signal.SIGTERM)
    turvo.go.set()
    assert run.end() == 0
    assert run.ids == sorted(keys(redis_client)) == en_route[:3]
    assert turvo.asked(str(en_route[3])) == 0


def test_a_signal_while_the_webhook_has_the_batch_waits_for_its_answer(
    start: Start, redis_url: str, redis_client: redis.Redis, webhook: Webhook, en_route: list[int]
) -> None:
    """The answer decides whether the batch is marked; exit code 0."""
    webhook.go.clear()
    run = start(redis_url, *QUICKLY, "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    run.process.send_signal(signal.SIGINT)
    webhook.go.set()
    assert run.end() == 0
    assert webhook.batches == [en_route]
    assert min(keys(redis_client).values()) > CLAIM_SECONDS


def test_a_second_signal_kills_it(
    start: Start, redis_url: str, webhook: Webhook, en_route: list[int]
) -> None:
    """Whoever does not want to wait for a webhook that hangs asks twice."""
    webhook.go.clear()
    run = start(redis_url, "--webhook", webhook.url)
    assert webhook.arrived.wait(20)
    run.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 20
    while run.process.poll() is None and time.monotonic() < deadline:
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert run.end() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("now", "expected"),
    [(100.0, 160.0), (103.0, 160.0), (159.9, 160.0), (160.0, 160.0), (161.0, 220.0), (1000.5, 1060.0)],
)
def test_the_schedule_does_not_drift(now: float, expected: float) -> None:
    """The next poll is a whole number of intervals after the last one, however long that took."""
    assert following(100.0, 60.0, now) == expected


# What a person sees


def on_a_terminal(start: Start, redis_url: str | None, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run it with stderr on a terminal: its exit code, and what was to be seen there."""
    ours, theirs = pty.openpty()
    run = start(
        redis_url,
        *arguments,
        stderr=theirs,
        environ={"TERM": "xterm-256color", "COLUMNS": "160", "NO_COLOR": "", **environ},
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)
    return run.end(), seen.decode()


def test_a_terminal_shows_progress_new_shipments_and_logins(
    start: Start, redis_url: str, webhook: Webhook, en_route: list[int]
) -> None:
    """With rich: a bar, a table of the new shipments, and what it came to."""
    code, seen = on_a_terminal(start, redis_url, "--once", "--webhook", webhook.url)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert "Reading the new shipments" in text
    assert f"{len(en_route)} new" in text
    assert "555-01" in text
    assert f"{len(en_route)} en route, {len(en_route)} forwarded; logins so far: 1, saved: 0" in text
    assert "\x1b[1;32m" in seen


def test_a_terminal_without_rich_shows_plain_lines(
    start: Start, redis_url: str, tmp_path: Path, en_route: list[int]
) -> None:
    """The extra ``demo`` is not needed."""
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')")
    code, seen = on_a_terminal(start, redis_url, "--once", PYTHONPATH=str(tmp_path))
    count = len(en_route)
    assert code == 0
    assert seen == f"poller: {count} en route, {count} forwarded; logins so far: 1, saved: 0\r\n"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, ["TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD"]),
        (
            {"TURVO_BASE_URL": "http://turvo.example", "REDIS_URL": "redis://:redis-secret@localhost:x/0"},
            ["TURVO_BASE_URL", "TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD", "REDIS_URL"],
        ),
    ],
    ids=["nothing set", "wrong ones too"],
)
def test_wrong_settings_give_one_message_naming_all(
    start: Start, environ: dict[str, str], named: list[str]
) -> None:
    """One line with every variable, no value, exit code 2."""
    missing = dict.fromkeys(("TURVO_BASE_URL", "TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD"), "")
    run = start(None, "--once", environ={**missing, **environ})
    assert run.process.wait(30) == 2
    assert run.said.count("\n") == 1
    assert [name for name in named if name not in run.said] == []
    assert "redis-secret" not in run.said
    assert "Traceback" not in run.said


@pytest.mark.parametrize(
    "arguments",
    [("--every", "0"), ("--every", "nan"), ("--every", "soon"), ("--webhook", "ftp://x/"), ("--nonsense",)],
    ids=" ".join,
)
def test_wrong_arguments_are_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A usage message, exit code 2."""
    with pytest.raises(SystemExit) as end:
        poller.main([*arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: ")
    assert arguments[0] in said
