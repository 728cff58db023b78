"""The figures as Markdown, and as a plot: SVG by hand, readable on a light page and on
a dark one."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tests.benchmarks import polls
from tests.benchmarks.commands import Command
from tests.benchmarks.growth import CronRun, Growth
from tests.benchmarks.herd import Outcome, Served
from tests.benchmarks.imports import Floors, Import
from tests.benchmarks.memory import Leftover
from tests.benchmarks.peers import PEERS, Basic, ByHand, Ours, Peer
from tests.benchmarks.speed import Cost

FEW = 50_000
"""Bytes, among them the refused tokens that are remembered. An object a request would
be ten times that."""
LIBRARIES = ("requests", "urllib3", "redis", "tenacity", "oauthlib")


class Results(NamedTuple):
    """All that was measured."""

    attach: dict[str, Cost]
    whole: dict[str, Cost]
    imports: dict[str, Import]
    floors: Floors
    herds: dict[str, dict[tuple[int, int], Outcome]]
    growth: Sequence[Growth]
    cron: CronRun
    leftover: Leftover
    read_seconds: float
    commands: Mapping[str, Sequence[Command]]
    polls: Sequence[polls.Poll]


def machine() -> str:
    """Processor, cores and Python; nothing that names this machine."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def versions(titles: Iterable[str]) -> str:
    """The versions of all that took part."""
    names = sorted(
        {*LIBRARIES, *(PEERS[title].distribution for title in titles)}, key=str.lower
    )
    return ", ".join(f"{name} {version(name)}" for name in names)


def markdown(results: Results) -> str:
    """The whole report."""
    titles = list(results.attach)
    return f"""# Results

Written by `python -m tests.benchmarks`; what is measured, and how, is in [README.md](README.md).

{table(results)}

![The table as bars](plot.svg)

## What was promised

{_promises(results)}

## Cold start

Threads that all need a token at the same moment: logins / failed calls / seconds until the last is served.
A login takes 0.2 s.

{_herd(results, "cold")}

## A token revoked under load

The same threads again, after the API has revoked what it had given out: logins / failed calls / seconds.

{_herd(results, "revoked")}

## Growth

Processes that share a token through Redis, each with a connection of its own, from a cold start through a
renewal.

{_growth(results)}

To read the token costs Redis {results.read_seconds * 1e6:.0f} µs of its own time.

## Whole commands

Wall time, beside another command that runs in turns with it.

{_commands(results)}

## The poller's threads

A poll of the example with new shipments only, whose details Turvo takes a while to give.

{polls.markdown(results.polls)}

![The seconds of a poll](polls.svg)

## Floors of the import

By `-X importtime`, the least of several runs: `import requests` {results.floors.base * 1e3:.0f} ms. What
`import turvo_session` adds, by module, each without what it imports:

{_floors(results.floors)}

Versions: {versions(titles)}.
"""


def table(results: Results) -> str:
    """The one table, for the README too."""
    rows = []
    for title, attach in results.attach.items():
        peer, herd = PEERS[title], results.herds.get(title, {})
        imported = results.imports[peer.imports]
        cells = [
            f"**{title}**" if peer is Ours else title,
            version(peer.distribution),
            _number(attach.ratio, 1),
            f"{1 / results.whole[title].ratio:.2f}",
            f"{imported.seconds_ratio:.2f} / {imported.memory_ratio:.2f}",
            *(
                _short(herd[case].cold) if case in herd else ""
                for case in ((1, 64), (4, 8))
            ),
            _short(herd[1, 32].revoked, failed=True) if (1, 32) in herd else "",
        ]
        rows.append(cells)
    head = [
        "",
        "version",
        "attach, x two plain headers",
        "requests a second, x by hand",
        "import, x `requests`: time / memory",
        "cold start of 64 threads: logins / s",
        "of 4 processes x 8 threads",
        "token revoked under 32 threads: logins / failed calls / s",
    ]
    return f"{_markdown_table(head, rows)}\n\n{machine()}. Medians of interleaved runs."


