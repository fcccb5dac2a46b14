"""Edits in a steering's files: one JSON object each, their vectors among the tensors.

    "edits": [{"block": 2, "alpha": 1.0, "tokens": "all", "gated": true, "condition": 0}]

`edits.0.u` and, where it is gated, `edits.0.p` are the vectors of the first. An edit that has a
`when` names it, as its "condition", by its place among "conditions"; without any, both keys are left out, and the
document is one of format version 1. A rectified edit says `"rectified": true`; of others that
key is left out. With such edits, or edits of the answer alone, it is one of format version 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number, finite_vector, take, take_one_of
from trimtab.steering.edits import Edit, TokenScope
from trimtab.steering.when import When
from trimtab.steering.when.files import read_when, when_tensors

if TYPE_CHECKING:
    from trimtab.steering.record import ModelIdentity


def edits_document(edits: Sequence[Edit], whens: Sequence[When]) -> dict[str, Any]:
    """Edits as plain JSON, without the vectors; each names its `when` by its place among the different ones."""
    listed = []
    for edit in edits:
        values: dict[str, Any] = {
            "block": edit.block,
            "alpha": float(edit.alpha),
            "tokens": edit.tokens,
            "gated": edit.p is not None,
        }
        if edit.rectified:
            values["rectified"] = True
        if edit.when is not None:
            values["condition"] = whens.index(edit.when)
        listed.append(values)
    return {"edits": listed}


def version_of(edits: Sequence[Edit]) -> int:
    """The oldest format version whose readers understand edits."""
    if any(edit.rectified or edit.tokens == "answer" for edit in edits):
        return 3
    return 1 if all(edit.when is None for edit in edits) else 2


def edits_tensors(edits: Sequence[Edit], whens: Sequence[When]) -> dict[str, Tensor]:
    """The vectors of edits and the directions of when they act, by the names under which they are saved."""
    tensors = {}
    for number, edit in enumerate(edits):
        tensors[f"edits.{number}.u"] = edit.u
        if edit.p is not None:
            tensors[f"edits.{number}.p"] = edit.p
    for number, when in enumerate(whens):
        tensors |= when_tensors(when, f"conditions.{number}")
    return tensors


def read_edits(
    document: Mapping[str, Any], tensors: dict[str, Tensor], model: ModelIdentity, where: Path
) -> tuple[Edit, ...]:
    """Read what `edits_document` and `edits_tensors` gave."""
    listed = take(document, "conditions", list, where) if "conditions" in document else []
    whens = [
        read_when(values, f"conditions.{number}", tensors, model, where)
        for number, values in enumerate(listed)
    ]
    return tuple(
        read_edit(values, number, tensors, (model.blocks, model.width), where, whens)
        for number, values in enumerate(take(document, "edits", list, where))
    )


def read_edit(
    values: Any,
    number: int,
    tensors: dict[str, Tensor],
    shape: tuple[int, int],
    where: str | Path,
    whens: Sequence[When] = (),
) -> Edit:
    """Read one edit of those that `edits_document` and `edits_tensors` gave."""
    blocks, width = shape
    place = f"{where} (edit {number})"
    if not isinstance(values, dict):
        raise SteeringError(f"{place} must be an object, not {values!r:.60}")
    block = take(values, "block", int, place)
    if not 0 <= block < blocks:
        raise SteeringError(f"{place}: block {block} is out of range, the model has blocks 0 to {blocks - 1}")
    tokens = take_one_of(values, "tokens", get_args(TokenScope), place)
    gated = take(values, "gated", bool, place)
    when = None
    if "condition" in values:
        index = take(values, "condition", int, place)
        if not 0 <= index < len(whens):
            raise SteeringError(f"{place}: there is no condition {index}; {len(whens)} are listed")
        when = whens[index]
    return Edit(
        block=block,
        u=finite_vector(tensors, f"edits.{number}.u", (width,), where),
        alpha=finite_number(values.get("alpha"), "alpha", place),
        p=finite_vector(tensors, f"edits.{number}.p", (width,), where) if gated else None,
        tokens=tokens,
        when=when,
        rectified=take(values, "rectified", bool, place) if "rectified" in values else False,
    )
