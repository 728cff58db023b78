"""A base for values: set once, and equal if their fields are."""

from __future__ import annotations

from typing import Any


class Value:
    """Base of values. ``__match_args__`` names their fields, in the order of the constructor.

    They are not tuples and not dataclasses, because error trackers open those.
    """

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, field: object) -> None:
        if hasattr(self, name) or not hasattr(type(self), name):
            del field  # tracebacks show locals
            raise AttributeError(f"{name} of a {type(self).__name__} cannot be set")
        super().__setattr__(name, field)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(tuple(self._fields().values()))

    def __repr__(self) -> str:
        fields = (f"{name}={field!r}" for name, field in self._fields().items())
        return f"{type(self).__name__}({', '.join(fields)})"

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in getattr(self, "__match_args__", ())}