def _promises(results: Results) -> str:
    ours, whole = results.attach[Ours.title].ratio, 1 / results.whole[Ours.title].ratio
    basic = results.attach[Ours.title].seconds / results.attach[Basic.title].seconds
    imported, cron, left = results.imports[Ours.imports], results.cron, results.leftover
    (cron_time, _), (help_time,) = results.commands.values()
    outcomes = results.herds[Ours.title].values()
    most = max(max(outcome.cold.logins, outcome.revoked.logins) for outcome in outcomes)
    failed = max(
        max(outcome.cold.failed, outcome.revoked.failed) for outcome in outcomes
    )
    rows = [
        ("attach, x two plain headers", "at most 2.2", f"{ours:.2f}", ours <= 2.2),
        ("attach, x `HTTPBasicAuth`", "under 0.75", f"{basic:.2f}", basic < 0.75),
        (
            "whole request, rate x by hand",
            "at least 0.98",
            f"{whole:.2f}",
            whole >= 0.98,
        ),
        *(
            (
                f"import, {name} x `requests`",
                "at most 1.25",
                f"{ratio:.2f}",
                ratio <= 1.25,
            )
            for name, ratio in (
                ("time", imported.seconds_ratio),
                ("memory", imported.memory_ratio),
            )
        ),
        ("cold start and revocation, logins of any herd", "1", f"{most:g}", most == 1),
        ("cold start and revocation, failed calls", "0", f"{failed:g}", failed == 0),
        (
            "a cron run, Redis commands before the first request",
            "at most 3",
            cron.commands,
            cron.commands <= 3,
        ),
        ("a cron run, logins", "0", cron.logins, cron.logins == 0),
        (
            f"a cron run, time x {cron_time.other}",
            "at most 1.08",
            f"{cron_time.ratio:.2f}",
            cron_time.ratio <= 1.08,
        ),
        (
            f"`turvo-session --help`, time x {help_time.other}",
            "at most 1.6",
            f"{help_time.ratio:.2f}",
            help_time.ratio <= 1.6,
        ),
        (
            "10,000 requests, 1,000 logins, 1,000 healed 401s: bytes left over",
            "few",
            left.bytes,
            left.bytes < FEW,
        ),
        (
            "threads and open files left over",
            "0",
            left.threads + left.files,
            left.threads == left.files == 0,
        ),
    ]
    return _markdown_table(
        ["", "aim", "measured", ""],
        [
            [what, aim, str(found), "met" if met else "**missed**"]
            for what, aim, found, met in rows
        ],
    )


def _herd(results: Results, phase: str) -> str:
    cases = list(next(iter(results.herds.values())))
    head = [
        "",
        *(
            f"{threads} thread{'s' * (threads != 1)}"
            if one == 1
            else f"{one} x {threads}"
            for one, threads in cases
        ),
    ]
    rows = [
        [title, *(_short(getattr(herd[case], phase), failed=True) for case in cases)]
        for title, herd in results.herds.items()
    ]
    return _markdown_table(head, rows)


def _growth(results: Results) -> str:
    head = [
        "processes",
        "cold start: logins",
        "Redis commands a process",
        "a token life: logins",
        "Redis commands a process",
        "commands of its handshake",
    ]
    return _markdown_table(
        head,
        [
            [
                str(each.processes),
                str(each.cold_logins),
                f"{each.cold:.1f}",
                f"{each.logins:g}",
                f"{each.per_life:.1f}",
                f"{each.handshake:g}",
            ]
            for each in results.growth
        ],
    )


def _commands(results: Results) -> str:
    rows = [
        [title, f"{one.seconds:.2f}", one.other, f"{one.ratio:.2f}"]
        for title, compared in results.commands.items()
        for one in compared
    ]
    return _markdown_table(["command", "seconds", "beside", "times as long"], rows)


def _floors(floors: Floors) -> str:
    added = sorted(floors.added.items(), key=lambda each: -each[1])
    rows = [
        [f"`{name}`", f"{own * 1e3:.1f}", f"{own / floors.base:.3f}"]
        for name, own in added
        if own >= 2e-4
    ]
    whole = sum(floors.added.values())
    rows.append(["all of them", f"{whole * 1e3:.1f}", f"{whole / floors.base:.3f}"])
    return _markdown_table(["module", "ms", "x `import requests`"], rows)


def _short(served: Served, *, failed: bool = False) -> str:
    middle = f" / {served.failed:g}" if failed else ""
    return f"{served.logins:g}{middle} / {served.seconds:.2f}"


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# The plot

