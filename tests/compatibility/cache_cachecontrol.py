"""CacheControl: cached and revalidated answers, and a healed 401."""

from __future__ import annotations

import sys
from email.utils import formatdate

import requests
from _calls import call_across_revocation, report
from cachecontrol import CacheControl

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "CacheControl"
REQUIRES = ["CacheControl"]
HOW = "cached answers, healed 401"


def main() -> int:
    """Return 0 if a 401 is healed and a cacheable answer is asked for once."""
    with FakeTurvo() as turvo:
        session = CacheControl(requests.Session())
        session.auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        fresh = {"Cache-Control": "max-age=60", "Date": formatdate(usegmt=True)}
        turvo.answer("/static", {"a": 1}, headers=fresh)
        before = turvo.api_requests
        url = f"{turvo.base_url}/static"
        bodies = [session.get(url, timeout=5).json() for _ in range(3)]
        asked = turvo.api_requests - before
    text = f"{statuses}, {turvo.logins} logins; three GETs asked Turvo {asked} times"
    good = statuses == [200, 200] and turvo.logins == 2 and asked == 1
    return report(good and bodies == [{"a": 1}] * 3, text)


if __name__ == "__main__":
    sys.exit(main())
