"""A cold login and a healed 401 under mocket, which replaces the socket."""

from __future__ import annotations

import json
import sys

import requests
from _calls import report
from mocket import Mocketizer
from mocket.mocks.mockhttp import Entry, Response

from turvo_session import TurvoAuth

PACKAGE = "mocket"
REQUIRES = ["mocket"]
HOW = "cold login, healed 401"

BASE_URL = "http://127.0.0.1:8765/v1"


def main() -> int:
    """Return 0 if the login and the replay work."""
    tokens = [
        Response(json.dumps({"access_token": token, "expires_in": 43198}))
        for token in ("token-1", "token-2")
    ]
    with Mocketizer(strict_mode=True):
        Entry.register(Entry.POST, f"{BASE_URL}/oauth/token", *tokens)
        answers = [Response("{}", status=401), Response("{}")]
        Entry.register(Entry.GET, f"{BASE_URL}/list", *answers)
        session = requests.Session()
        session.auth = auth = TurvoAuth(
            base_url=BASE_URL, api_key="key", username="user", password="password"
        )
        healed = session.get(f"{BASE_URL}/list", timeout=5)
    text = f"{healed.status_code} after {auth.stats.logins} logins"
    return report(healed.ok and auth.stats.logins == 2, text)


if __name__ == "__main__":
    sys.exit(main())
