"""The command line: what each command says, where it says it, and how it exits.

Most rows call ``main`` in this process; pipes, signals and terminals have a process of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import redis
from cryptography.fernet import Fernet
from servers import RedisServer, free_port

import turvo_session
from turvo_session import settings
from turvo_session.__main__ import main
from turvo_session.testing import FakeTurvo

ENVIRONMENT = (*settings.VARIABLES.values(), *settings.STORE_VARIABLES)
COMMANDS = ("status", "token", "forget", "get", "sandbox")
NEVER = float("inf")


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(
    turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command in this process, with the settings of the local Turvo and those that are given.

    Whatever it is and however it ends, it shows no secret and no traceback. One that does not end is
    interrupted.
    """

    def run(*argv: str, **environ: str | None) -> Result:
        for name, value in {**turvo.environ, **environ}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        signal.alarm(120)
        try:
            code: Any = main(argv)
        except SystemExit as end:  # argparse's way
            code = end.code
        result = Result(code, *capsys.readouterr())
        shown = result.err if argv[:1] == ("token",) else result.out + result.err
        assert "Traceback" not in shown
        assert not [secret for secret in secrets(turvo, os.environ) if secret in shown]
        return result

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield run
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def secrets(turvo: FakeTurvo, environ: Mapping[str, str]) -> list[str]:
    """All that must not be seen: the passwords, the keys, and every token that was sent."""
    names = [
        name for name in environ if re.fullmatch(r"TURVO_(API_KEY|PASSWORD|CLIENT_SECRET|.*_KEYS)", name)
    ]
    sent = [
        seen.headers["authorization"].split()[-1]
        for seen in turvo.requests
        if "authorization" in seen.headers
    ]
    return [environ[name] for name in names if environ[name]] + sent + ["redis-password"]


def start(*argv: str, environ: Mapping[str, str], stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """``turvo-session`` in a process that takes Ctrl-C, also where this one was started without."""
    deaf = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", deaf, sys.executable, "-m", "turvo_session", *argv]
    environ = {**os.environ, **environ}
    environ.pop("PYTHONUNBUFFERED", None)  # it would do what `flush` is for
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ)


