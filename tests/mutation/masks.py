"""A mutation round over the masks: does a test of secrecy need each of them?

Run ``python -m tests.mutation.masks``. A *mask* is what keeps a secret, or the raw
text of a server, out of frames, pickles, traces and messages: each ``del`` of a
variable, each ``Secret(...)``, each base class ``Hidden``, each buffer for Redis, each
``__reduce__``, and so on (``_masks_at`` has them all). They are found in the source,
taken out one at a time in a copy of the project, and ``tests/secrecy`` is run. A mask
that no test misses *survives*, and the exit code is 1. Then the tests want another
mistake (``tests/support/mistakes.py``), or the mask wants to go.

``ELSEWHERE`` names the mask that another test shows, and why.
``--only redis_store --only auth.py:94`` takes only these modules and places. All of
them take about half an hour on one processor.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.__main__ import LIBRARIES, ROOT, Tree
from tests.mutation.mutants import replaced

FRAMES = "tests/secrecy/test_frames.py"
INSPECTION = "tests/secrecy/test_inspection.py"
PATHS = "tests/secrecy/test_paths.py"

ELSEWHERE = {
    ("replay", "def __reduce_ex__"): (
        "tests/unit/test_replay.py",
        "it hides no secret: it pickles requests of a class that is made at run time",
    ),
}
"""Module and mask: the test file that shows it, and why."""

HIDING_CALLS = ("_redact_secrets", "_hang_up")
HIDING_CONTEXTS = ("quiet_oauth_library", "suppress")
REDUCERS = ("__reduce__", "__reduce_ex__", "__getstate__")
CHAINS = ("__traceback__", "__cause__", "__context__")

FUTURE = "from __future__ import annotations\n"
STAND_INS = '''
class _Bare:
    """Stands in for ``Hidden``."""

    __slots__ = ()


class _Open:
    """Stands in for ``Secret``, with a value that everybody sees."""

    def __init__(self, value):
        self.value = value

    def reveal(self):
        return self.value

    def __repr__(self):
        return f"<{self.value}>"

    def __eq__(self, other):
        return self.value == other.reveal()

    def __hash__(self):
        return hash(self.value)


def _raw(value, *_):
    """Stands in for ``printable``."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def _raw_quoted(value):
    """Stands in for ``quoted``."""
    return f'"{_raw(value)}"'


def _no_context(*_):
    """Stands in for a context manager that hides something."""
    from contextlib import nullcontext

    return nullcontext()
