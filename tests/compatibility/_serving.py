"""Does ``_application`` work under a server that forks?"""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from _calls import report
from _sharing import RedisServer

from tests.support.servers import free_port
from turvo_session.testing import FakeTurvo


def ask(url: str) -> tuple[str, str]:
    """Return the status of Turvo and the process that asked it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            status, process = requests.get(url, timeout=30).text.split()
            return status, process
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def serves(command: list[str]) -> int:
    """Return 0 if two workers need one login, and another one after a revocation.

    ``ADDRESS`` and ``PORT`` in the command are replaced by those to listen at.
    """
    port = str(free_port())
    address = f"127.0.0.1:{port}"
    with RedisServer(port=0) as redis, FakeTurvo() as turvo:
        environ = {**os.environ, **turvo.environ, "REDIS_URL": redis.url}
        process = subprocess.Popen(
            [
                part.replace("ADDRESS", address).replace("PORT", port)
                for part in command
            ],
            env=environ,
            cwd=Path(__file__).parent,
            stderr=subprocess.DEVNULL,
        )
        try:
            answers = [ask(f"http://{address}/")]
            with ThreadPoolExecutor(8) as pool:
                for _ in range(2):
                    answers += pool.map(ask, [f"http://{address}/"] * 40)
                    turvo.revoke()
        finally:
            process.terminate()
            process.wait(20)
        # The last revocation came after the last answer.
        logins = turvo.logins
    statuses = {status for status, _ in answers}
    processes = {number for _, number in answers}
    text = f"{len(processes)} processes: {statuses}, {logins} logins"
    return report(statuses == {"200"} and logins == 2 and len(processes) > 1, text)
