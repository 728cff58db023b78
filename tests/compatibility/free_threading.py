"""CPython without a GIL: 32 threads, and a token that is revoked 12 times.

The revocations are a minute apart, because the fleet makes three logins at once and one
more each minute because of a 401. The store's clock is moved by hand.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import requests
from _calls import report
from requests.adapters import HTTPAdapter

from turvo_session import MemoryStore, TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "CPython without a GIL"
REQUIRES: list[str] = []
HOW = "32 threads: one login for each of 12 revocations, and no 401"
FREE_THREADED = True

THREADS, REVOCATIONS = 32, 12


def main() -> int:
    """Return 0 if each revocation costs one login and no call."""
    minutes = [0]
    with FakeTurvo() as turvo, ThreadPoolExecutor(THREADS) as pool:
        session = requests.Session()
        session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
        store = MemoryStore(clock=lambda: 60.0 * minutes[0])
        session.auth = auth = TurvoAuth.from_env(turvo.environ, store=store)
        url = f"{auth.base_url}/shipments/list"
        statuses = []
        for _ in range(1 + REVOCATIONS):
            calls = [pool.submit(session.get, url, timeout=20) for _ in range(THREADS)]
            statuses += [call.result().status_code for call in calls]
            turvo.revoke()
            minutes[0] += 1
        logins = turvo.logins
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    good = not has_gil and logins == 1 + REVOCATIONS and set(statuses) == {200}
    return report(good, f"{len(statuses)} calls: {set(statuses)}, {logins} logins")


if __name__ == "__main__":
    sys.exit(main())
