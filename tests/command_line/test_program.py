"""The program as a process: help, pipes, signals, and the sandbox."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis

import turvo_session
from tests.support.servers import free_port
from tests.support.threads import until
from turvo_session.__main__ import main
from turvo_session.settings import ALL_VARIABLES
from turvo_session.testing import FakeTurvo

Run = Callable[..., Any]
COMMANDS = ("status", "login", "token", "forget", "get", "sandbox")
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
# A process that is started in the background ignores Ctrl-C, and so do its children.
RESTORE = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def start(
    *argv: str, environ: Mapping[str, str], stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start ``turvo-session`` in a process that takes Ctrl-C."""
    python = sys.executable
    command = [python, "-c", RESTORE, python, "-m", "turvo_session", *argv]
    environ = {**os.environ, **environ}
    environ.pop("PYTHONUNBUFFERED", None)  # it would do what `flush` is there for
    return subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ
    )


def test_the_help_names_every_command_variable_and_exit_code(run: Run) -> None:
    text = run("--help").out
    words = (*COMMANDS, *ALL_VARIABLES, "0", "1", "2", "3", "130", "141", "143")
    assert [word for word in words if not re.search(rf"\b{word}\b", text)] == []
    assert max(map(len, text.splitlines())) <= 88
    for command in COMMANDS:
        usage = f"usage: turvo-session {command}"
        assert run(command, "--help").out.startswith(usage)


def test_both_names_of_the_program_are_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["turvo-session", "--version"])
    monkeypatch.delitem(sys.modules, "turvo_session.__main__")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("turvo_session", run_name="__main__")
    script = os.path.join(os.path.dirname(sys.executable), "turvo-session")
    installed = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert end.value.code == 0
    version = f"turvo-session {turvo_session.__version__}\n"
    assert capsys.readouterr().out == installed.stdout == version


@pytest.mark.parametrize("argv", [["-v", "token"], ["token", "--verbose"]])
def test_verbose_writes_the_life_of_the_token_to_stderr(
    turvo: FakeTurvo, argv: list[str]
) -> None:
    with start(*argv, environ=turvo.environ) as process:
        out, err = process.communicate(timeout=60)
    line = r".* INFO turvo_session: logged in because no token was at hand: .*\n"
    assert re.fullmatch(line, err)
    assert out.strip() not in err


def test_ctrl_c_and_a_reader_that_goes_away_are_quiet(turvo: FakeTurvo) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    get = ("get", "/shipments/list", "--all")
    with start(*get, environ=turvo.environ, stdout=writer) as process:
        os.close(writer)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141

    turvo.login_seconds = 60
    with start(*get, environ=turvo.environ) as process:
        until(lambda: turvo.token_requests == 2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


@contextlib.contextmanager
def sandbox(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a sandbox; yield its process and the lines that it prints."""
    with start("sandbox", *argv, environ={}) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process, "".join(process.stdout.readline() for _ in range(5))
        finally:
            watchdog.cancel()
            process.kill()


def test_what_the_sandbox_prints_makes_a_shell_use_it_and_nothing_else(
    redis_url: str,
) -> None:
    """Not even in a terminal that is set for production."""
    production = {"REDIS_URL": redis_url, "TURVO_PASSWORD_FILE": __file__}
    get = [sys.executable, "-m", "turvo_session", "get", "/shipments/900000001"]
    with sandbox("--seed", "7") as (_, lines), FakeTurvo(seed=7) as same:
        done = subprocess.run(
            ["sh", "-euc", f"{lines}\nexec {shlex.join(get)}"],
            env={**os.environ, **production},
            capture_output=True,
            text=True,
        )
        session = turvo_session.TurvoSession.from_env(same.environ)
        expected = session.details("/shipments/900000001")["carrierOrder"]
    assert done.stderr == ""
    assert expected[0]["carrier"]["name"] in done.stdout
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_the_sandbox_runs_until_it_is_stopped_and_ends_quietly(
    run: Run, number: signal.Signals, code: int
) -> None:
    """Its port is its own."""
    port = free_port()
    with sandbox("--port", str(port)) as (process, lines):
        assert f"export TURVO_BASE_URL=http://127.0.0.1:{port}/v1\n" in lines
        taken = run("sandbox", "--port", str(port))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (code, "", 1)
    assert f"a local Turvo listens at http://127.0.0.1:{port}/v1 until Ctrl-C" in err
    assert (taken.code, taken.out) == (2, "")
    assert f"--port {port} cannot be used" in taken.err


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_in_the_middle_of_its_wait_stops_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    """Nobody can hit that moment from outside."""

    def sleep(_: float) -> None:
        if threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), number)

    before = {each: signal.getsignal(each) for each, _ in STOPS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(time, "sleep", sleep)
    try:
        end: Any = main(["sandbox"])
    except SystemExit as error:
        end = error.code
    finally:
        after = signal.getsignal(signal.SIGTERM)
        for each, handler in before.items():
            signal.signal(each, handler)
    assert (end, after) == (code, before[signal.SIGTERM])
