"""Every public name as a script would use it, for type checkers: it is never run.

Each ``ignore`` marks a mistake that mypy and pyright must see.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import os
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
from turvo_session.events import Event, Listener, LoggedIn, LoginFailed
from turvo_session.testing import FakeTurvo, Seen

URL = "https://publicapi.turvo.com/v1/shipments/list"


def auth() -> None:
    session = requests.Session()
    session.auth = TurvoAuth.from_env()
    requests.get(URL, auth=TurvoAuth.from_env(os.environ), timeout=30)
    auth = TurvoAuth(
        base_url="https://publicapi.turvo.com/v1",
        api_key="key",
        username="dispatcher",
        password=lambda: "password",
        client_id="publicapi",
        client_secret="secret",
        store=MemoryStore(),
        expiry_buffer=300,
        token_timeout=(3.05, 10),
        on_event=print,
        verify="/etc/ssl/certs/ca.pem",
        cert=("client.pem", "client.key"),
        proxies={"https": "http://proxy.example:3128"},
    )
    assert_type(auth, TurvoAuth)
    assert_type(auth.base_url, str)
    assert_type(auth.token(), Token)
    assert_type(auth.login(force=True), Token)
    assert_type(auth.forget(), None)
    assert_type(auth.status(), TokenStatus)
    assert_type(auth.stats, Stats)
    assert_type(pickle.dumps(auth), bytes)


def overrides() -> None:
    listener: Listener = on_event
    environ = {"TURVO_API_KEY": "key"}
    TurvoAuth.from_env(environ, on_event=listener, password=str, verify=False)
    TurvoAuth.from_env(5)  # type: ignore[arg-type]
    TurvoAuth.from_env(".env")  # type: ignore[arg-type]
    TurvoAuth.from_env(usrname="x")  # type: ignore[call-arg]
    TurvoAuth.from_env(expiry_buffer="300")  # type: ignore[arg-type]
    TurvoAuth.from_env(password=5)  # type: ignore[arg-type]
    TurvoAuth.from_env(store="redis://x")  # type: ignore[arg-type]
    TurvoSession.from_env(environ, timeout=5, retries=1, username="u", expiry_buffer=9)
    TurvoSession.from_env(timeuot=5)  # type: ignore[call-arg]
    TurvoSession.from_env(timeout="5")  # type: ignore[arg-type]
    TurvoSession.from_env(username=5)  # type: ignore[arg-type]


def values(auth: TurvoAuth) -> None:
    token, status, stats = auth.token(), auth.status(), auth.stats
    assert_type((token.access_token, token.fingerprint), tuple[str, str])
    assert_type(token.seconds_left(now=1.0), float)
    assert_type(token.state(now=1.0), str)
    assert_type((token.start, token.due, token.end), tuple[float, float, float])
    assert_type((token.life, token.buffer), tuple[float, float])
    assert_type((status.origin, status.fingerprint), tuple[str | None, str | None])
    assert_type((status.failure, status.failure_seconds), tuple[str | None, float])
    assert_type((status.state, status.store), tuple[str, str])
    assert_type((status.seconds_left, status.store_seconds), tuple[float, float | None])
    reachable, writable = status.store_reachable, status.store_writable
    assert_type((reachable, writable), tuple[bool | None, bool | None])
    for failure in status.failures:
        assert_type((failure.kind, failure.why), tuple[str, str])
        assert_type((failure.seconds, failure.mine), tuple[float, bool])
    assert_type((status.attempts_spent, stats.logins), tuple[int, int])
    assert_type((stats.requests, stats.adopted, stats.waits), tuple[int, int, int])
    assert_type((stats.replays, stats.store_errors), tuple[int, int])
    status.password  # type: ignore[attr-defined]  # noqa: B018


def session(auth: TurvoAuth) -> None:
    with TurvoSession(auth, timeout=(3.05, 30.0), retries=3) as session:
        session.get("/shipments/list").raise_for_status()
    assert_type(session.auth, TurvoAuth)
    assert_type(session.details("/shipments/1", params={"a": "b"}), dict[str, Any])
    records = session.records("/shipments/list", "shipments", {"pageSize": 24})
    assert_type(records, Iterator[dict[str, Any]])
    session.records("/shipments/list")  # type: ignore[call-arg]
    TurvoSession("https://publicapi.turvo.com")  # type: ignore[arg-type]
    TurvoSession(TurvoAuth)  # type: ignore[arg-type]
    TurvoSession(None)  # type: ignore[arg-type]


def errors(session: requests.Session) -> float | None:
    try:
        session.get(URL, timeout=30)
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
    """A store of one's own: with three methods it is a ``TokenStore``."""

    def read(self) -> Snapshot:
        return Snapshot(0.0, Slot(b"value", 3.0), None, failure=None, version=1)

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
        wrong,
        MyStore(),
        MemoryStore(),
        RedisStore(client, "turvo:auth_token", encryption_keys=["key"]),
        RedisStore.from_url("redis://localhost", "key", encryption_keys=("a", "b")),
    ]


def on_event(event: Event) -> None:
    match event:
        case LoggedIn(token=token, seconds=seconds, took=took, reason=reason):
            assert_type((token, seconds, took, reason), tuple[str, float, float, str])
        case LoginFailed():
            assert_type((event.why, event.kind), tuple[str, str])
            assert_type((event.took, event.pause), tuple[float, float])
        case _:
            assert_type(event.level, int)


def test_my_script() -> None:
    with FakeTurvo(policy="same", token_life=60, seed=1) as turvo:
        turvo.fail_next(503, where="token", times=2, headers=[("Retry-After", "1")])
        turvo.answer("/orders/1", {"Status": "SUCCESS"})
        turvo.redirect_next("https://elsewhere.example", status=302)
        turvo.drop_next(where="api")
        turvo.revoke()
        turvo.advance(60.0)
        turvo.heal()
        assert_type(turvo.refused, int)
        assert_type((turvo.base_url, turvo.environ), tuple[str, dict[str, str]])
        assert_type(turvo.logins + turvo.token_requests + turvo.api_requests, int)
        seen: Seen = turvo.requests[-1]
        assert_type((seen.headers, seen.status), tuple[dict[str, str], int])
        turvo.throttle(5)
        turvo.policy = "fresch"  # type: ignore[assignment]
    FakeTurvo(policy="other")  # type: ignore[arg-type]
