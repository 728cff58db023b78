"""Jobs that call Turvo, to be run by other people's pools and queues."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

import requests
from _calls import report
from _sharing import RedisServer

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

JOBS = 16


@cache
def auth_of_this_process() -> TurvoAuth:
    """Return the auth that all jobs of a process share, as an application's would."""
    return TurvoAuth.from_env()


def call_turvo(_: object = None) -> int:
    """Return the status of a call; this is the job."""
    auth = auth_of_this_process()
    url = f"{auth.base_url}/shipments/list"
    return requests.get(url, auth=auth, timeout=20).status_code


def share_logins(run_jobs: Callable[[], Sequence[int]]) -> int:
    """Return 0 if jobs need one login, and one more after a revocation.

    ``run_jobs()`` runs ``call_turvo`` some times, and returns the statuses.
    """
    with RedisServer(port=0) as redis, FakeTurvo(login_seconds=0.2) as turvo:
        os.environ.update({**turvo.environ, "REDIS_URL": redis.url})
        statuses = list(run_jobs())
        before = turvo.logins
        turvo.revoke()
        statuses += run_jobs()
        logins = (before, turvo.logins)
    text = f"{len(statuses)} calls: {set(statuses)}, {logins} logins"
    return report(set(statuses) == {200} and logins == (1, 2), text)
