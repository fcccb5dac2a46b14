r"""Conditions in a steering's files: a list of JSON objects in the document, directions among the tensors.

    "conditions": [{"kind": "matches", "pattern": "\\bjson\\b"},
                   {"kind": "not", "parts": [{"kind": "resembles", "block": 2, ...}]}]

An edit names its own by its place in the list. The direction of a learned one is the tensor
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
    Matches,
    Not,
    ReadTokens,
    Resembles,
    When,
)

if TYPE_CHECKING:
    from trimtab.steering.record import ModelIdentity

_DEEPEST = 16
_PARTS: dict[str, type[AllOf] | type[AnyOf]] = {"all": AllOf, "any": AnyOf}


def when_document(when: When) -> dict[str, Any]:
    """A `When` as plain JSON, without its tensors.

    Raises:
        SteeringError: It is Python code.
    """
    when.content()  # refuses what cannot be saved
    if isinstance(when, Matches):
        return {"kind": "matches", "pattern": when.pattern}
    if isinstance(when, Resembles):
        return {
            "kind": "resembles",
            "block": when.block,
            "tokens": when.tokens,
            "threshold": when.threshold,
            "measurements": when.measurements,
        }
    if isinstance(when, AllOf | AnyOf | Not):
        kind = {AllOf: "all", AnyOf: "any", Not: "not"}[type(when)]
        return {"kind": kind, "parts": [when_document(part) for part in when.parts]}
    raise SteeringError(f"a `When` of the type {type(when).__name__} cannot be saved")


def when_tensors(when: When, name: str) -> dict[str, Tensor]:
    """The tensors of a `When`, under names that begin with `name`."""
    if isinstance(when, Resembles):
        return {f"{name}.direction": when.direction}
    tensors: dict[str, Tensor] = {}
    if isinstance(when, AllOf | AnyOf | Not):
        for number, part in enumerate(when.parts):
            tensors |= when_tensors(part, f"{name}.{number}")
    return tensors


def read_when(
    values: Any,
    name: str,
    tensors: dict[str, Tensor],
    model: ModelIdentity,
    where: str | Path,
    *,
    depth: int = 0,
) -> When:
    """Read what `when_document` and `when_tensors` gave.

    Args:
        values: The JSON object.
        name: What the names of its tensors begin with.
        tensors: All tensors of the file.
        model: The model of the steering.
        where: For messages.
        depth: How many others it lies inside.

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
        read_when(part, f"{name}.{number}", tensors, model, where, depth=depth + 1)
        for number, part in enumerate(given)
    )
    return Not(parts[0]) if kind == "not" else _PARTS[kind](parts)
