"""requests-cache: answers come from the cache, and its file holds no secret."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from _calls import report
from requests_cache import CachedSession

from turvo_session import TurvoAuth
from turvo_session.testing import FakeTurvo

PACKAGE = "requests-cache"
REQUIRES = ["requests-cache"]
HOW = "cached answers, healed 401; the key and the token are not in the cache"


def main() -> int:
    """Return 0 if a second GET comes from the cache and the file has no secret."""
    with tempfile.TemporaryDirectory() as folder, FakeTurvo() as turvo:
        session = CachedSession(str(Path(folder) / "cache"), expire_after=3600)
        session.auth = auth = TurvoAuth.from_env(turvo.environ)
        auth.token()
        turvo.revoke()
        url = f"{turvo.base_url}/shipments/list"
        answers = [session.get(url, timeout=5) for _ in range(2)]
        session.close()
        written = b"".join(path.read_bytes() for path in Path(folder).iterdir())
        secrets = [turvo.password, turvo.api_key, auth.token().access_token]
    leaked = sum(secret.encode() in written for secret in secrets)
    seen = [(answer.status_code, answer.from_cache) for answer in answers]
    text = f"status and cached: {seen}, {leaked} secrets in the cache"
    good = seen == [(200, False), (200, True)] and turvo.logins == 2
    return report(good and bool(written) and not leaked, text)


if __name__ == "__main__":
    sys.exit(main())
