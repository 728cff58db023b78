"""A cold login, a healed 401 and a redirect to another host under responses."""

from __future__ import annotations

import sys

import requests
import responses

from turvo_session import TurvoAuth

PACKAGE = "responses"
REQUIRES = ["responses"]
HOW = "cold login, healed 401, redirects"

BASE_URL = "https://publicapi.turvo.com/v1"
SECRETS = {"authorization", "x-api-key"}


@responses.activate
def main() -> int:
    """Return 0 if the login, the replay and the guard of redirects work."""
    session = requests.Session()
    session.auth = TurvoAuth(
        base_url=BASE_URL, api_key="key", username="user", password="password"
    )
    for token in ("token-1", "token-2"):
        answer = {"access_token": token, "expires_in": 43198}
        responses.post(f"{BASE_URL}/oauth/token", json=answer)
    responses.get(f"{BASE_URL}/list", status=401)
    responses.get(f"{BASE_URL}/list", status=200)
    there = {"Location": "https://elsewhere.example/"}
    responses.get(f"{BASE_URL}/away", status=302, headers=there)
    responses.get("https://elsewhere.example/")
    healed = session.get(f"{BASE_URL}/list", timeout=5)
    away = session.get(f"{BASE_URL}/away", timeout=5)
    bearers = [
        call.request.headers["Authorization"]
        for call in responses.calls
        if call.request.url == f"{BASE_URL}/list"
    ]
    leaked = SECRETS & {name.lower() for name in away.request.headers}
    print(f"{healed.status_code} after {bearers}; leaked by a redirect: {leaked}")
    expected = ["Bearer token-1", "Bearer token-2"]
    return 0 if healed.ok and bearers[-1] == expected[-1] and not leaked else 1


if __name__ == "__main__":
    sys.exit(main())
