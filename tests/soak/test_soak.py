"""A short soak; ``python -m tests.soak --minutes 2`` is the long one."""

from __future__ import annotations

from tests.soak.attack import soak


def test_a_fleet_under_fire_fails_no_call_and_logs_in_once_for_each_reason() -> None:
    """A worker killed, Redis restarted, a token revoked; none of them lives over 5
    s."""
    report = soak(5)
    assert report.answers.keys() == {200}, str(report)
    assert report.is_good, str(report)
    assert report.attacks.keys() == {"kills", "restarts", "revocations"}
    assert report.answers[200] > 100
