"""The errors can be caught, told apart, and carried to another process."""

from __future__ import annotations

import inspect
import pickle
import re
from typing import Any

import pytest
import requests

import turvo_session
from turvo_session import errors
from turvo_session.errors import TokenEndpointUnavailable, TurvoResponseError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and value.__module__ == errors.__name__
]


def test_the_classes_are_the_tree_that_the_docstring_draws() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)([\w.]+)", errors.__doc__ or "", re.MULTILINE)
    parents: dict[int, str] = {}
    edges = []
    for branch, name in drawn:
        depth = len(branch) // 4
        parents[depth] = name.removeprefix("requests.")
        edges += [(name, parents[depth - 1])] if depth else []
    assert drawn[0][1] == "requests.RequestException"
    assert edges == [(cls.__name__, cls.__bases__[0].__name__) for cls in CLASSES]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_script_that_catches_the_errors_of_requests_catches_each(cls: type) -> None:
    """Only a wrong setting is a ``ValueError``, too."""
    assert issubclass(cls, requests.RequestException)
    assert issubclass(cls, ValueError) is (cls is errors.SettingsError)
    assert getattr(turvo_session, cls.__name__) is cls


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (TokenEndpointUnavailable, {"retry_after": None}),
        (TokenEndpointUnavailable, {"retry_after": 7.5}),
        (TurvoResponseError, {"code": "", "message": ""}),
        (TurvoResponseError, {"code": "4", "message": "m"}),
    ],
)
def test_an_error_carries_its_data_into_another_process(kind: Any, data: Any) -> None:
    given = {name: value for name, value in data.items() if value}
    error = kind("no", **given)
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (type(each), str(each)) == (kind, "no")
        assert vars(each).items() >= data.items()
