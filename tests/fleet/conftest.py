"""The fixture of the fleet: a local Turvo and a Redis, for workers that share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import FleetTurvo, Site


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    """Run a local Turvo whose token is shared in an empty Redis."""
    with FleetTurvo() as turvo, Site(turvo, redis_url) as site:
        yield site
