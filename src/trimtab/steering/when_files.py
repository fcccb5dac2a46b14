r"""Conditions in a steering's files: a list of JSON objects in the document, directions among the tensors.

    "conditions": [{"kind": "matches", "pattern": "\\bjson\\b"},
                   {"kind": "not", "parts": [{"kind": "resembles", "block": 2, ...}]}]

An edit names its condition by its place in the list. The direction of a learned one is the tensor
`conditions.1.direction`, or `conditions.1.0.direction` inside another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number, finite_vector, take
from trimtab.steering.when import (
    AllOf,
    AnyOf,
    Condition,
    Matches,
    Not,
    ReadTokens,
    Resembles,
)

if TYPE_CHECKING:
    from trimtab.steering.record import ModelIdentity

_DEEPEST = 16
_PARTS: dict[str, type[AllOf] | type[AnyOf]] = {"all": AllOf, "any": AnyOf}


def condition_document(condition: Condition) -> dict[str, Any]:
    """A condition as plain JSON, without its tensors.

    Raises:
        SteeringError: It is Python code.
    """
    condition.content()  # refuses what cannot be saved
    if isinstance(condition, Matches):
        return {"kind": "matches", "pattern": condition.pattern}
    if isinstance(condition, Resembles):
        return {
            "kind": "resembles",
            "block": condition.block,
            "tokens": condition.tokens,
            "threshold": condition.threshold,
            "measurements": condition.measurements,
        }
    if isinstance(condition, AllOf | AnyOf | Not):
        kind = {AllOf: "all", AnyOf: "any", Not: "not"}[type(condition)]
        return {"kind": kind, "parts": [condition_document(part) for part in condition.parts]}
    raise SteeringError(f"a condition of the type {type(condition).__name__} cannot be saved")


def condition_tensors(condition: Condition, name: str) -> dict[str, Tensor]:
    """The tensors of a condition, under names that begin with `name`."""
    if isinstance(condition, Resembles):
        return {f"{name}.direction": condition.direction}
    tensors: dict[str, Tensor] = {}
    if isinstance(condition, AllOf | AnyOf | Not):
        for number, part in enumerate(condition.parts):
            tensors |= condition_tensors(part, f"{name}.{number}")
    return tensors


def read_condition(
    values: Any,
    name: str,
    tensors: dict[str, Tensor],
    model: ModelIdentity,
    where: str | Path,
    *,
    depth: int = 0,
) -> Condition:
    """Read what `condition_document` and `condition_tensors` gave.

    Args:
        values: The JSON object.
        name: What the names of its tensors begin with.
        tensors: All tensors of the file.
        model: The model of the steering.
        where: For messages.
        depth: How many conditions it lies inside.

    Raises:
        SteeringError: It is damaged, of an unknown kind, or does not fit the model.
    """
    place = f"{where} ({name})"
    if not isinstance(values, Mapping):
        raise SteeringError(f"{place} must be an object, not {values!r:.60}")
    kind = take(values, "kind", str, place)
    if kind == "matches":
        return Matches(take(values, "pattern", str, place))
    if kind == "resembles":
        tokens = take(values, "tokens", str, place)
        if tokens not in get_args(ReadTokens):
            raise SteeringError(
                f"{place}: tokens must be one of {', '.join(get_args(ReadTokens))}, not {tokens!r:.60}"
            )
        return Resembles(
            model=model,
            block=take(values, "block", int, place),
            direction=finite_vector(tensors, f"{name}.direction", (model.width,), where),
            threshold=finite_number(values.get("threshold"), "threshold", place),
            tokens=tokens,
            measurements=take(values, "measurements", dict, place),
        )
    if kind not in (*_PARTS, "not"):
        known = ", ".join(["matches", "resembles", *_PARTS, "not"])
        raise SteeringError(f"{place}: there is no condition of the kind {kind!r:.60}; there are {known}")
    given = take(values, "parts", list, place)
    if not given or (kind == "not" and len(given) != 1):
        raise SteeringError(f"{place}: '{kind}' with {len(given)} parts makes no condition")
    if depth >= _DEEPEST:
        raise SteeringError(f"{place}: conditions lie inside each other more than {_DEEPEST} deep")
    parts = tuple(
        read_condition(part, f"{name}.{number}", tensors, model, where, depth=depth + 1)
        for number, part in enumerate(given)
    )
    return Not(parts[0]) if kind == "not" else _PARTS[kind](parts)
