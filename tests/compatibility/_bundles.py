"""Does ``_program`` work as one file, with the token in Redis?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from _calls import report
from _sharing import RedisServer

from turvo_session.testing import FakeTurvo

PROGRAM = Path(__file__).parent / "_program.py"


def shares(*command: str) -> int:
    """Return 0 if the second one of two runs uses the token of the first one."""
    with RedisServer(port=0) as redis, FakeTurvo() as turvo:
        environ = {**os.environ, **turvo.environ, "REDIS_URL": redis.url}
        said = [
            subprocess.run(
                command,
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
                timeout=60,
            ).stdout.split()
            for _ in range(2)
        ]
    text = f"status, logins, errors of Redis: {said}"
    return report(said == [["200", "1", "0"], ["200", "0", "0"]], text)
