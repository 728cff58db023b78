"""The tests of secrecy make cheap proofs: what they cost is shown in the unit tests."""

from __future__ import annotations

import pytest

from turvo_session import login


@pytest.fixture(autouse=True)
def _cheap_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dict(login.SLOW_HASHES)["scrypt"], "n", 2)
