"""requests-ratelimiter: a session that sends no more than so many requests a second."""

from __future__ import annotations

import sys

from _calls import call_across_revocation, report
from requests_ratelimiter import LimiterSession

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "requests-ratelimiter"
REQUIRES = ["requests-ratelimiter"]
HOW = "`LimiterSession.auth`: healed 401; logins are not limited"


def main() -> int:
    """Return 0 if a 401 is healed."""
    with FakeTurvo() as turvo, LimiterSession(per_second=20) as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        logins = turvo.logins
    return report(statuses == [200, 200] and logins == 2, f"{statuses}, {logins}")


if __name__ == "__main__":
    sys.exit(main())
