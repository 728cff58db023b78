"""The benchmarks run, and count what they should; no timing is asserted.

They take in every peer that is installed here; the extra ``bench`` installs all of
them.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks import everything, report
from tests.benchmarks.peers import (
    HERD,
    PEERS,
    Google,
    Oauthlib,
    Ours,
    Peer,
    RedisGet,
    missing,
)

TITLES = [title for title, peer in PEERS.items() if not missing([peer])]
ROOT = Path(report.__file__).parents[2]
CASES = ((1, 4), (2, 2))
TINY = everything.Sizes(
    attach=(1, 5),
    whole=(1, 2),
    imports=1,
    floors=1,
    commands=1,
    polls=(4, 0.0),
    fleets=((4, 1),),
    reads=5,
    cases=CASES,
    herds=1,
    memory=(5, 1, 1),
)


@pytest.fixture(scope="module")
def results() -> Iterator[report.Results]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("OAUTHLIB_INSECURE_TRANSPORT", "AUTHLIB_INSECURE_TRANSPORT"):
            environment.setenv(name, "1")  # the peers need it
        yield everything.measure(TITLES, TINY, lambda what: None)


def test_every_peer_is_in_every_part(results: report.Results) -> None:
    assert list(results.attach) == list(results.whole) == TITLES
    imported = {PEERS[title].imports for title in TITLES}
    assert set(results.imports) == imported | {"requests"}
    assert set(results.herds) == set(TITLES) & set(HERD)
    assert [len(compared) for compared in results.commands.values()] == [2, 1]
    assert [row.workers for row in results.polls] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("case", CASES)
def test_we_log_in_once_on_each_occasion(
    results: report.Results, case: tuple[int, int]
) -> None:
    """With a few Redis commands a process at the start and at each renewal."""
    cold, revoked = results.herds[Ours.title][case]
    assert (cold.logins, cold.failed, revoked.logins, revoked.failed) == (1, 0, 1, 0)
    (fleet,) = results.growth
    assert (fleet.processes, fleet.cold_logins, fleet.logins) == (4, 1, 1)
    # On a busy machine the short lives of this test are over before all have looked.
    assert (fleet.cold <= 5, fleet.per_life <= 10, fleet.handshake) == (True, True, 2)
    assert (results.cron.commands <= 3, results.cron.logins) == (True, 0)


def test_what_the_peers_do_after_a_revocation(results: report.Results) -> None:
    """google-auth logs in again; the others let the 401s out."""
    for title in set(TITLES) & set(HERD) - {Ours.title}:
        cold, revoked = results.herds[title][1, 4]
        heals = PEERS[title] is Google
        assert 1 <= cold.logins <= 4 and cold.failed == 0
        assert (revoked.logins > 0, revoked.failed) == (heals, 0 if heals else 4)


def test_report_plot_and_table_are_published_without_a_path_of_the_host(
    results: report.Results, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    begin, end = "<!-- benchmarks -->", "<!-- /benchmarks -->"
    readme.write_text(f"before\n{begin}\nthe last table\n{end}\nafter\n")
    everything.publish(results, tmp_path, readme)
    names = ("RESULTS.md", "plot.svg", "polls.svg")
    *texts, polls = [(tmp_path / name).read_text() for name in names]
    for text in (*texts, readme.read_text()):
        assert all(title in text for title in TITLES)
        for place in (platform.node(), str(Path.home()), str(ROOT)):
            assert place not in text
    assert re.fullmatch(rf"before\n{begin}\n\n\|.*{end}\nafter\n", text, re.DOTALL)
    assert "the last table" not in text
    for drawing in (texts[1], polls):
        assert ElementTree.fromstring(drawing).get("viewBox")
        assert "prefers-color-scheme: dark" in drawing


def test_a_missing_peer_is_named_once_as_pip_knows_it() -> None:
    class Gone(Peer):
        distribution, imports = "no-such-thing", "no_such_thing.at.all"

    assert missing([Gone, Gone, Oauthlib, RedisGet, Ours]) == ["no-such-thing"]
