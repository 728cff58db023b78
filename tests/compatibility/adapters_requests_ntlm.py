"""requests-ntlm: another auth on the same session, for another host."""

from __future__ import annotations

import sys

import requests
from _calls import call_across_revocation, report
from requests_ntlm import HttpNtlmAuth

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "requests-ntlm"
REQUIRES = ["requests-ntlm"]
HOW = "both auths on one session, each for its own host; healed 401"


def main() -> int:
    """Return 0 if a 401 is healed, and an intranet host sees no token."""
    with FakeTurvo() as turvo, FakeTurvo(seed=1) as intranet:
        session = requests.Session()
        session.auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        ntlm = HttpNtlmAuth("domain\\user", "password")
        session.get(f"{intranet.base_url}/x", auth=ntlm, timeout=5)
        seen = intranet.requests[-1].headers
    leaked = {"authorization", "x-api-key"} & seen.keys()
    text = f"{statuses}, at the other host: {leaked}"
    return report(statuses == [200, 200] and not leaked, text)


if __name__ == "__main__":
    sys.exit(main())