'''
STAND_IN_OF = {
    "Secret": "_Open",
    "HiddenToken": "dict",
    "memoryview": "bytes",
    "bytearray": "bytes",
    "printable": "_raw",
    "quoted": "_raw_quoted",
    **dict.fromkeys(HIDING_CONTEXTS, "_no_context"),
}
"""What takes the place of a function or class where it is called or mapped."""


@dataclass(frozen=True)
class Mask:
    """A mask of a module: where and what it is, and the module's text without it."""

    module: str
    line: int
    what: str
    text: str

    @property
    def place(self) -> str:
        """The file and the line of the mask."""
        return f"turvo_session/{self.module}.py:{self.line}"


def masks_of(module: str) -> list[Mask]:
    """Return every mask of a module."""
    text = (ROOT / f"turvo_session/{module}.py").read_text("utf-8")
    found = []
    for node in ast.walk(ast.parse(text)):
        for place, changed in _masks_at(node):
            without = replaced(text, place, changed)
            opened = without.replace(FUTURE, FUTURE + STAND_INS, 1)
            found.append(Mask(module, place.lineno, _name_of(place, changed), opened))
    return sorted(found, key=lambda mask: mask.line)


def _masks_at(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """Yield each mask that ``node`` begins, and what stands in its place without it."""
    match node:
        case ast.Delete(targets=targets):
            for target in targets:
                if not isinstance(target, ast.Subscript):
                    others = [other for other in targets if other is not target]
                    yield node, ast.Delete(others) if others else ast.Pass()
        case ast.Raise(exc=ast.expr() as error, cause=ast.Constant(value=None)):
            yield node, ast.Raise(error)
        case ast.Assign(targets=[ast.Attribute(attr=name)]) if name in CHAINS:
            yield node, ast.Pass()
        case ast.ClassDef(bases=bases):
            for base in bases:
                if ast.unparse(base) == "Hidden":
                    yield base, ast.Name("_Bare")
        case ast.FunctionDef(name=name) if name in REDUCERS:
            yield node, ast.parse(f"{name} = object.{name}").body[0]
        case ast.Expr(value=ast.Call(func=function)) if _last_name(function) in (
            HIDING_CALLS
        ):
            yield node, ast.Pass()
        case ast.Call():
            yield from _masks_of_call(node)


def _masks_of_call(call: ast.Call) -> Iterator[tuple[ast.expr, ast.AST]]:
    name = _last_name(call.func)
    if name == "with_traceback" and isinstance(call.func, ast.Attribute):
        yield call, call.func.value
    hides = not _is_suppression(call)
    if call.args:
        hides = hides and not all(map(_holds_nothing, call.args))
    if name in STAND_IN_OF and hides:
        yield call.func, ast.Name(STAND_IN_OF[name])
    for argument in call.args:
        mapped = argument.id if isinstance(argument, ast.Name) else ""
        if name == "map" and mapped in STAND_IN_OF:
            yield argument, ast.Name(STAND_IN_OF[mapped])
    for keyword in call.keywords:
        if keyword.arg == "repr" and ast.unparse(keyword.value) == "False":
            changed = copy.copy(call)
            changed.keywords = [other for other in call.keywords if other != keyword]
            yield call, changed


def _is_suppression(call: ast.Call) -> bool:
    """Return whether a call suppresses errors of the system, which hold no secret."""
    return ast.unparse(call) == "suppress(OSError)"


def _last_name(function: ast.expr) -> str:
    """Return ``c`` for ``c`` and for ``a.b.c``."""
    return ast.unparse(function).rpartition(".")[2]


def _holds_nothing(value: ast.expr) -> bool:
    """Return whether a wrapped value is a constant, or a new empty object."""
    match value:
        case ast.Constant() | ast.Tuple(elts=[]):
            return True
        case ast.Call(func=ast.Name(), args=[], keywords=[]):
            return True
    return False


def _name_of(place: ast.expr | ast.stmt, changed: ast.AST) -> str:
    """Return a name of the mask, for the report and for ``ELSEWHERE``."""
    match place:
        case ast.Delete(targets=targets):
            kept = getattr(changed, "targets", ())
            return f"del {' '.join(ast.unparse(t) for t in targets if t not in kept)}"
        case ast.FunctionDef(name=name):
            return f"def {name}"
    return ast.unparse(place).partition("\n")[0]


def survives(mask: Mask, tree: Tree, limits: dict[str, float]) -> bool:
    """Return whether no test misses the mask."""
    files = _files_for(mask)
    limit = sum(limits[file] for file in files)
    return not tree.notices(mask.module, mask.text, files, limit)


def _files_for(mask: Mask) -> tuple[str, ...]:
    """Return the test files to run, the likeliest one to notice first."""
    if (mask.module, mask.what) in ELSEWHERE:
        file, _ = ELSEWHERE[mask.module, mask.what]
        return (file,)
    if mask.what.startswith(("printable", "quoted")):
        return PATHS, FRAMES, INSPECTION
    return FRAMES, INSPECTION, PATHS


def take_out(masks: list[Mask], tree: Tree) -> list[Mask]:
    """Take out one mask after the other; return those that no test misses."""
    files = {file for mask in masks for file in _files_for(mask)}
    limits = {file: 4 * tree.seconds_of([file]) + 10 for file in sorted(files)}
    survivors = []
    for number, mask in enumerate(masks, 1):
        word = "killed  "
        if survives(mask, tree, limits):
            survivors.append(mask)
            word = "SURVIVED"
        position = f"{number:4}/{len(masks)}"
        print(f"{position} {word} {mask.place} {mask.what}{_note_on(mask)}", flush=True)
    return survivors


def _note_on(mask: Mask) -> str:
    """Return what ``ELSEWHERE`` says about the mask, for the report."""
    if (mask.module, mask.what) not in ELSEWHERE:
        return ""
    file, reason = ELSEWHERE[mask.module, mask.what]
    return f" ({file}: {reason})"


def main() -> int:
    """Run the round; return 1 if a mask survives."""
    description = (__doc__ or "").partition("\n\n")[2]
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation.masks",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", help="a module, or file.py:line")
    parser.add_argument("--list", action="store_true", help="show the masks only")
    options = parser.parse_args()
    modules = sorted(path.stem for path in (ROOT / "turvo_session").glob("*.py"))
    masks = [mask for module in modules for mask in masks_of(module)]
    if options.only:
        chosen = set(options.only)
        masks = [m for m in masks if chosen & {m.module, Path(m.place).name}]
    if options.list:
        print("\n".join(f"{mask.place} {mask.what}" for mask in masks))
        return 0
    sys.dont_write_bytecode = True  # it would outlive a change within the same second
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="turvo-masks-") as folder:
        survivors = take_out(masks, Tree(folder))
    print(f"{len(masks) - len(survivors)} of {len(masks)} masks are needed by a test")
    return int(bool(survivors))


if __name__ == "__main__":
    raise SystemExit(main())
