"""What the test suite and the mutants run: a fixed choice of runs, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from .explore import NO_FAULT, ONE_FAULT, SCENARIOS, Run, explore, run_seed
from .stories import STORIES, run_story

SEEDS = 200
WITHOUT_FAULT = tuple(one for one in SCENARIOS if one.name != "revoked-same")
WITH_FAULT = tuple(
    one for one in SCENARIOS if one.name in ("cold", "revoked", "due", "wrong")
)
"""``--exhaustive`` explores the others as well."""


def suite_parts() -> dict[str, Callable[[], Iterator[Run]]]:
    """Return the parts of the suite by name; each yields its runs."""
    parts: dict[str, Callable[[], Iterator[Run]]] = {}
    for name in STORIES:
        parts[f"{name}/story"] = partial(_tell_story, name)
    parts["random"] = _run_seeds
    for bound, scenarios in ((NO_FAULT, WITHOUT_FAULT), (ONE_FAULT, WITH_FAULT)):
        for scenario in scenarios:
            parts[f"{scenario.name}/{bound.name}"] = partial(explore, scenario, bound)
    return parts


def _tell_story(name: str) -> Iterator[Run]:
    yield run_story(name, seed=0)


def _run_seeds() -> Iterator[Run]:
    for seed in range(SEEDS):
        yield run_seed(seed)
