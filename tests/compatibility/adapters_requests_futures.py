"""requests-futures: a session that sends in threads."""

from __future__ import annotations

import sys

from _jobs import JOBS, auth_of_this_process, share_logins
from requests_futures.sessions import FuturesSession

PACKAGE = "requests-futures"
REQUIRES = ["requests-futures"]
HOW = "`FuturesSession.auth`: one login, healed 401"


def run_jobs() -> list[int]:
    """Send requests at once, and return their statuses."""
    with FuturesSession(max_workers=JOBS) as session:
        session.auth = auth = auth_of_this_process()
        url = f"{auth.base_url}/shipments/list"
        sent = [session.get(url, timeout=20) for _ in range(JOBS)]
        return [future.result().status_code for future in sent]


if __name__ == "__main__":
    sys.exit(share_logins(run_jobs))
