"""The promises of the protocol hold in every run of the simulation."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from .suite import suite_parts
from .world import virtual_library

PARTS = suite_parts()


@pytest.fixture(autouse=True)
def _virtual_library() -> Iterator[None]:
    """Run in virtual time, and without a measurement of coverage.

    Coverage would take longer than the runs, and what is covered by chance is not
    tested.
    """
    trace = sys.gettrace()
    sys.settrace(None)
    with virtual_library():
        yield
    sys.settrace(trace)


@pytest.mark.parametrize("name", PARTS)
def test_no_run_breaks_a_promise(name: str) -> None:
    complete = 0
    for run in PARTS[name]():
        assert not run.broken, f"{run.broken}\n{run.report()}"
        complete += not run.pruned
    assert complete
