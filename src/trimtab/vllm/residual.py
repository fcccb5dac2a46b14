"""Where the residual stream is in what a decoder layer of vLLM returns, read off the source of its `forward`.

Mostly a layer returns a pair whose *sum* is the stream, because the next norm adds it anyway. A few return the whole
stream and beside it something stale that is called residual too. The layer's own beginning tells which: where the pair
is a sum, it reads the residual that it is given; where it is stale, it overwrites it unread.
"""

from __future__ import annotations

import ast
from typing import Literal

Stream = Literal["sum", "first", "unknown"]
"""In a pair: the sum of both, the first, or cannot be told."""


def judged(forward: ast.FunctionDef) -> Stream:
    """Where the residual stream is in the pair that the `forward` of a layer returns.

    Returns:
        `"sum"` if the layer reads the residual it is given, so that the next one will read what this one returns;
        `"first"` if it returns no pair, is given no residual, or overwrites it unread; `"unknown"` if the second of
        the pair is something else.
    """
    arguments = forward.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    given = next((name for name in names if "resid" in name), None)
    second = _second_returned(forward)
    if not second:  # no pairs, or None beside the stream
        return "first"
    if given is None:
        return "first" if all("resid" in name for name in second) else "unknown"
    if second != {given}:
        return "unknown"
    return "sum" if _reads_before_writing(forward.body, given) else "first"


def _second_returned(function: ast.FunctionDef) -> set[str]:
    """What stands second in the pairs that a function returns, less None."""
    second = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
            other = node.value.elts[1]
            if not (isinstance(other, ast.Constant) and other.value is None):
                second.add(ast.unparse(other))
    return second


def _reads_before_writing(statements: list[ast.stmt], name: str) -> bool:
    """Whether a parameter is used, other than asked whether it is None, before it is overwritten."""
    for statement in statements:
        if isinstance(statement, ast.Return):
            return False
        if _reads(statement, name):
            return True
        if isinstance(statement, ast.Assign) and any(_names(target, name) for target in statement.targets):
            return False
    return False


def _reads(statement: ast.stmt, name: str) -> bool:
    compared = {
        id(node) for test in ast.walk(statement) if isinstance(test, ast.Compare) for node in ast.walk(test)
    }
    return any(
        isinstance(node, ast.Name)
        and node.id == name
        and isinstance(node.ctx, ast.Load)
        and id(node) not in compared
        for node in ast.walk(statement)
    )


def _names(target: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(target))
