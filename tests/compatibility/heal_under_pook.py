"""A cold login and a healed 401 under pook."""

from __future__ import annotations

import sys

import pook
import requests
from _calls import report

from turvo_session import TurvoAuth

PACKAGE = "pook"
REQUIRES = ["pook"]
HOW = "cold login, healed 401"

BASE_URL = "https://publicapi.turvo.com/v1"


@pook.on
def main() -> int:
    """Return 0 if the login and the replay work."""
    session = requests.Session()
    session.auth = auth = TurvoAuth(
        base_url=BASE_URL, api_key="key", username="user", password="password"
    )
    for token in ("token-1", "token-2"):
        answer = {"access_token": token, "expires_in": 43198}
        pook.post(f"{BASE_URL}/oauth/token").times(1).reply(200).json(answer)
    for status in (401, 200):
        pook.get(f"{BASE_URL}/list").times(1).reply(status).json({})
    healed = session.get(f"{BASE_URL}/list", timeout=5)
    text = f"{healed.status_code} after {auth.stats.logins} logins"
    return report(healed.ok and auth.stats.logins == 2, text)


if __name__ == "__main__":
    sys.exit(main())
