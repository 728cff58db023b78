"""A cold login, a healed 401 and a redirect to another host under requests-mock."""

from __future__ import annotations

import sys

import requests
import requests_mock

from turvo_session import TurvoAuth

PACKAGE = "requests-mock"
REQUIRES = ["requests-mock"]
HOW = "cold login, healed 401, redirects"

BASE_URL = "https://publicapi.turvo.com/v1"
SECRETS = {"authorization", "x-api-key"}


def main() -> int:
    """Return 0 if the login, the replay and the guard of redirects work."""
    session = requests.Session()
    session.auth = TurvoAuth(
        base_url=BASE_URL, api_key="key", username="user", password="password"
    )
    tokens = iter(["token-1", "token-2"])
    with requests_mock.Mocker() as mocker:
        mocker.post(
            f"{BASE_URL}/oauth/token",
            json=lambda *_: {"access_token": next(tokens), "expires_in": 43198},
        )
        mocker.get(f"{BASE_URL}/list", [{"status_code": 401}, {"status_code": 200}])
        there = {"Location": "https://elsewhere.example/"}
        mocker.get(f"{BASE_URL}/away", status_code=302, headers=there)
        mocker.get("https://elsewhere.example/")
        healed = session.get(f"{BASE_URL}/list", timeout=5)
        away = session.get(f"{BASE_URL}/away", timeout=5)
    bearers = [
        seen.headers.get("Authorization")
        for seen in mocker.request_history
        if seen.url == f"{BASE_URL}/list"
    ]
    leaked = SECRETS & {name.lower() for name in away.request.headers}
    print(f"{healed.status_code} after {bearers}; leaked by a redirect: {leaked}")
    expected = ["Bearer token-1", "Bearer token-2"]
    return 0 if healed.ok and bearers == expected and not leaked else 1


if __name__ == "__main__":
    sys.exit(main())
