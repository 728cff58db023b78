"""The fixture of all tests of the examples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import World


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    """Run a Turvo whose clock stands still, a webhook and a Redis-protocol server."""
    with World(tmp_path, redis_url) as made:
        yield made
