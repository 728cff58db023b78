"""What each command says, where it says it, and its exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.support.servers import RedisServer, free_port
from turvo_session.settings import ALL_VARIABLES
from turvo_session.testing import FakeTurvo

Run = Callable[..., Any]


def table(text: str) -> dict[str, str]:
    """Return the table that ``status`` prints, by its headings."""
    return {line[:10].rstrip(): line[10:] for line in text.splitlines()}


# status


def test_status_without_settings_names_what_is_missing(run: Run) -> None:
    nothing = dict.fromkeys(ALL_VARIABLES)
    words, data = run("status", **nothing), run("status", "--json", **nothing)
    assert (words.code, data.code) == (2, 2)
    names = [name for name in ALL_VARIABLES if not name.endswith("_FILE")]
    required = ("TURVO_API_KEY", "TURVO_USERNAME", "TURVO_PASSWORD")
    wrong = "; ".join(f"{name} is not set" for name in required)
    expected = {"set": "nothing", "not set": ", ".join(names), "wrong": wrong}
    assert table(words.out) == expected
    assert json.loads(data.out)["wrong"] == wrong


def test_status_without_redis_is_healthy_and_says_that_nothing_is_shared(
    run: Run, turvo: FakeTurvo
) -> None:
    result = run("status", TURVO_PASSWORD_FILE=__file__, TURVO_PASSWORD=None)
    words = table(result.out)
    assert (result.code, result.err, turvo.token_requests) == (0, "", 0)
    assert "TURVO_PASSWORD_FILE" in words["set"]
    assert "PASSWORD" not in words["not set"]
    assert (words["Turvo"], words["token"]) == (turvo.base_url, "none")
    assert "in this process only; set REDIS_URL to share" in words["store"]
    assert (words["failures"], words["attempts"][:11]) == ("none", "0 of 8 atte")


def test_status_shows_the_shared_token_and_the_health_of_redis(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    assert run("status", REDIS_URL=redis_url).code == 0  # a token could be shared
    turvo.token_life = 42870
    run("token", REDIS_URL=redis_url)
    result = run("status", REDIS_URL=redis_url)
    assert (result.code, result.err, turvo.logins) == (0, "", 1)
    words = table(result.out)
    assert re.fullmatch("[0-9a-f]{8}, fresh, 11 h 54 min left", words["token"])
    store = r"<RedisStore turvo:auth_token:{\w+}> answers in .* ms and can be written"
    assert re.fullmatch(store, words["store"])


def test_status_is_code_3_while_these_credentials_are_rejected(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    """The names of its JSON stay."""
    wrong = {"REDIS_URL": redis_url, "TURVO_PASSWORD": "mistyped"}
    for password in ("mistyped", "mistyped again"):
        assert run("token", **{**wrong, "TURVO_PASSWORD": password}).code == 3
    mine, other = run("status", **wrong), run("status", REDIS_URL=redis_url)
    data = json.loads(run("status", "--json", **wrong).out)

    assert (mine.code, other.code, turvo.token_requests) == (3, 0, 2)
    assert table(mine.out)["attempts"].startswith("2 of 8 attempts")
    pattern = r'rejected: ".*"; this process waits 1[45] min \d+ s more'
    assert re.fullmatch(pattern, table(mine.out)["failures"])
    assert other.out.count("; other credentials or processes wait ") == 2
    assert list(data) == ["set", "not_set", "wrong", "base_url", "token"]
    assert list(data["token"]) == [
        *("origin", "fingerprint", "seconds_left", "state", "store"),
        *("store_reachable", "store_seconds", "failure", "failure_seconds"),
        *("failures", "attempts_spent", "store_writable"),
    ]
    assert list(data["token"]["failures"][0]) == ["kind", "why", "seconds", "mine"]


def test_status_is_code_1_if_redis_cannot_be_reached_or_written(
    run: Run, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        replica = run("status", REDIS_URL=redis_server.url)
        client.replicaof("NO", "ONE")
    assert replica.code == 1
    assert "but CANNOT be written; every process logs in" in replica.out
    assert "turvo-session: <RedisStore" in replica.err

    nowhere = f"redis://:redis-password@127.0.0.1:{free_port()}"
    away = run("status", REDIS_URL=nowhere)
    assert away.code == 1
    assert "> CANNOT be used; every process logs in" in table(away.out)["store"]
    assert "every process logs in by itself until Redis works again" in away.err
    assert away.err.count("\n") == 1


# login, token, forget


def test_login_tests_the_credentials_whatever_is_remembered(
    run: Run, redis_url: str
) -> None:
    shared = {"REDIS_URL": redis_url}
    for _ in range(2):
        assert run("login", TURVO_PASSWORD="mistyped", **shared).code == 3
    result = run("login", **shared)

    assert result.code == 0
    pattern = r"logged in: token \w{8}, 11 h 59 min left; shared in <RedisStore .*>\n"
    assert re.fullmatch(pattern, result.out)
    assert table(run("status", **shared).out)["failures"] == "none"
    alone = run("login", REDIS_URL=None)
    assert "not shared, because REDIS_URL is not set" in alone.out
    away = run("login", REDIS_URL="unix:///nowhere/redis")
    assert away.code == 0
    assert "not shared, because Redis cannot be used" in away.out


def test_login_respects_the_account_s_budget_unless_it_is_forced(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    """Until then status is code 1: nobody can share a token."""
    turvo.fail_next(404, where="token", times=8)
    for _ in range(8):
        assert "TURVO_BASE_URL" in run("login", REDIS_URL=redis_url).err
    assert turvo.token_requests == 8
    refused = run("login", REDIS_URL=redis_url)
    assert (refused.code, refused.out) == (1, "")
    assert "--force" in refused.err
    status = run("status", REDIS_URL=redis_url)
    assert (status.code, table(status.out)["attempts"][:6]) == (1, "8 of 8")
    assert run("login", "--force", REDIS_URL=redis_url).code == 0


def test_token_prints_the_token_and_nothing_else(
    run: Run, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it warns, outside of its output."""
    first, second = (run("token", REDIS_URL=redis_url) for _ in range(2))
    assert first == second
    assert re.fullmatch(r"3b_-[0-9a-f-]{36}\n", first.out)
    assert (first.code, first.err) == (0, "")
    master, terminal = pty.openpty()
    with open(terminal, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        hint = run("token").err
    with open(master, "rb", buffering=0) as reader:
        assert re.fullmatch(rb"3b_-[0-9a-f-]{36}\r\n", reader.read(1000))
    assert "this is a secret" in hint


def test_forget_deletes_the_shared_token_and_the_failures(
    run: Run, turvo: FakeTurvo, redis_url: str
) -> None:
    shared = {"REDIS_URL": redis_url}
    run("token", **shared)
    name = table(run("status", **shared).out)["token"].partition(",")[0]
    assert run("forget", **shared).out.startswith(f"token {name} is forgotten; a ")
    assert run("forget", **shared).out == "there is no readable token\n"
    run("token", TURVO_PASSWORD="mistyped", **shared)
    assert run("forget", **shared).out.endswith("failed logins are forgotten as well\n")
    assert run("token", TURVO_PASSWORD="mistyped", **shared).code == 3
    assert turvo.token_requests == 3
    away = run("forget", REDIS_URL="unix:///nowhere/redis")
    assert (away.code, away.out) == (1, "")
    assert "the token may still be in Redis" in away.err


def test_a_token_that_cannot_be_decrypted_is_warned_of(
    run: Run, redis_url: str
) -> None:
    keys = "TURVO_TOKEN_ENCRYPTION_KEYS"
    run("token", REDIS_URL=redis_url, **{keys: Fernet.generate_key().decode()})
    for command in ("status", "forget"):
        result = run(command, REDIS_URL=redis_url, **{keys: None})
        assert f"check TURVO_TOKEN_KEY and {keys}" in result.err


# get


def test_get_prints_the_answer_as_json(run: Run, turvo: FakeTurvo) -> None:
    result = run("get", "/shipments/list", "-p", "status[eq]=2105", "-p", "pageSize=3")
    answer = json.loads(result.out)
    found = answer["details"]["shipments"]
    assert (result.code, result.err, answer["Status"]) == (0, "", "SUCCESS")
    assert [row["status"]["code"]["key"] for row in found] == ["2105"] * 3
    run("get", "/nowhere", "-p", "a=1", "-p", "b=x=y&z", "-p", "a=2")
    assert turvo.requests[-1].query == {"a": "2", "b": "x=y&z"}
    turvo.fail_next(200, body='{"no": "envelope"}')
    assert json.loads(run("get", "/v2/accounts").out) == {"no": "envelope"}


def test_get_all_prints_the_rows_of_all_pages_as_one_list(run: Run) -> None:
    for more in ([], ["--key", "shipments"]):
        result = run("get", "/shipments/list", "--all", *more)
        assert len({row["id"] for row in json.loads(result.out)}) == 60
    none = ("-p", "customId[eq]=none")
    assert run("get", "/shipments/list", "--all", *none).out == "[]\n"


@pytest.mark.parametrize("more", [(), ("--all",)], ids=["one", "all"])
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, '{"Status": "E", "details": {"errorMessage": "none"}}', '"none" (code'),
        (403, '{"message": "Forbidden"}', 'the answer is 403 "Forbidden"'),
        (400, '{"message": "\\u001b[2J\\nERROR root: x"}', '"[2J ERROR root: x"'),
        (401, '{"error_description": "expired: 3b_-secret"}', "the answer is 401"),
        (200, "[" * 200_000, "the answer 200 must be JSON"),
        (200, '[{"x": ' * 60 + "1" + "}]" * 60, "the answer "),
    ],
    ids=range(6),
)
def test_get_puts_the_error_of_an_answer_on_one_line_of_stderr(
    run: Run, turvo: FakeTurvo, status: int, body: str, said: str, more: Any
) -> None:
    turvo.fail_next(status, times=9, body=body)
    result = run("get", "/shipments/list", *more)
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    assert "secret" not in result.err
    assert result.err.removesuffix("\n").isprintable()


