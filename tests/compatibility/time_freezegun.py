"""freezegun: a token ends when the test moves its clock, and not before."""

from __future__ import annotations

import sys

import requests
from _calls import report
from freezegun import freeze_time

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "freezegun"
REQUIRES = ["freezegun"]
HOW = "`tick(seconds)` ends a token, also the one of `FakeTurvo`"


def main() -> int:
    """Return 0 if a token is used for 11 hours and replaced after 12."""
    logins = []
    with freeze_time("2026-03-01") as frozen, FakeTurvo() as turvo:
        auth = TurvoAuth.from_env(turvo.environ)
        for seconds in (0, 11 * 3600, 3600):
            frozen.tick(seconds)
            url = f"{turvo.base_url}/shipments/list"
            requests.get(url, auth=auth, timeout=5).raise_for_status()
            logins.append(turvo.logins)
    return report(logins == [1, 1, 2], f"logins after 0, 11 and 12 hours: {logins}")


if __name__ == "__main__":
    sys.exit(main())
