"""Fixtures: a local Turvo with a session, and a server of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.requests_sent import World
from tests.support.wire import TOKEN, Site


@pytest.fixture
def world() -> Iterator[World]:
    """Run a local Turvo with a session."""
    with World() as world:
        yield world


@pytest.fixture
def site() -> Iterator[Site]:
    """Run a server of the test's own, which at first answers with a token."""
    with Site(lambda _: TOKEN, host="127.0.0.1") as site:
        yield site
