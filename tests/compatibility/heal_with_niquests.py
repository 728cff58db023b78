"""A cold login, a healed 401 and a redirect to another host with a niquests session."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import niquests

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "niquests"
REQUIRES = ["niquests"]
HOW = "synchronous sessions: cold login, healed 401, redirects"
SEPARATE = True  # it installs its own urllib3 over the other one


class Elsewhere(BaseHTTPRequestHandler):
    """Another origin, which remembers the headers that it gets."""

    seen: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        """Answer with an empty 200."""
        self.seen.update(name.lower() for name in self.headers)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main() -> int:
    """Return 0 if the login, the replay and the guard of redirects work."""
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with FakeTurvo() as turvo, niquests.Session() as session:
        session.auth = auth = TurvoAuth.from_env(turvo.environ)
        url = f"{turvo.base_url}/shipments/list"
        statuses = [session.get(url, timeout=5).status_code]
        turvo.revoke()
        statuses.append(session.get(url, timeout=5).status_code)
        turvo.redirect_next(f"http://127.0.0.1:{server.server_port}/")
        statuses.append(session.get(url, timeout=5).status_code)
    leaked = {"authorization", "x-api-key"} & Elsewhere.seen
    print(f"{statuses}, {auth.stats.logins} logins; leaked by a redirect: {leaked}")
    as_expected = statuses == [200, 200, 200] and auth.stats.logins == 2
    return 0 if as_expected and Elsewhere.seen and not leaked else 1


if __name__ == "__main__":
    sys.exit(main())
