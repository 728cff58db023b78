"""Every public name, used as a script would use it. Never run: ``test_typing.py`` has it type-checked.

Each ``ignore`` marks a mistake that a type checker must see: one that it does not see is an error, too.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any, assert_type

import redis
import requests

from turvo_session import (
    Change,
    CredentialsRejected,
    InvalidTokenResponse,
    MemoryStore,
    RedisStore,
    SettingsError,
    Slot,
    Snapshot,
    Stats,
    StoreError,
    Token,
    TokenEndpointUnavailable,
    TokenStatus,
    TokenStore,
    TurvoAuth,
    TurvoAuthError,
    TurvoResponseError,
    TurvoSession,
)
from turvo_session.events import Event, LoggedIn, LoginFailed
from turvo_session.testing import FakeTurvo, Seen


def one_line() -> None:
    session = requests.Session()
    session.auth = TurvoAuth.from_env()
    session.get("https://publicapi.turvo.com/v1/shipments/list", timeout=30).raise_for_status()
    requests.get("https://publicapi.turvo.com/v1/shipments/list", auth=TurvoAuth.from_env(), timeout=30)


def auth() -> None:
    auth = TurvoAuth(
        base_url="https://publicapi.turvo.com/v1",
        api_key="key",
        username="dispatcher",
        password="password",
        client_id="publicapi",
        client_secret="secret",
        store=MemoryStore(),
        expiry_buffer=300,
        token_timeout=(3.05, 10),
        on_event=print,
    )
    TurvoAuth.from_env({"TURVO_API_KEY": "key"}, on_event=on_event, expiry_buffer=60.0)
    TurvoAuth("https://publicapi.turvo.com/v1")  # type: ignore[call-arg]
    TurvoAuth.from_env(5)  # type: ignore[arg-type]
    assert_type(auth, TurvoAuth)
    assert_type(auth.base_url, str)
    assert_type(auth.token(), Token)
    assert_type(auth.forget(), None)
    assert_type(auth.status(), TokenStatus)
    assert_type(auth.stats, Stats)
    assert_type(pickle.dumps(auth), bytes)


def values(auth: TurvoAuth) -> None:
    token, status, stats = auth.token(), auth.status(), auth.stats
    assert_type(token.access_token, str)
    assert_type(token.fingerprint, str)
    assert_type(token.seconds_left(now=1.0), float)
    assert_type(token.state(now=1.0), str)
    assert_type(
        (token.start, token.due, token.end, token.life, token.buffer),
        tuple[float, float, float, float, float],
    )
    assert_type(
        (status.origin, status.fingerprint, status.failure), tuple[str | None, str | None, str | None]
    )
    assert_type((status.seconds_left, status.failure_seconds), tuple[float, float])
    assert_type((status.state, status.store), tuple[str, str])
    assert_type((status.store_reachable, status.store_seconds), tuple[bool | None, float | None])
    assert_type((stats.requests, stats.logins, stats.adopted), tuple[int, int, int])
    assert_type((stats.replays, stats.waits, stats.store_errors), tuple[int, int, int])
    token.life = 5.0  # type: ignore[misc]
    status.password  # type: ignore[attr-defined]  # noqa: B018


def session(auth: TurvoAuth) -> None:
    session = TurvoSession(auth, timeout=(3.05, 30.0), retries=3)
    with TurvoSession.from_env(timeout=5) as other:
        other.get("/shipments/list").raise_for_status()
    assert_type(session.auth, TurvoAuth)
    assert_type(session.records("/shipments/list", "shipments"), Iterator[dict[str, Any]])
    for row in session.records("/shipments/list", "shipments", {"status[eq]": "2105", "pageSize": 24}):
        print(row["id"])
    session.records("/shipments/list")  # type: ignore[call-arg]
    TurvoSession("https://publicapi.turvo.com")  # type: ignore[arg-type]


def errors(session: requests.Session) -> float | None:
    try:
        session.get("https://publicapi.turvo.com/v1/shipments/list", timeout=30)
    except TokenEndpointUnavailable as error:
        return assert_type(error.retry_after, float | None)
    except (SettingsError, CredentialsRejected, InvalidTokenResponse) as error:
        reason: TurvoAuthError = error
        print(reason)
    except TurvoResponseError as error:
        assert_type((error.code, error.message), tuple[str, str])
    except requests.RequestException as error:
        print(error.response)
    return None


class MyStore:
    """A store of one's own: three methods, and it is a ``TokenStore``."""

    def read(self) -> Snapshot:
        return Snapshot(at=0.0, token=Slot(b"value", 3.0), lease=None, failure=None, version=1)

    def swap(self, seen: Snapshot, change: Change) -> bool:
        if change.wake and seen.token is not None:
            raise StoreError("not now")
        return change.token is None

    def wait(self, seen: Snapshot, seconds: float) -> None:
        assert_type(seen.at + seconds, float)


class NoStore:
    def read(self) -> Snapshot:
        raise StoreError


def stores() -> list[TokenStore]:
    client = redis.Redis(socket_timeout=1)
    wrong: TokenStore = NoStore()  # type: ignore[assignment]
    return [
        MyStore(),
        MemoryStore(),
        RedisStore(client, "turvo:auth_token"),
        RedisStore(client, "turvo:auth_token", encryption_keys=["key"]),
        RedisStore.from_url("redis://localhost", "turvo:auth_token", encryption_keys=("new", "old")),
        wrong,
    ]


def on_event(event: Event) -> None:
    match event:
        case LoggedIn(token=token, seconds=seconds, took=took, reason=reason):
            assert_type((token, seconds, took, reason), tuple[str, float, float, str])
        case LoginFailed():
            logging.getLogger("turvo_session").warning(event.why)
        case _:
            print(type(event).__name__)


def test_my_script() -> None:
    with FakeTurvo(policy="same", token_life=60, seed=1) as turvo:
        session = TurvoSession(TurvoAuth.from_env(turvo.environ))
        turvo.fail_next(503, where="token", times=2, headers=[("Retry-After", "1")])
        turvo.revoke()
        assert session.get("/shipments/list").ok
        assert_type((turvo.base_url, turvo.environ), tuple[str, dict[str, str]])
        assert_type(turvo.logins + turvo.token_requests + turvo.api_requests + turvo.refused, int)
        seen: Seen = turvo.requests[-1]
        assert_type((seen.headers, seen.status), tuple[dict[str, str], int])
        turvo.throttle(5)  # type: ignore[arg-type]
    FakeTurvo(policy="other")  # type: ignore[arg-type]
