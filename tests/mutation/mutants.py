"""The small changes that are made to a module, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SWAPPED: dict[type[ast.AST], Any] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
SWAPPED_NAMES = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A changed module: its whole ``text``, and the ``line`` that differs."""

    line: int
    text: str


def mutants_of(text: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source."""
    for node in _nodes_that_count(ast.parse(text)):
        for place, changed in _changes(node):
            yield Mutant(place.lineno, replaced(text, place, changed))


def _nodes_that_count(node: ast.AST) -> Iterator[ast.AST]:
    """Yield ``node`` and its parts, without annotations, decorators and texts.

    Nor ``strict=``, which would only name a mistake in the module itself.
    """
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(child, ast.JoinedStr)  # its parts have no places
            if isinstance(child, ast.AST) and not is_text:
                yield from _nodes_that_count(child)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """Yield a part of ``node``, and what can stand in its place."""
    yield from _changes_of_statement(node)
    match node:
        case ast.Compare(ops=operators):
            for index, operator in enumerate(operators):
                changed = copy.deepcopy(node)
                changed.ops[index] = SWAPPED[type(operator)]()
                yield node, changed
        case ast.BoolOp() | ast.BinOp() if type(node.op) in SWAPPED:
            changed = copy.deepcopy(node)
            changed.op = SWAPPED[type(node.op)]()
            yield node, changed
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node, node.operand
        case ast.Constant(value=bool()):
            yield node, ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield node, ast.Constant(node.value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in SWAPPED_NAMES:
            yield node.func, ast.Name(SWAPPED_NAMES[name])


def _changes_of_statement(
    node: ast.AST,
) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    match node:
        case ast.If(test=test) | ast.IfExp(test=test):
            is_plain = isinstance(test, ast.Name | ast.Attribute | ast.Call)
            if is_plain and ast.unparse(test) != "TYPE_CHECKING":
                yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield node, ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            yield node, ast.Pass()
        case (
            ast.Assign(targets=[ast.Attribute()])
            | ast.AnnAssign(target=ast.Attribute())
        ):
            yield node, ast.Pass()


def replaced(text: str, node: ast.expr | ast.stmt, changed: ast.AST) -> str:
    """Return ``text`` with ``changed`` in the place of ``node``."""
    lines = text.encode().splitlines(keepends=True)  # columns are counted in bytes
    assert node.end_lineno is not None
    first, last = node.lineno - 1, node.end_lineno - 1
    new = ast.unparse(changed)
    if isinstance(node, ast.expr):
        new = f"({new})"
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    lines[first : last + 1] = [before + new.encode() + after]
    return b"".join(lines).decode()
