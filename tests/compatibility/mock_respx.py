"""respx mocks httpx beside an auth that talks to Turvo by requests."""

from __future__ import annotations

import sys

import httpx
import requests
import respx
from _calls import call_across_revocation, report

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "respx, httpx"
REQUIRES = ["respx", "httpx"]
HOW = "mocks httpx beside it; `auth.token()` for a client of httpx"


@respx.mock
def main() -> int:
    """Return 0 if requests reaches Turvo and httpx reaches the mock."""
    route = respx.get("https://tms.example/").respond(204)
    with FakeTurvo() as turvo, requests.Session() as session:
        session.auth = auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        token = auth.token().access_token
        headers = {"Authorization": f"Bearer {token}"}
        mocked = httpx.get("https://tms.example/", headers=headers).status_code
    text = f"{statuses}, {turvo.logins} logins; httpx got {mocked}"
    good = statuses == [200, 200] and mocked == 204 and route.called
    return report(good and turvo.logins == 2, text)


if __name__ == "__main__":
    sys.exit(main())
