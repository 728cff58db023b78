"""Completes a record that a test gives in part.

What the test gives stays as it is. What it leaves out comes from an invented record, at
every depth: a stop without an address takes that of the invented stop of its kind, a
driver without a phone takes the invented driver's. To say that Turvo leaves something
out, a test gives ``None``, or an empty list.

A code, such as ``{"value": "Delivery"}``, is taken as it is, because Turvo leaves out
the keys of some.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from .lists import JsonObject

_OF_A_CODE = {"key", "value"}
_OTHER_ROW = 10_000
"""What is added to the id of each further row that takes the same invented one."""


def complete(given: Any, invented: Any) -> Any:
    """Return a copy of ``given``, with what it lacks taken from ``invented``."""
    if isinstance(given, Mapping) and isinstance(invented, Mapping):
        return _complete_object(given, invented)
    if isinstance(given, list) and isinstance(invented, list):
        return [
            complete(row, _model_of(row, index, invented))
            for index, row in enumerate(given)
        ]
    return copy.deepcopy(given)


def _complete_object(
    given: Mapping[str, Any], invented: Mapping[str, Any]
) -> JsonObject:
    if given and given.keys() <= _OF_A_CODE:
        return dict(given)
    completed = copy.deepcopy(dict(invented))
    for name, value in given.items():
        completed[name] = complete(value, invented.get(name))
    return completed


def _model_of(row: Any, index: int, invented: Sequence[Any]) -> Any:
    """Return the invented row that completes the ``row`` at ``index`` of a list.

    It is one of the same kind, deleted or not as the row is; else the one at this
    position.
    """
    if not isinstance(row, Mapping) or not invented:
        return None
    alike = [model for model in invented if _is_deleted(model) == _is_deleted(row)]
    alike = alike or list(invented)
    kinds = [kind_of(model) for model in alike]
    at = min(index, len(alike) - 1)
    if kind_of(row) in kinds:
        at = kinds.index(kind_of(row))
    model = dict(alike[at])
    if "id" in model:
        model["id"] += _OTHER_ROW * index
    return model


def _is_deleted(row: Mapping[str, Any]) -> bool:
    return bool(row.get("deleted"))


def kind_of(row: Any) -> str:
    """Return "pickup" or "delivery" for such a stop, and another text for others."""
    kind = row.get("stopType") if isinstance(row, Mapping) else None
    if not isinstance(kind, Mapping):
        return ""
    names = {"1500": "pickup", "1501": "delivery"}
    return names.get(str(kind.get("key")), str(kind.get("value")).lower())
