"""Names a mistake of a test at once, so that no test tests less than it says."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar, overload
from urllib.parse import quote

T = TypeVar("T")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that the server answers."""
LONGEST = 1e10
"""Seconds at most, some 300 years: dates end before infinity."""


def check_number(
    name: str, value: object, least: float, most: float, *, whole: bool = False
) -> None:
    """Raise ``ValueError`` unless ``value`` is a number in this range."""
    kinds: Any = int if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):  # type: ignore[operator]
        kind = "whole number" if whole else "number"
        limit = "or more" if most == math.inf else f"to {most:g}"
        raise ValueError(f"{name} must be a {kind}, {least:g} {limit}")


def check_seconds(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is a time that passes."""
    check_number(name, value, 0, LONGEST)


def check_status(status: object) -> None:
    """Raise ``ValueError`` unless ``status`` ends an answer (RFC 9110 section 15)."""
    check_number("status", status, 200, 599, whole=True)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of the ``choices``."""
    if value not in choices:
        shown = ", ".join(map(repr, choices[:-1]))
        raise ValueError(f"{name} must be {shown} or {choices[-1]!r}")


def path_as_sent(path: str) -> str:
    """Return a path as clients send it: ``/a b`` is sent as ``/a%20b``.

    Raises ``ValueError`` for one that has a query or a fragment, which is no part of
    what arrives as the path.
    """
    if not isinstance(path, str) or any(mark in path for mark in "?#"):
        raise ValueError("path must be a string without a query or a fragment")
    return quote(path, safe="/%!$&'()*+,;=:@~-._")


class _Checked(ABC, Generic[T]):
    """An attribute that a test may set at any time, and that is checked then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: Any, kind: type) -> Any:
        return self if owner is None else vars(owner)[self._name]

    def __set__(self, owner: Any, value: T) -> None:
        self._check(value)
        vars(owner)[self._name] = value

    @abstractmethod
    def _check(self, value: object) -> None:
        """Raise ``ValueError`` unless ``value`` is possible."""


class Seconds(_Checked[float]):
    """An attribute of seconds."""

    def _check(self, value: object) -> None:
        check_seconds(self._name, value)


class Choice(_Checked[T]):
    """An attribute that is one of some words."""

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices = choices

    def _check(self, value: object) -> None:
        check_choice(self._name, value, self._choices)
