"""The promises of the protocol hold in every run of the simulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .explore import Run
from .suite import suite_parts
from .world import virtual_library

PARTS = suite_parts()


@pytest.fixture(autouse=True)
def _virtual_library() -> Iterator[None]:
    with virtual_library():
        yield


@pytest.mark.parametrize("name", PARTS)
def test_no_run_breaks_a_promise(name: str) -> None:
    complete = 0
    for run in PARTS[name]():
        assert not run.broken, explain(run)
        complete += not run.pruned
    assert complete


def explain(run: Run) -> str:
    """Return the broken promise with the trace of the run."""
    return f"{run.broken}\n{run.report()}"
