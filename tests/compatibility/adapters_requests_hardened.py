"""requests-hardened: a session that filters addresses and redirects."""

from __future__ import annotations

import sys

from _calls import call_across_revocation, report
from requests_hardened import Config, Manager

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "requests-hardened"
REQUIRES = ["requests-hardened"]
HOW = "a session of its `Manager`: healed 401"

CONFIG = Config(
    default_timeout=(2, 10),
    never_redirect=True,
    ip_filter_enable=False,
    ip_filter_allow_loopback_ips=True,
)


def main() -> int:
    """Return 0 if a 401 is healed."""
    with FakeTurvo() as turvo, Manager(CONFIG).get_session() as session:
        session.auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        logins = turvo.logins
    return report(statuses == [200, 200] and logins == 2, f"{statuses}, {logins}")


if __name__ == "__main__":
    sys.exit(main())
