"""The benchmarks run, and count what they should: tiny numbers, and no timing is asserted.

They take in every peer that is installed here; the extra ``bench`` installs all of them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import everything, report
from benchmarks.peers import HERD, PEERS, Google, Oauthlib, Ours, Peer, RedisGet, missing

TITLES = [title for title, peer in PEERS.items() if not missing([peer])]
CASES = ((1, 4), (2, 2))
TINY = everything.Sizes(
    attach=(1, 5),
    whole=(1, 2),
    imports=1,
    floors=1,
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
            environment.setenv(name, "1")  # the peers need it, and nobody after them
        yield everything.measure(TITLES, TINY, lambda what: None)


def test_every_peer_is_in_every_part(results: report.Results) -> None:
    """Whoever is installed is measured in all parts; those without a login of their own meet no herd."""
    assert list(results.attach) == list(results.whole) == TITLES
    assert set(results.imports) == {PEERS[title].imports for title in TITLES} | {"requests"}
    assert set(results.herds) == set(TITLES) & set(HERD)


@pytest.mark.parametrize("case", CASES)
def test_our_herd_logs_in_once(results: report.Results, case: tuple[int, int]) -> None:
    """One login at a cold start, one after a revocation, and no call fails, however many want a token."""
    cold, revoked = results.herds[Ours.title][case]

    assert (cold.logins, cold.failed) == (1, 0)
    assert (revoked.logins, revoked.failed) == (1, 0)


@pytest.mark.parametrize("peer", [PEERS[title] for title in TITLES if title in HERD and title != Ours.title])
def test_what_the_peers_do(results: report.Results, peer: type[Peer]) -> None:
    """Nobody's cold start fails. A revoked token: google-auth logs in again, the others hand the 401s out."""
    cold, revoked = results.herds[peer.title][1, 4]

    assert 1 <= cold.logins <= 4
    assert cold.failed == 0
    assert (revoked.logins > 0, revoked.failed) == ((True, 0) if peer is Google else (False, 4))


def test_our_fleet_logs_in_once_a_life(results: report.Results) -> None:
    """One login at the start and one a token life, for a few Redis commands a process."""
    (fleet,) = results.growth

    assert (fleet.processes, fleet.cold_logins, fleet.logins) == (4, 1, 1)
    assert 1 <= fleet.cold <= 5
    assert 1 <= fleet.per_life <= 5
    assert fleet.handshake == 2


def test_a_cron_run(results: report.Results) -> None:
    """A run that finds the token in Redis sends it no more than three commands, and logs nobody in."""
    assert 1 <= results.cron.commands <= 3
    assert results.cron.logins == 0


def test_what_an_import_adds(results: report.Results) -> None:
    """The floors tell our modules, and show none of the packages that come with the first login."""
    added = {name.partition(".")[0] for name in results.floors.added}

    assert "turvo_session" in added
    assert not added & {"redis", "tenacity", "requests_oauthlib", "oauthlib"}


def test_publishing(results: report.Results, tmp_path: Path) -> None:
    """The report, the plot and the README's table are written; none tells the host's name or a path."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\nthe last table\n<!-- /benchmarks -->\nafter\n")

    everything.publish(results, tmp_path, readme)

    texts = [(tmp_path / name).read_text() for name in ("RESULTS.md", "plot.svg", "README.md")]
    for text in texts:
        assert all(title in text for title in TITLES)
        assert platform.node() not in text
        assert str(Path(report.__file__).parents[2]) not in text
        assert str(Path.home()) not in text
    assert texts[2].startswith("before\n<!-- benchmarks -->\n\n|")
    assert texts[2].endswith("<!-- /benchmarks -->\nafter\n")
    assert "the last table" not in texts[2]
    assert ElementTree.fromstring(texts[1]).get("viewBox")
    assert "prefers-color-scheme: dark" in texts[1]


def test_a_missing_peer_is_named() -> None:
    """Who is not installed is named by what pip calls it, once; who is, is not."""

    class Gone(Peer):
        distribution, imports = "no-such-thing", "no_such_thing.at.all"

    assert missing([Gone, Gone, Oauthlib, RedisGet, Ours]) == ["no-such-thing"]
