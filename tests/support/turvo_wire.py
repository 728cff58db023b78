"""Requests to ``FakeTurvo`` without anything of this library."""

from __future__ import annotations

from typing import Any

import requests

from turvo_session.testing import FakeTurvo

KEY = {"x-api-key": FakeTurvo.api_key}
TOKEN_REQUEST = {
    "grant_type": "password",
    "client_id": "publicapi",
    "client_secret": "secret",
    "username": FakeTurvo.username,
    "password": FakeTurvo.password,
    "scope": "read+trust+write",
    "type": "business",
}


class Wire:
    """Plain ``requests`` to one ``FakeTurvo``."""

    def __init__(self, turvo: FakeTurvo) -> None:
        self.turvo = turvo
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request without a token."""
        url = f"{self.turvo.base_url.removesuffix('/v1')}{path}"
        options = {"headers": KEY, "allow_redirects": False, **options}
        return self.session.request(method, url, timeout=10, **options)

    def log_in(self, **changed: object) -> requests.Response:
        """Send a token request."""
        return self.send("POST", "/v1/oauth/token", json=TOKEN_REQUEST | changed)

    def token(self) -> str:
        """Return the token of a new login."""
        return str(self.log_in().json()["access_token"])

    def call(
        self, path: str, method: str = "GET", token: str = "", **options: Any
    ) -> requests.Response:
        """Send a request with a token, by default a new one."""
        headers = KEY | {"Authorization": f"Bearer {token or self.token()}"}
        if not path.startswith(("/v2", "/v3")):
            path = f"/v1{path}"
        return self.send(method, path, headers=headers, **options)

    def details(self, path: str, **query: object) -> dict[str, Any]:
        """Return what Turvo's envelope holds."""
        answer = self.call(path, params=query).json()
        assert answer["Status"] == "SUCCESS"
        return dict(answer["details"])

    def rows(self, **query: object) -> list[dict[str, Any]]:
        """Return the shipments of three pages."""
        pages = [self.details("/shipments/list", **query, start=n) for n in (0, 24, 48)]
        return [row for page in pages for row in page.get("shipments", ())]
