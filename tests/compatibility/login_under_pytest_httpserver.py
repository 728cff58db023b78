"""A cold login, a healed 401 and a refused login at a pytest-httpserver."""

from __future__ import annotations

import sys
from typing import Any

import requests
from pytest_httpserver import HTTPServer

from turvo_session import CredentialsRejected, TurvoAuth

PACKAGE = "pytest-httpserver"
REQUIRES = ["pytest-httpserver"]
HOW = "cold login, healed 401, refused login"

LOGIN = {
    "grant_type": "password",
    "client_id": "publicapi",
    "client_secret": "secret",
    "username": "user",
    "password": "password",
    "scope": "read+trust+write",
    "type": "business",
}


def expect_login(server: HTTPServer, answer: dict[str, Any], status: int = 200) -> None:
    """Have the server expect the token request that Turvo documents."""
    request = server.expect_ordered_request(
        "/v1/oauth/token", "POST", headers={"x-api-key": "key"}, json=LOGIN
    )
    request.respond_with_json(answer, status)


def expect_call(server: HTTPServer, token: str, status: int) -> None:
    """Have the server expect a call with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    request = server.expect_ordered_request("/v1/list", headers=headers)
    request.respond_with_data("", status)


def main() -> int:
    """Return 0 if all requests arrive as expected."""
    with HTTPServer() as server:
        auth = TurvoAuth(
            base_url=server.url_for("/v1"),
            api_key="key",
            username="user",
            password="password",
        )
        for number, status in ((1, 401), (2, 200)):
            token = f"token-{number}"
            expect_login(server, {"access_token": token, "expires_in": 43198})
            expect_call(server, token, status)
        healed = requests.get(server.url_for("/v1/list"), auth=auth, timeout=5)
        auth.forget()
        expect_login(server, {"error": "invalid_grant"}, 400)
        refused = ""
        try:
            auth.token()
        except CredentialsRejected as error:
            refused = type(error).__name__
        server.check()
    print(f"{healed.status_code} after {auth.stats.logins} logins, then {refused}")
    return 0 if healed.ok and refused else 1


if __name__ == "__main__":
    sys.exit(main())
