"""One base for everything that holds a secret.

Error trackers, debuggers and ``json`` walk into whatever they can open: tuples, lists,
dicts, dataclasses, ``__dict__`` and ``__slots__``. A ``Secret`` keeps its value in a
closure, which none of them opens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, Self, TypeVar

T = TypeVar("T")


class Hidden:
    """Base of the objects that hold a secret: shows nothing and does not pickle.

    A copy of such an object is the object itself, so that no copy is left behind.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a secret and cannot be pickled")


class Secret(Hidden, Generic[T]):
    """One secret value. ``reveal()`` returns it, and nothing else shows it.

    Two secrets are equal if their values are.
    """

    __slots__ = ("reveal",)

    reveal: Callable[[], T]

    def __init__(self, value: T) -> None:
        self.reveal = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return bool(self.reveal() == other.reveal())

    def __hash__(self) -> int:
        return hash(self.reveal())
