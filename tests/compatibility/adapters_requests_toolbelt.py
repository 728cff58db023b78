"""requests-toolbelt: its BaseUrlSession with a healed 401, and a streamed upload."""

from __future__ import annotations

import sys

from _calls import call_across_revocation, report
from requests_toolbelt import MultipartEncoder
from requests_toolbelt.sessions import BaseUrlSession

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "requests-toolbelt"
REQUIRES = ["requests-toolbelt"]
HOW = "`BaseUrlSession`: healed 401; uploads with `MultipartEncoder`"


def main() -> int:
    """Return 0 if a 401 is healed, and Turvo takes an upload."""
    with FakeTurvo() as turvo:
        session = BaseUrlSession(f"{turvo.base_url}/")
        session.auth = TurvoAuth.from_env(turvo.environ)
        statuses = call_across_revocation(turvo, session)
        turvo.answer("/documents", {"id": 1}, method="POST")
        body = MultipartEncoder({"file": ("a.pdf", b"x" * 100_000, "text/plain")})
        headers = {"Content-Type": body.content_type}
        sent = session.post("documents", data=body, headers=headers, timeout=5)
    text = f"{statuses}, upload {sent.status_code}, {turvo.logins} logins"
    good = statuses == [200, 200] and sent.ok and turvo.logins == 2
    return report(good, text)


if __name__ == "__main__":
    sys.exit(main())