@contextlib.contextmanager
def sandbox(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A sandbox that runs, and the lines that it prints."""
    with start("sandbox", *argv, environ={}) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process, "".join(process.stdout.readline() for _ in range(5))
        finally:
            watchdog.cancel()
            process.kill()


def rows(text: str) -> dict[str, str]:
    """The table that ``status`` prints."""
    return {line[:9].rstrip(): line[9:] for line in text.splitlines()}


# Help, usage, settings


def test_the_help_names_every_command_variable_and_exit_code(run: Run) -> None:
    help = run("--help")
    assert help.code == 0
    codes = ("0", "1", "2", "3", "130", "141", "143")
    assert [
        word for word in (*COMMANDS, *ENVIRONMENT, *codes) if not re.search(rf"\b{word}\b", help.out)
    ] == []
    for command in COMMANDS:
        assert run(command, "--help").out.startswith(f"usage: turvo-session {command}")


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").out == f"turvo-session {turvo_session.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        ([""], "choose from"),
        (["login"], "choose from"),
        (["get"], "PATH"),
        (["get", "/shipments/list", "-p", "status"], "'status' is no NAME=VALUE"),
        (["get", "/shipments/list", "-p", "=2105"], "'=2105' is no NAME=VALUE"),
        (["get", "/shipments/list", "--all", "-p", "start=24"], "-p start"),
        (["get", "/shipments/900000001", "--all"], "--key customerOrder|carrierOrder|globalRoute"),
        (["get", "http://", "-v"], "Invalid URL"),
        (["get", "http://[::1"], "not a valid host"),
        (["get", "/shipments/list", "--all", "--key", "pagination"], "--key shipments"),
        (["sandbox", "--port", "x"], "--port"),
        (["sandbox", "--port", "65536"], "--port 65536"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_says_what_is_wrong(run: Run, argv: list[str], said: str) -> None:
    result = run(*argv)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize("argv", [["token"], ["forget"], ["get", "/shipments/list"]])
def test_one_message_names_every_setting_that_is_missing_or_wrong(run: Run, argv: list[str]) -> None:
    result = run(
        *argv,
        TURVO_BASE_URL="http://turvo.example",
        TURVO_API_KEY="key with a blank",
        TURVO_USERNAME=None,
        TURVO_PASSWORD=None,
        REDIS_URL="http://:redis-password@host",
    )
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    names = ("TURVO_BASE_URL", "TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD", "REDIS_URL")
    assert [name for name in names if name not in result.err] == []


# status


def test_status_works_without_settings_and_tells_what_is_missing(run: Run) -> None:
    nothing = dict.fromkeys(ENVIRONMENT)
    words, data = run("status", **nothing), run("status", "--json", **nothing)
    assert (words.code, data.code) == (2, 2)
    assert rows(words.out)["set"] == "nothing"
    assert rows(words.out)["not set"] == ", ".join(ENVIRONMENT)
    missing = "TURVO_API_KEY is not set; TURVO_USERNAME is not set; TURVO_PASSWORD is not set"
    assert rows(words.out)["wrong"] == json.loads(data.out)["wrong"] == missing
    assert json.loads(data.out)["token"] is None


def test_status_before_there_is_a_token_and_without_redis(run: Run, turvo: FakeTurvo) -> None:
    words = rows(run("status").out)
    assert words["set"] == "TURVO_BASE_URL, TURVO_API_KEY, TURVO_USERNAME, TURVO_PASSWORD"
    assert (words["Turvo"], words["token"], words["failure"]) == (turvo.base_url, "none", "none")
    assert words["store"].startswith("<MemoryStore> in this process alone")
    assert turvo.token_requests == 0


@pytest.mark.parametrize(
    ("life", "state", "left"),
    [
        (42870, "fresh", r"11 h 54 min"),
        (3630, "fresh", r"1 h 0 min"),
        (599, "fresh", r"9 min \d+ s"),
        (50, "fresh", r"\d\d s"),
    ],
)
def test_status_tells_the_token_in_redis_and_its_time_left_in_words(
    run: Run, turvo: FakeTurvo, redis_url: str, life: float, state: str, left: str
) -> None:
    turvo.token_life = life
    run("get", "/shipments/list", REDIS_URL=redis_url)
    result = run("status", REDIS_URL=redis_url)
    words = rows(result.out)
    assert result.code == 0
    assert re.fullmatch(rf"[0-9a-f]{{8}}, {state}, {left} left", words["token"])
    assert re.fullmatch(r"<RedisStore turvo:auth_token:{\w+}> reachable in \d+\.\d ms", words["store"])
    assert turvo.logins == 1


def test_status_as_json_holds_the_same_for_a_script(run: Run, turvo: FakeTurvo, redis_url: str) -> None:
    run("token", REDIS_URL=redis_url)
    data = json.loads(run("status", "--json", REDIS_URL=redis_url).out)
    assert (data["set"][-1], data["wrong"], data["base_url"]) == ("REDIS_URL", None, turvo.base_url)
    assert data["token"]["origin"] == "store"
    assert data["token"]["store_reachable"] is True
    assert 43000 < data["token"]["seconds_left"] <= 43199
    assert data["token"]["fingerprint"] in run("status", REDIS_URL=redis_url).out


def test_status_tells_the_failure_in_force_and_logs_in_no_more(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    assert run("token", REDIS_URL=redis_url, TURVO_PASSWORD="mistyped").code == 3
    told = rows(run("status", REDIS_URL=redis_url, TURVO_PASSWORD="mistyped").out)["failure"]
    assert rows(run("status", REDIS_URL=redis_url).out)["failure"] == "none"  # of other credentials
    assert re.fullmatch(r"POST .* answered 400 invalid_grant; in force for 1[45] min \d+ s", told)
    assert turvo.token_requests == 1


def test_status_tells_that_redis_is_down_and_why(run: Run) -> None:
    result = run("status", REDIS_URL=f"redis://:redis-password@127.0.0.1:{free_port()}")
    assert result.code == 0
    assert "> NOT reachable; every process logs in for itself" in rows(result.out)["store"]
    assert re.fullmatch(
        r"turvo-session: <RedisStore .*> is not reachable \(ConnectionError\); check REDIS_URL\n", result.err
    )


# token, forget


def test_token_prints_the_token_and_nothing_else(run: Run, turvo: FakeTurvo, redis_url: str) -> None:
    results = [run("token", REDIS_URL=redis_url) for _ in range(2)]
    assert results[0] == results[1]
    assert re.fullmatch(r"3b_-[0-9a-f-]{36}\n", results[0].out)
    assert (results[0].code, results[0].err, turvo.logins) == (0, "", 1)


def test_token_goes_on_without_redis_and_says_so(run: Run) -> None:
    result = run("token", REDIS_URL=f"unix:///nowhere/{free_port()}")
    assert (result.code, len(result.out.split())) == (0, 1)
    assert "is not reachable" in result.err


def test_token_gives_a_hint_on_a_terminal_and_keeps_it_out_of_the_output(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, terminal = pty.openpty()
    with open(terminal, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        hint = run("token").err
    with open(master, "rb", buffering=0) as reader:
        assert re.fullmatch(rb"3b_-[0-9a-f-]{36}\r\n", reader.read(1000))
    assert "turvo-session --help" in hint


def test_forget_drops_the_token_for_all_who_share_it(run: Run, turvo: FakeTurvo, redis_url: str) -> None:
    run("token", REDIS_URL=redis_url)
    name = rows(run("status", REDIS_URL=redis_url).out)["token"].partition(",")[0]
    assert run("forget", REDIS_URL=redis_url) == (
        0,
        f"token {name} is forgotten; a process that runs uses it until it ends or Turvo refuses it\n",
        "",
    )
    assert rows(run("status", REDIS_URL=redis_url).out)["token"] == "none"
    assert run("forget", REDIS_URL=redis_url) == (0, "there is no token that can be read\n", "")
    assert turvo.logins == 1


def test_a_token_that_cannot_be_read_is_told_of(run: Run, redis_url: str) -> None:
    """Sealed, and the key is not there: to say that there is none would be wrong."""
    key = Fernet.generate_key().decode()
    assert run("token", REDIS_URL=redis_url, TURVO_TOKEN_ENCRYPTION_KEYS=key).code == 0
    for command in ("status", "forget"):
        result = run(command, REDIS_URL=redis_url, TURVO_TOKEN_ENCRYPTION_KEYS=None)
        assert "sealed with other TURVO_TOKEN_ENCRYPTION_KEYS" in result.err


def test_forget_fails_where_the_store_cannot_be_reached(run: Run) -> None:
    result = run("forget", REDIS_URL=f"unix:///nowhere/{free_port()}")
    assert (result.code, result.out) == (1, "")
    assert "is not reachable" in result.err
    assert "the token may still be there" in result.err


# get


def test_get_prints_the_answer_as_json(run: Run) -> None:
    result = run("get", "/shipments/list", "-p", "status[eq]=2105", "-p", "pageSize=3")
    answer = json.loads(result.out)
    assert (result.code, result.err, answer["Status"]) == (0, "", "SUCCESS")
    assert {row["status"]["code"]["key"] for row in answer["details"]["shipments"]} == {"2105"}
    assert len(answer["details"]["shipments"]) == 3


def test_get_sends_every_value_of_a_parameter_that_is_repeated(turvo: FakeTurvo, run: Run) -> None:
    run("get", "/shipments/list", "-p", "a=1", "-p", "b=x=y&z", "-p", "a=2")
    assert turvo.requests[-1].query == {"a": "2", "b": "x=y&z"}
    assert run("get", "/nowhere", "-p", "a=1", "-p", "a=2").err.count("a=") == 2


@pytest.mark.parametrize("argv", [[], ["--key", "shipments"]])
def test_get_all_prints_the_rows_of_all_pages_as_one_list(run: Run, argv: list[str]) -> None:
    result = run("get", "/shipments/list", "--all", *argv)
    assert result.code == 0
    assert len({row["id"] for row in json.loads(result.out)}) == 60


def test_get_all_of_an_empty_list_prints_an_empty_list(run: Run, turvo: FakeTurvo) -> None:
    assert run("get", "/shipments/list", "--all", "-p", "customId[eq]=none").out == "[]\n"
    asked = [seen.query["customId[eq]"] for seen in turvo.requests if seen.method == "GET"]
    assert set(asked) == {"none"}


def test_get_all_of_a_list_whose_rows_have_no_id_prints_them_all(run: Run) -> None:
    stops = json.loads(run("get", "/shipments/900000001", "--all", "--key", "globalRoute").out)
    assert [stop["stopType"]["value"] for stop in stops] == ["Pickup", "Delivery"]


def test_get_all_of_a_list_that_holds_no_records_is_code_1(run: Run, turvo: FakeTurvo) -> None:
    turvo.fail_next(200, times=NEVER, body=json.dumps({"Status": "SUCCESS", "details": {"tags": ["a", "b"]}}))
    result = run("get", "/tags", "--all")
    assert (result.code, result.out) == (1, "")
    assert "'tags' is no list of records" in result.err


TOKEN = "3b_-00000000-not-for-anybody-to-see"


@pytest.mark.parametrize("all_pages", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            404,
            {"Status": "ERROR", "details": {"errorMessage": "no such thing"}},
            "answered 404 'no such thing'",
        ),
        (200, {"Status": "ERROR", "details": {"errorMessage": "bad filter"}}, "answered 200 'bad filter'"),
        (200, {"Status": "ERROR", "details": ["text"]}, "answered 200 without a message"),
        (403, {"message": "Forbidden"}, "answered 403 'Forbidden'"),
        (409, {"message": {"no": "text"}}, "answered 409 without a message"),
        (401, {"error_description": f"Access token expired: {TOKEN}"}, "answered 401 without a message"),
        (400, {"message": "\x1b[2J\n"}, r"answered 400 '\x1b[2J\n'"),
        (500, [], "answered 500 without JSON"),
        (500, None, "answered 500 without JSON"),
        (200, None, "answered 200 without JSON"),
        (304, None, "answered 304 without JSON"),
        (302, {"Status": "SUCCESS"}, "answered 302 without a message"),
    ],
)
def test_get_tells_the_message_of_an_error_on_stderr_and_is_code_1(
    run: Run, turvo: FakeTurvo, status: int, body: object, said: str, all_pages: bool
) -> None:
    turvo.fail_next(status, times=NEVER, body="<html>" if body is None else json.dumps(body))
    result = run("get", "/shipments/list", *(["--all"] if all_pages else []))
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    assert TOKEN not in result.err
    assert result.err.count("\n") == 1


def test_a_message_that_repeats_the_token_is_shown_without_it(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    token = run("token", REDIS_URL=redis_url).out.strip()
    turvo.fail_next(400, body=json.dumps({"message": f"{token} may not do that"}))
    result = run("get", "/shipments/list", REDIS_URL=redis_url)
    assert result.err.endswith(" answered 400 '*** may not do that'\n")


def test_an_answer_that_is_nested_without_end_is_code_1(run: Run, turvo: FakeTurvo) -> None:
    turvo.fail_next(200, body="[" * 200_000)
    assert run("get", "/shipments/list").code == 1


# Exit codes


def test_rejected_credentials_are_code_3(run: Run) -> None:
    result = run("get", "/shipments/list", TURVO_PASSWORD="mistyped")
    assert (result.code, result.out) == (3, "")
    assert "TURVO_PASSWORD" in result.err


def test_a_token_endpoint_in_trouble_is_code_1(run: Run, turvo: FakeTurvo) -> None:
    turvo.throttle("600", where="token")
    result = run("token")
    assert (result.code, result.out) == (1, "")
    assert "answered 429" in result.err


def test_a_token_endpoint_that_is_something_else_is_code_1(run: Run, turvo: FakeTurvo) -> None:
    turvo.fail_next(404, where="token")
    result = run("token")
    assert (result.code, result.out) == (1, "")
    assert "TURVO_BASE_URL" in result.err


def test_an_unreachable_host_is_code_1_and_one_line(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run("get", f"{url}/v1/shipments/list")
    advice = "check TURVO_BASE_URL, the network, proxies"
    assert result == (1, "", f"turvo-session: no answer from {url} (ConnectionError); {advice}\n")


# Processes


def test_both_names_of_the_program_are_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["turvo-session", "--version"])
    monkeypatch.delitem(sys.modules, "turvo_session.__main__")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("turvo_session", run_name="__main__")
    script = os.path.join(os.path.dirname(sys.executable), "turvo-session")
    installed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert end.value.code == 0
    assert capsys.readouterr().out == installed.stdout


@pytest.mark.parametrize("argv", [["-v", "token"], ["token", "--verbose"]])
def test_verbose_tells_the_life_of_the_token_on_stderr(turvo: FakeTurvo, argv: list[str]) -> None:
    with start(*argv, environ=turvo.environ) as process:
        out, err = process.communicate(timeout=60)
    assert re.search(r"INFO turvo_session: logged in \(token none\): token [0-9a-f]{8}", err)
    assert len(out.split()) == 1
    assert not [secret for secret in (*secrets(turvo, turvo.environ), out.strip()) if secret in err]


def test_ctrl_c_is_quiet_and_code_130(turvo: FakeTurvo) -> None:
    turvo.login_seconds = 60
    with start("get", "/shipments/list", environ=turvo.environ) as process:
        eventually(lambda: turvo.token_requests == 1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_a_reader_who_hangs_up_is_quiet_and_code_141(turvo: FakeTurvo) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with start("get", "/shipments/list", "--all", environ=turvo.environ, stdout=writer) as process:
        os.close(writer)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


def test_a_short_output_that_nobody_reads_is_code_141_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        result = run("status")
    assert (result.code, result.err) == (141, "")


# sandbox


def test_what_the_sandbox_prints_makes_a_shell_use_it_and_nothing_else(redis_url: str) -> None:
    """In a terminal that is set for production, neither its Redis nor its token is touched."""
    production = {"REDIS_URL": redis_url, "TURVO_TOKEN_KEY": "turvo:auth_token", "TURVO_CLIENT_ID": "ours"}
    with sandbox() as (_, lines):
        get = [sys.executable, "-m", "turvo_session", "get", "/shipments/list", "-p", "status[eq]=2105"]
        done = subprocess.run(
            ["sh", "-euc", f"{lines}\nexec {shlex.join(get)}"],
            env={**os.environ, **production},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    shipments = json.loads(done.stdout)["details"]["shipments"]
    assert {row["status"]["code"]["key"] for row in shipments} == {"2105"}
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_sandbox_runs_until_it_is_stopped_and_ends_quietly(number: signal.Signals, code: int) -> None:
    port = free_port()
    with sandbox("--port", str(port)) as (process, lines):
        assert f"export TURVO_BASE_URL=http://127.0.0.1:{port}/v1\n" in lines
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert (
        err
        == f"turvo-session: a local Turvo is at http://127.0.0.1:{port}/v1 until Ctrl-C. In another terminal:\n"
    )


def test_the_seed_of_the_sandbox_makes_its_shipments(run: Run) -> None:
    port = free_port()
    with sandbox("--port", str(port), "--seed", "7"), FakeTurvo(seed=7) as same:
        ours, theirs = (
            json.loads(run("get", "/shipments/900000001", TURVO_BASE_URL=url).out)["details"]["carrierOrder"]
            for url in (f"http://127.0.0.1:{port}", same.base_url)
        )
    assert ours == theirs


def test_the_sandbox_says_that_its_port_is_taken(run: Run, turvo: FakeTurvo) -> None:
    port = re.sub(r".*:(\d+)/.*", r"\1", turvo.base_url)
    result = run("sandbox", "--port", port)
    assert (result.code, result.out) == (2, "")
    assert f"--port {port} cannot be used" in result.err
    assert "in use" in result.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_sandbox_stops_in_this_process_as_in_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    """The signal comes in the middle of its wait, which nobody can hit from outside."""

    def sleep(_: float) -> None:
        if threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), number)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(time, "sleep", sleep)
    try:
        end = main(["sandbox"])
    except SystemExit as exit:
        end = exit.code
    finally:
        after = signal.getsignal(signal.SIGTERM)
        for each, handler in before.items():
            signal.signal(each, handler)
    assert (end, after) == (code, before[signal.SIGTERM])
    assert "export NO_PROXY=" in capsys.readouterr().out


def eventually(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return when it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if true():
                return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_hung_redis_delays_a_command_once(run: Run, redis_server: RedisServer) -> None:
    redis_server.pause()
    began = time.monotonic()
    result = run("status", REDIS_URL=redis_server.url)
    assert time.monotonic() - began < 10
    assert "NOT reachable" in result.out
