"""Several instructions at once: what answers to a query must match to follow all of them."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.constraint import Constraint, intersection
from trimtab.instructions.base import Instruction


def constraint_of(wanted: Sequence[Instruction], query: str | None = None) -> Constraint | None:
    """What holds an answer to all of some instructions.

    Args:
        wanted: The instructions.
        query: What is asked, for those that depend on it.

    Returns:
        What the constraints of all of them admit; None where one has none, or where they cannot be joined: a JSON
        schema with another, or two that no answer can meet (a title at the start, say, and the request at the start).
    """
    constraints = [one.constraint(query) for one in wanted]
    known = [one for one in constraints if one is not None]
    if len(known) < len(constraints):
        return None
    joined = intersection(known)
    return joined if joined is None or len(set(known)) == 1 or joined.possible else None
