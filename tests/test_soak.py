"""A short soak; ``python tests/soak.py --minutes 2`` is the long one."""

from __future__ import annotations

from soak import soak


def test_a_fleet_under_fire_fails_no_call_and_logs_in_once_for_each_reason() -> None:
    """Workers killed, Redis restarted, tokens revoked, for some 12 seconds in which no token lives over 5."""
    report = soak(11)
    assert report.answers.keys() == {200}, str(report)
    assert report.good, str(report)
    assert report.events.keys() == {"kills", "restarts", "revocations"}
    assert report.answers[200] > 500
