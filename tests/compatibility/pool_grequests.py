"""grequests: requests that are sent at once by greenlets, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

PACKAGE = "grequests"
REQUIRES = ["grequests"]
HOW = "`grequests.map` with the auth: one login, healed 401"
SEPARATE = True

CHILD = """
import grequests  # it patches sockets, but not threads
from turvo_session import TurvoAuth

auth = TurvoAuth.from_env()
url = f"{auth.base_url}/shipments/list"
sent = [grequests.get(url, auth=auth, timeout=20) for _ in range(16)]
print(*[answer.status_code for answer in grequests.map(sent)])
"""


def run_jobs() -> list[int]:
    """Send requests at once, and return their statuses."""
    command = [sys.executable, "-c", CHILD]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(status) for status in told.split()]


if __name__ == "__main__":
    from _jobs import share_logins

    sys.exit(share_logins(run_jobs))
