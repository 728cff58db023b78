"""Does a token reach every auth that shares it, and how many logins does that cost?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from turvo_session import RedisStore, TurvoAuth
from turvo_session.testing import FakeTurvo

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.servers import RedisServer

__all__ = ["RedisServer", "costs_one_login_each", "is_shared"]


def costs_one_login_each(turvo: FakeTurvo, auths: list[TurvoAuth]) -> bool:
    """Return whether a cold start and a revocation cost one login each, in time."""
    url = f"{turvo.base_url}/shipments/list"

    def call(auth: TurvoAuth) -> int:
        return requests.get(url, auth=auth, timeout=20).status_code

    good = True
    for logins in (1, 2):
        with ThreadPoolExecutor() as pool:
            statuses = set(pool.map(call, auths * 3))
        errors = sum(auth.stats.store_errors for auth in auths)
        good = good and (statuses, turvo.logins, errors) == ({200}, logins, 0)
        print(f"{statuses}, {turvo.logins} logins, {errors} store errors", end="; ")
        turvo.revoke()
    return good


def is_shared(*make_clients: Callable[[], Any]) -> int:
    """Return 0 if the auths of three processes with such clients share a token."""
    good = True
    for number, make_client in enumerate(make_clients):
        with FakeTurvo(login_seconds=0.5) as turvo:
            key = f"turvo:auth_token:{number}"
            stores = [RedisStore(make_client(), key) for _ in range(3)]
            auths = [TurvoAuth.from_env(turvo.environ, store=one) for one in stores]
            good = costs_one_login_each(turvo, auths) and good
    print()
    return 0 if good else 1