# Errors


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        ([""], "choose from"),
        (["get"], "PATH"),
        (["get", "/x", "-p", "status"], "'status' must be NAME=VALUE"),
        (["get", "/x", "-p", "=2105"], "'=2105' must be NAME=VALUE"),
        (["get", "/shipments/list", "--all", "-p", "start=24"], "-p start"),
        (["get", "/shipments/900000001", "--all"], '--key: "customerOrder", "carrier'),
        (["get", "/shipments/list", "--all", "--key", "x"], '--key: "shipments"'),
        (["get", "http://", "-v"], "Invalid URL"),
        (["get", "publicapi.turvo.com/v1/x"], "begins with https://"),
        (["sandbox", "--port", "65536"], "--port 65536 cannot be used"),
    ],
    ids=range(11),
)
def test_a_wrong_command_line_is_code_2_and_explained(
    run: Run, argv: list[str], said: str
) -> None:
    result = run(*argv)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize("argv", [["token"], ["login"], ["forget"], ["get", "/x"]])
def test_one_line_names_every_setting_that_is_missing_or_wrong(
    run: Run, argv: list[str]
) -> None:
    wrong = {"TURVO_BASE_URL": "http://x.example", "TURVO_API_KEY": "key with a blank"}
    wrong |= {"TURVO_USERNAME": "", "REDIS_URL": "http://:redis-password@host"}
    result = run(*argv, **wrong)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert [name for name in wrong if name not in result.err] == []


def test_turvo_in_trouble_is_code_1_and_one_line(
    run: Run, turvo: FakeTurvo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries
    turvo.throttle("600", where="token")
    busy = run("token")
    turvo.redirect_next("http://[\x1b]0;owned\x07/")
    astray = run("get", "/shipments/list")
    turvo.drop_next(times=9)
    silent = run("get", "/shipments/list")

    for result in (busy, astray, silent):
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert result.err.removesuffix("\n").isprintable()
    assert "429" in busy.err
    origin = turvo.base_url.removesuffix("/v1")
    assert f"no answer from {origin} (ConnectionError); check TURVO_B" in silent.err


def test_output_that_nobody_reads_is_code_141(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        result = run("status")
    assert (result.code, result.err) == (141, "")