_STYLE = """
  .page { fill: #ffffff; stroke: #d1d9e0 } text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .bold { font-weight: 600 } .soft { fill: #59636e } .line { stroke: #d1d9e0 }
  .bar { fill: #afb8c1 } .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .soft { fill: #9198a1 }
    .bar { fill: #57606a } .ours { fill: #4493f8 } .line { stroke: #3d444d }
  }"""
_WIDTH, _ROW, _LEFT, _COLUMN, _FLEET = 940, 24, 170, 150, 188


class _Column(NamedTuple):
    head: tuple[str, str]
    values: Mapping[str, float]
    digits: int = 0
    logarithmic: bool = False

    def length(self, value: float) -> float:
        """From 0 to 1."""
        scale = math.log1p if self.logarithmic else float
        return scale(value) / scale(max(1.0, *self.values.values()))


def plot(results: Results) -> str:
    """Bars of every peer side by side, and the fleet's below."""

    def herds(phase: str, field: str, case: tuple[int, int]) -> dict[str, float]:
        return {
            title: getattr(getattr(herd[case], phase), field)
            for title, herd in results.herds.items()
            if case in herd
        }

    titles = list(results.attach)
    columns = [
        _Column(
            ("attach a token,", "x two headers (log)"),
            {t: results.attach[t].ratio for t in titles},
            1,
            True,
        ),
        _Column(
            ("import,", "x requests"),
            {
                t: results.imports[PEERS[t].imports].seconds_ratio
                for t in titles
                if _own(PEERS[t])
            },
            2,
        ),
        _Column(("64 threads start:", "logins"), herds("cold", "logins", (1, 64))),
        _Column(
            ("4 x 8 start (processes", "x threads): logins"),
            herds("cold", "logins", (4, 8)),
        ),
        _Column(
            ("32 threads, token", "revoked: failed calls"),
            herds("revoked", "failed", (1, 32)),
        ),
    ]
    top = 58
    parts = []
    for index, column in enumerate(columns):
        x = _LEFT + index * _COLUMN
        parts += [
            _text(x, 24 + 15 * line, words, "soft")
            for line, words in enumerate(column.head)
        ]
        for row, title in enumerate(titles):
            y = top + row * _ROW
            if title in column.values:
                value = column.values[title]
                width = max(1.0, 100 * column.length(value))
                kind = "ours" if title == Ours.title else "bar"
                parts.append(
                    f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.0f}" height="14" rx="2"/>'
                )
                parts.append(
                    _text(
                        x + width + 5,
                        y + 12,
                        _number(value, column.digits),
                        _weight(title),
                    )
                )
    parts += [
        _text(16, top + row * _ROW + 12, title, _weight(title))
        for row, title in enumerate(titles)
    ]
    y = top + len(titles) * _ROW + 10
    parts.append(f'<line class="line" x1="16" y1="{y}" x2="{_WIDTH - 16}" y2="{y}"/>')
    parts.append(_text(16, y + 22, "Fleets, a token life:", "bold"))
    parts += [
        _text(16, y + 22 + 17 * line, words, "soft")
        for line, words in enumerate(("Redis commands of", "a process; logins"), 1)
    ]
    most = max(each.per_life for each in results.growth)
    for index, each in enumerate(results.growth):
        x, height = _LEFT + index * _FLEET, 40 * each.per_life / most
        words = f"{each.per_life:.1f} commands, {each.logins:g} login{'s' * (each.logins != 1)}"
        parts.append(
            f'<rect class="ours" x="{x}" y="{y + 56 - height:.0f}" width="14" height="{height:.0f}" rx="2"/>'
        )
        parts.append(
            _text(
                x + 20,
                y + 39,
                f"{each.processes} process{'es' * (each.processes != 1)}",
            )
        )
        parts.append(_text(x + 20, y + 56, words, "soft"))
    bottom = y + 72
    parts.append(
        _text(16, bottom + 12, f"{machine()}. A login takes 0.2 s. Medians.", "soft")
    )
    body = "\n  ".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 26}" role="img">
  <title>turvo_session beside its peers</title>
  <style>{_STYLE}
  </style>
  <rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{bottom + 25}" rx="8"/>
  {body}
</svg>
"""


def _own(peer: type[Peer]) -> bool:
    """Whether it imports anything but ``requests``."""
    return peer.imports != ByHand.imports


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits if value < 20 else 0}f}"


def _weight(title: str) -> str:
    return "bold" if title == Ours.title else ""


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'
