"""What most scripts here share: calls to a local Turvo that revokes its token."""

from __future__ import annotations

from typing import Any

from turvo_session.testing import FakeTurvo

__all__ = ["call_across_revocation", "report"]


def call_across_revocation(turvo: FakeTurvo, session: Any) -> list[int]:
    """Return the statuses of a GET before and of one after a revocation."""
    url = f"{turvo.base_url}/shipments/list"
    before = session.get(url, timeout=20)
    turvo.revoke()
    return [before.status_code, session.get(url, timeout=20).status_code]


def report(good: bool, text: str) -> int:
    """Print what a script has seen, and return its exit code."""
    print(text)
    return 0 if good else 1
