"""All the measurements, one after the other, and where their figures go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks import (
    commands,
    growth,
    herd,
    imports,
    memory,
    polls,
    report,
    speed,
)
from tests.benchmarks.peers import HERD, PEERS, Ours, Site
from tests.benchmarks.server import Api
from tests.support.servers import RedisServer

_MARKED = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)


class Sizes(NamedTuple):
    """How much of everything: by default what the published figures come from."""

    attach: tuple[int, int] = (200, 300)
    """Rounds, and how often in each."""
    whole: tuple[int, int] = (60, 30)
    imports: int = 15
    floors: int = 8
    commands: int = 30
    polls: tuple[int, float] = (150, 0.1)
    """New shipments, and seconds that Turvo takes for the details of one."""
    fleets: tuple[tuple[int, int], ...] = ((1, 1), (10, 1), (100, 1), (300, 1))
    """Processes, and token lives to watch."""
    fleet_seconds: float = 3.0
    reads: int = 500
    cases: tuple[tuple[int, int], ...] = herd.CASES
    herds: int = 3
    login_seconds: float = 0.2
    memory: tuple[int, int, int] = (10_000, 1_000, 1_000)
    """Requests, renewals, healed 401s."""


def measure(
    titles: Iterable[str], sizes: Sizes, say: Callable[[str], object]
) -> report.Results:
    """Everything, with the peers of these ``titles``."""
    peers = list(titles)
    with RedisServer() as server, Api() as api:
        site = Site(api.base_url, server.url)
        say("attach a token")
        attach = speed.attach(
            site, peers, rounds=sizes.attach[0], times=sizes.attach[1]
        )
        say("whole requests")
        whole = speed.whole(site, peers, rounds=sizes.whole[0], times=sizes.whole[1])
        say("imports")
        with TemporaryDirectory() as cache:
            imported = imports.imports(
                (PEERS[peer].imports for peer in peers), cache, rounds=sizes.imports
            )
            floors = imports.floors(Ours.imports, cache, rounds=sizes.floors)
            say("whole commands")
            whole_commands = {
                "a cron run": commands.cron_run(cache, rounds=sizes.commands),
                "`turvo-session --help`": commands.help_text(
                    cache, rounds=sizes.commands
                ),
            }
        say("a cron run")
        cron = growth.cron_run(api, site)
        say("growing fleets")
        fleets = [
            growth.growth(
                api, site, processes, seconds=sizes.fleet_seconds, lives=lives
            )
            for processes, lives in sizes.fleets
        ]
        reading = growth.read_seconds(site, reads=sizes.reads)
        say("memory")
        left = memory.leftover(site, *sizes.memory)
        say("herds")
        herds = herd.herds(
            api,
            site,
            [peer for peer in peers if peer in HERD],
            cases=sizes.cases,
            rounds=sizes.herds,
            login_seconds=sizes.login_seconds,
        )
        say("polls")
        shipments, seconds = sizes.polls
        polled = polls.polls(server.url, shipments=shipments, detail_seconds=seconds)
    return report.Results(
        attach,
        whole,
        imported,
        floors,
        herds,
        fleets,
        cron,
        left,
        reading,
        whole_commands,
        polled,
    )


def publish(results: report.Results, folder: Path, readme: Path) -> str:
    """Write RESULTS.md and both plots, and the table between the marks in the README,
    if it has such."""
    text = report.markdown(results)
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")
    (folder / "plot.svg").write_text(report.plot(results), encoding="utf-8")
    (folder / "polls.svg").write_text(polls.plot(results.polls), encoding="utf-8")
    before = readme.read_text(encoding="utf-8")
    table = f"\n{report.table(results)}\n\n"
    readme.write_text(
        _MARKED.sub(lambda marks: marks[1] + table + marks[2], before), encoding="utf-8"
    )
    return text
