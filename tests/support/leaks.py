"""Finds secrets in whatever a program lets out: whole or in part, in the clear, escaped
or encoded.

``Secrets`` invents them and finds them again, ``Evidence`` collects what was let out:
log records, exceptions with the variables of our frames, the ``repr`` of every object
of ours, pickles, copies.
"""

from __future__ import annotations

import copy
import logging
import pickle
import re
import secrets
import string
import traceback
from base64 import b64encode, urlsafe_b64encode
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import (
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Self

import turvo_session
from turvo_session.store import Change, Slot, Snapshot

PACKAGE = Path(turvo_session.__file__).parent


def invent(*joints: str) -> str:
    """A random text: pieces of twelve letters and digits, with the ``joints`` between
    them."""
    characters = string.ascii_letters + string.digits
    pieces = [
        "".join(secrets.choice(characters) for _ in range(12))
        for _ in range(len(joints) + 1)
    ]
    return pieces[0] + "".join(
        joint + piece for joint, piece in zip(joints, pieces[1:], strict=True)
    )


class Secrets:
    """Secrets by name, and any twelve letters or digits of them, found again in any
    text.

    A piece is looked for as it is, in base64 and in hex. To percent-encode, or to
    escape for JSON, HTML or ``repr``, leaves letters and digits alone: what has been so
    escaped is found by its pieces.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # the form of a piece, and whose it is

    def add(self, name: str, value: str) -> str:
        """Look for ``value`` from now on, and return it."""
        for piece in re.findall(r"[A-Za-z0-9]{12}", value):
            raw = piece.encode()
            for before, start, end in ((0, 0, 16), (1, 2, 17), (2, 3, 18)):
                # A base64 digit is 6 bits: which digits are ours alone depends on what
                # is before.
                for encode in (b64encode, urlsafe_b64encode):
                    self._names[encode(bytes(before) + raw).decode()[start:end]] = name
            self._names[piece] = self._names[raw.hex()] = name
        return value

    def found(self, text: str | bytes) -> dict[str, str]:
        """The secrets in ``text``, each with what is around it."""
        if isinstance(text, bytes):
            text = text.decode("latin1")
        found = {}
        for form, name in self._names.items():
            if (at := text.find(form)) >= 0:
                found[name] = text[max(0, at - 60) : at + 40]
        return found


class Evidence:
    """What a run has let out: texts, each with the place where it was seen."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str | bytes]] = []
        self._errors: dict[
            int, BaseException
        ] = {}  # holds them, else an id could come twice

    def say(self, where: str, *things: object) -> None:
        """Take down some things: texts and bytes as they are, of others ``str`` and
        ``repr``."""
        for thing in things:
            if isinstance(thing, str | bytes):
                self.texts.append((where, thing))
            else:
                self.texts += [(where, str(thing)), (where, repr(thing))]

    def error(self, error: BaseException, *, objects: bool = True) -> None:
        """Take down an exception, all that hangs on it, and where it has been in our
        code.

        ``objects``: also the objects that were at hand there.
        """
        if id(error) in self._errors:
            return
        self._errors[id(error)] = error
        name = f"a {type(error).__name__}"
        self.say(name, error, error.args, vars(error))
        self.locals(name, error.__traceback__, objects=objects)
        for other in (error.__cause__, error.__context__, *error.args):
            if isinstance(other, BaseException):
                self.error(other, objects=objects)

    def locals(self, where: str, trace: TracebackType | None, *, objects: bool) -> None:
        """Take down a traceback, rendered with the variables of the frames that are
        ours."""
        ours = [
            (frame, line)
            for frame, line in traceback.walk_tb(trace)
            if Path(frame.f_code.co_filename).parent == PACKAGE
        ]
        summary = traceback.StackSummary.extract(iter(ours), capture_locals=True)
        self.say(f"the traceback of {where}", *summary.format())
        for frame, _ in ours:
            variables = list(frame.f_locals.values())
            if objects:
                self.objects(*variables)
            for value in variables:
                if hasattr(
                    value, "connection_pool"
                ):  # the repr of redis 6 and 7 shows the password
                    self.say(
                        f"{frame.f_code.co_name}() of {where}",
                        value.connection_pool.connection_kwargs,
                    )

    def objects(self, *roots: object) -> int:
        """Take down every object of ours that can be reached from ``roots``, its pickle
        and its copies."""
        count = 0
        for thing in reachable(roots):
            if _is_ours(thing):
                count += 1
                kind = type(thing).__name__
                self.say(kind, thing)
                for change in (copy.copy, copy.deepcopy, _pickled):
                    try:
                        self.say(f"{change.__name__} of {kind}", change(thing))
                    except Exception as error:  # noqa: BLE001 - most refuse
                        self.error(error, objects=False)
        return count

    def leaks(self, known: Secrets) -> list[str]:
        """The secrets that are in it."""
        if not known.found("\n".join(str(text) for _, text in self.texts)):
            return []
        return [
            f"{name} in {where}: ...{around}..."
            for where, text in self.texts
            for name, around in known.found(text).items()
        ]


class Tape(logging.Handler):
    """Takes down every log record: as a line, with its arguments, with everything that
    is in it."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.NOTSET)
        self.evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        self.evidence.say(
            f"a log record of {record.name}", vars(record), self.format(record)
        )
        if record.exc_info and record.exc_info[1]:
            self.evidence.error(record.exc_info[1])
        for value in (record.msg, record.args):
            self.evidence.objects(value)
            if isinstance(value, BaseException):
                self.evidence.error(value)

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)


def reachable(roots: Collection[object]) -> Iterator[object]:
    """The objects that can be reached from ``roots`` through containers, closures and
    objects of ours."""
    seen: dict[int, object] = {}  # holds them, else an id could come twice
    todo: list[Any] = list(roots)
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(
            thing, str | bytes | int | float | type | ModuleType | CodeType
        ):
            continue
        seen[id(thing)] = thing
        yield thing
        match thing:
            case Mapping():
                todo += [*thing.keys(), *thing.values()]
            case list() | tuple() | set() | frozenset():
                todo += thing
            case MethodType():
                todo += [thing.__self__]
            case partial():
                todo += [thing.func, *thing.args, *thing.keywords.values()]
            case FunctionType():
                todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        if _is_ours(thing):
            todo += [
                getattr(thing, name)
                for name in {*getattr(thing, "__dict__", ()), *_slots(type(thing))}
                if hasattr(thing, name)
            ]


def opened(roots: Collection[object]) -> Iterator[str | bytes]:
    """The texts that an error tracker finds which opens all structures: what they hold,
    and their ``repr``.

    It opens containers and the attributes of every object, but no function: nobody
    looks into closures.
    """
    seen: dict[int, object] = {}  # holds them, else an id could come twice
    todo: list[Any] = list(roots)
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(
            thing, int | float | type | ModuleType | CodeType | FunctionType
        ):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, str | bytes):
            yield thing
            continue
        with suppress(Exception):  # of half an object
            yield repr(thing)
        if isinstance(thing, BaseException):
            todo += [*thing.args, str(thing), thing.__cause__, thing.__context__]
        if isinstance(thing, bytearray):
            yield bytes(thing)
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            todo += thing
        elif isinstance(thing, Mapping):
            with suppress(Exception):  # urllib3 has one that refuses
                todo += [*thing.keys(), *thing.values()]
        todo += getattr(thing, "__dict__", {}).values()
        todo += [getattr(thing, name, None) for name in _slots(type(thing))]


def frames_of_ours(error: BaseException) -> Iterator[FrameType]:
    """The frames of the package that an exception, its causes and its contexts have
    passed."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        todo += [one.__cause__, one.__context__]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename).parent == PACKAGE:
                yield frame


def _is_ours(thing: object) -> bool:
    module = type(thing).__module__
    return module.startswith("turvo_session") and ".testing" not in module


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _pickled(thing: object) -> bytes:
    # Slots are what a store is given to keep, and somebody's store may send them
    # elsewhere.
    return b"" if isinstance(thing, Slot | Snapshot | Change) else pickle.dumps(thing)
