"""What a whole command costs beside one that does the same without this library.

Each round runs both, the one right after the other, and the figure is the median of the
ratios of their rounds: whatever else the machine does then meets both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.support.servers import RedisServer
from turvo_session.testing import FakeTurvo

MIGRATE = Path(__file__).parents[2] / "examples" / "migrate"
BY_HAND = MIGRATE / "before.py"
WITH_THE_AUTH = MIGRATE / "after.py"

_FOUR_PACKAGES = f"""
import requests_oauthlib, tenacity
exec(compile(open({str(BY_HAND)!r}).read(), "before.py", "exec"))
"""


class Command(NamedTuple):
    """The wall time of a command in seconds, and as a multiple of ``other``'s."""

    other: str
    seconds: float
    ratio: float


def cron_run(cache: str, *, rounds: int) -> list[Command]:
    """Return what one cron run costs: one request with the token that Redis holds.

    It is compared with a script that looks after its token by hand: one that imports
    the same four packages, and one that imports ``requests`` and ``redis`` only.
    ``cache``: a folder for ``.pyc`` files.
    """
    with RedisServer() as server, FakeTurvo() as turvo:
        environ = {
            **turvo.environ,
            "REDIS_URL": server.url,
            "TURVO_TOKEN_KEY": "turvo:auth_token",
        }
        others = {
            "a script by hand that imports the same four packages": [
                "-c",
                _FOUR_PACKAGES,
            ],
            "a script by hand that imports two of them": [str(BY_HAND)],
        }
        return [
            compare([str(WITH_THE_AUTH)], other, name, environ, cache, rounds=rounds)
            for name, other in others.items()
        ]


def help_text(cache: str, *, rounds: int) -> list[Command]:
    """Return what ``turvo-session --help`` costs beside its two heaviest imports."""
    imports = "import argparse, requests"
    ours = ["-m", "turvo_session", "--help"]
    name = f"`{imports}`"
    return [compare(ours, ["-c", imports], name, {}, cache, rounds=rounds)]


def compare(
    ours: Sequence[str],
    other: Sequence[str],
    name: str,
    environ: Mapping[str, str],
    cache: str,
    *,
    rounds: int,
) -> Command:
    """Run two commands of this Python in turns, and compare their times."""
    environ = {**os.environ, **environ, "PYTHONPYCACHEPREFIX": cache}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    pairs = []
    for number in range(rounds + 1):
        in_turn = (ours, other) if number % 2 else (other, ours)
        taken = {tuple(command): _seconds(command, environ) for command in in_turn}
        pairs.append((taken[tuple(ours)], taken[tuple(other)]))
    pairs = pairs[1:]  # the first round writes the .pyc files
    return Command(
        name,
        median(mine for mine, _ in pairs),
        median(mine / its for mine, its in pairs),
    )


def _seconds(command: Sequence[str], environ: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command], env=environ, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start
