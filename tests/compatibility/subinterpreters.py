"""Isolated sub-interpreters with locks of their own, each with an auth."""

from __future__ import annotations

import os
import sys
import threading

from _calls import report
from _sharing import RedisServer

from turvo_session.testing import FakeTurvo

PACKAGE = "isolated sub-interpreters"
REQUIRES: list[str] = []
HOW = "three share one login through Redis; `requests` misses charset_normalizer there"
PYTHON = (3, 13)

CODE = """
import requests
from turvo_session import TurvoAuth
auth = TurvoAuth.from_env()
url = f"{auth.base_url}/shipments/list"
assert requests.get(url, auth=auth, timeout=20).status_code == 200
assert auth.stats.store_errors == 0
"""


def run_isolated(errors: list[str]) -> None:
    """Run the code in an interpreter of its own, and note what it raises."""
    import _interpreters

    interpreter = _interpreters.create("isolated")
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    trouble = _interpreters.exec(interpreter, path + CODE)
    if trouble is not None:
        errors.append(trouble.formatted)
    _interpreters.destroy(interpreter)


def main() -> int:
    """Return 0 if three interpreters at a time need one login."""
    errors: list[str] = []
    with RedisServer(port=0) as redis, FakeTurvo(login_seconds=0.5) as turvo:
        os.environ.update(turvo.environ, REDIS_URL=redis.url)
        threads = [
            threading.Thread(target=run_isolated, args=(errors,)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    text = f"three interpreters, {turvo.logins} logins, errors: {errors}"
    return report(not errors and turvo.logins == 1, text)


if __name__ == "__main__":
    sys.exit(main())
