"""What ``import`` costs: time and memory, each in a fresh process, with ``.pyc`` files,
interleaved."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

BASE = "requests"

_IMPORT = """
import os, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, start = resident(), time.perf_counter()
import requests, {module}
print(time.perf_counter() - start, resident() - before)
"""


class Import(NamedTuple):
    """Seconds and bytes of resident memory, and both as multiples of ``import
    requests``."""

    seconds: float
    memory: float
    seconds_ratio: float
    memory_ratio: float


class Floors(NamedTuple):
    """By ``-X importtime``, the least of all rounds, in seconds.

    ``base``: all that ``import requests`` loads; ``added``: what each module costs by
    itself that ``import turvo_session`` loads beside it.
    """

    base: float
    added: dict[str, float]


def imports(modules: Iterable[str], cache: str, *, rounds: int) -> dict[str, Import]:
    """Each module on top of ``requests``, and ``requests`` alone; ``cache``: a folder
    for ``.pyc`` files."""
    names = list(dict.fromkeys((BASE, *modules)))
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds + 1):
        shuffle(names)
        for name in names:
            seconds, memory = _python(
                cache, "-c", _IMPORT.format(module=name)
            ).stdout.split()
            seen[name].append((float(seconds), float(memory)))
    found = {}
    for name, runs in seen.items():
        runs, base = runs[1:], seen[BASE][1:]  # the first round writes the .pyc files
        seconds, memory = zip(*runs, strict=True)
        found[name] = Import(
            median(seconds),
            median(memory),
            median(mine / other[0] for mine, other in zip(seconds, base, strict=True)),
            median(mine / other[1] for mine, other in zip(memory, base, strict=True)),
        )
    return found


def floors(module: str, cache: str, *, rounds: int) -> Floors:
    """Where the time of ``module`` goes, beyond ``requests``."""
    least: dict[str, dict[str, float]] = {BASE: {}, module: {}}
    for _ in range(rounds):
        for name, found in least.items():
            told = _python(cache, "-X", "importtime", "-c", f"import {name}").stderr
            for own, loaded in re.findall(
                r"import time: +(\d+) \| +\d+ \| +(\S+)", told
            ):
                found[loaded] = min(found.get(loaded, 1e9), int(own) / 1e6)
    added = {
        name: own for name, own in least[module].items() if name not in least[BASE]
    }
    return Floors(sum(least[BASE].values()), added)


def _python(cache: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environ, "PYTHONPYCACHEPREFIX": cache},
        capture_output=True,
        text=True,
        check=True,
    )
