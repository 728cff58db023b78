"""An exception at any line, as a signal handler or a time limit may raise it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

from turvo_session import source

PACKAGE = Path(source.__file__).parent


class RaisingAtLine:
    """Raises an ``error`` before the ``number``-th line that the package runs.

    Lines of the modules ``without`` are not counted. ``place`` tells where it was;
    it is empty if the block ran fewer lines.
    """

    def __init__(
        self, number: int, error: type[BaseException], *, without: tuple[str, ...] = ()
    ) -> None:
        self.place = ""
        self._left = number
        self._error = error
        files = [one for one in PACKAGE.glob("*.py") if one.stem not in without]
        self._files = set(map(str, files))
        self._before: Callable[..., Any] | None = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace_call(self, frame: FrameType, event: str, _: object) -> Any:
        counted = frame.f_code.co_filename in self._files
        return self._trace_line if counted else None

    def _trace_line(self, frame: FrameType, event: str, _: object) -> Any:
        self._left -= event == "line"
        if self._left or event != "line":
            return self._trace_line
        self.place = f"{Path(frame.f_code.co_filename).stem}, line {frame.f_lineno}"
        raise self._error  # not kept here: it would keep all frames alive
