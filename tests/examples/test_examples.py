"""Each small example is run as a user runs it, by environment variables alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.support.programs import EXAMPLES, World
from turvo_session import TurvoAuth, TurvoSession

SMALL = ("celery_style", "cron", "other_clients", "threads", "worker_pool")
BEFORE, AFTER = "migrate/before.py", "migrate/after.py"
SHARED = {"TURVO_TOKEN_KEY": "turvo:auth_token"}


@pytest.mark.parametrize("name", SMALL)
def test_small_examples_need_one_login_after_a_revocation(
    name: str, world: World
) -> None:
    """In all their processes and threads, and on one screen."""
    auth = TurvoAuth.from_env(world.turvo.environ | {"REDIS_URL": world.redis_url})
    today = datetime.now(UTC).strftime("%Y-%m-%dT23:59:59Z")
    filters = {"status[eq]": "2105", "deliveryDate[lte]": today}
    with TurvoSession(auth) as session:
        rows = session.records("/shipments/list", "shipments", filters)
        overdue = sorted(row["id"] for row in rows)
    world.turvo.revoke()
    logins = world.turvo.logins
    program = world.start(f"{name}.py")
    assert (program.end(), program.err) == (0, "")
    expected = {"cron": overdue, "other_clients": world.en_route[:24]}
    assert overdue
    assert program.printed_ids == expected.get(name, world.en_route)
    assert world.turvo.logins == logins + 1
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 45


ESCAPES = "L1\x1b]0;owned\x07\x1b[2J\nforged"


@pytest.mark.parametrize(
    "script", [*(f"{name}.py" for name in SMALL), BEFORE, AFTER, "poller.py"]
)
def test_what_a_shipper_wrote_cannot_control_a_terminal(
    script: str, world: World
) -> None:
    """Neither by escape sequences nor by a line of its own."""
    stop = {"address": {"city": ESCAPES}, "etaToStop": {"etaValue": ESCAPES}}
    status = {"code": {"key": "2105", "value": ESCAPES}}
    row = {"id": 1, "customId": ESCAPES, "status": status, "globalRoute": [stop]}
    for path, details in (("list", {"shipments": [row]}), ("1", row)):
        answer = {"Status": "SUCCESS", "details": details}
        world.turvo.answer(f"/shipments/{path}", answer)
    once = ("--once",) if script == "poller.py" else ()
    program = world.start(script, *once, environ=SHARED)
    assert (program.end(), program.out.count("\n")) == (0, 1)
    assert "forged" in program.out or script == "poller.py"


def test_a_pre_fork_server_needs_no_redis(world: World) -> None:
    logins = world.turvo.logins
    program = world.start("celery_style.py", environ={"REDIS_URL": ""})
    assert (program.end(), program.printed_ids) == (0, world.en_route)
    assert world.turvo.logins == logins + 1


def test_the_cron_job_says_what_is_wrong(world: World) -> None:
    unset = world.start("cron.py", environ={"TURVO_PASSWORD": ""})
    assert (unset.end(), "cron: SettingsError: TURVO_PASS" in unset.err) == (1, True)
    wrong = world.start("cron.py", environ={"TURVO_PASSWORD": "swordfish"})
    assert (wrong.end(), "cron: CredentialsRejected: " in wrong.err) == (1, True)


@pytest.mark.parametrize("scripts", [(BEFORE, AFTER), (AFTER, BEFORE)])
def test_old_and_new_scripts_share_one_token(
    scripts: tuple[str, str], world: World
) -> None:
    """Whichever logs in, both store the same: five minutes less, and the whole life."""
    logins = world.turvo.logins
    for script in scripts:
        program = world.start(script, environ=SHARED)
        assert program.end() == 0
        token = json.loads(world.redis.get("turvo:auth_token"))
        assert token.keys() - {"buffer"} == {"access_token", "expires_at"}
        left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
        assert 42_800 < left.total_seconds() <= 45_899
        assert 43_100 < world.redis.ttl("turvo:auth_token") <= 43_199
    assert program.printed_ids == sorted(world.en_route[:24] * 2)
    assert world.turvo.logins == logins + 1


def test_only_the_new_script_outlives_a_revocation_and_redis(world: World) -> None:
    assert world.start(BEFORE, environ=SHARED).end() == 0
    world.turvo.revoke()
    assert world.start(BEFORE, environ=SHARED).process.wait(20) == 1
    no_redis = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    for script, more in ((AFTER, no_redis), (AFTER, {}), (BEFORE, {})):
        assert world.start(script, environ=SHARED | more).end() == 0
