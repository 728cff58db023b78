"""time-machine: travelling changes no token, since it leaves the monotonic clock."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import requests
import time_machine
from _calls import report

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "time-machine"
REQUIRES = ["time-machine"]
HOW = "travelling ends no token; `FakeTurvo.advance(seconds)` does"


def main() -> int:
    """Return 0 if a journey needs no login, and an advance one."""
    logins = []
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with time_machine.travel(start) as traveller, FakeTurvo() as turvo:
        url = f"{turvo.base_url}/shipments/list"
        auth = TurvoAuth.from_env(turvo.environ)
        requests.get(url, auth=auth, timeout=5).raise_for_status()
        logins.append(turvo.logins)
        traveller.shift(30 * 86400)
        requests.get(url, auth=auth, timeout=5).raise_for_status()
        logins.append(turvo.logins)
        turvo.advance(12 * 3600)
        requests.get(url, auth=auth, timeout=5).raise_for_status()
        logins.append(turvo.logins)
    text = f"logins at first, a month later, and after an advance: {logins}"
    return report(logins == [1, 1, 2], text)


if __name__ == "__main__":
    sys.exit(main())
