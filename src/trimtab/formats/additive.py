"""What most formats can say: one vector for each block, added at every token of every prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.base import InexpressibleError
from trimtab.steering.card import describe_edit
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Steering, given

NEAREST = "the nearest that it can say is an added vector, which --approximate writes"


def added_vectors(steering: Steering, says: str) -> dict[int, Tensor]:
    """The vectors `[d]`, float32, that a steering adds, by block, ascending; several of one block are summed.

    Args:
        steering: What is to be written.
        says: What cannot say more, for the message: "a control vector".

    Raises:
        SteeringError: It does something else than to add to all tokens of all prompts, or nothing at all.
    """
    edits = acting(steering, says)
    for edit in edits:
        if is_gated(edit):
            raise InexpressibleError(
                f"{says} only adds vectors, and the edit of block {edit.block} {describe_edit(edit)}; {NEAREST}"
            )
    return summed(edits)


def summed(edits: Iterable[Edit]) -> dict[int, Tensor]:
    """The sum `[d]`, float32, of what edits without gates add, by block, ascending."""
    sums: dict[int, Tensor] = {}
    for edit in edits:
        vector = constant(edit) * edit.u.double()
        sums[edit.block] = sums[edit.block] + vector if edit.block in sums else vector
    vectors = {block: sums[block].float() for block in sorted(sums)}
    for block, vector in vectors.items():
        if not bool(torch.isfinite(vector).all()):
            raise SteeringError(f"what is added at block {block} is too large for float32")
    return vectors


def acting(steering: Steering, says: str) -> list[Edit]:
    """The edits that change anything, each of them at all tokens of all prompts.

    Raises:
        SteeringError: One acts on some tokens or prompts alone, or there is none.
    """
    edits = [edit for edit in steering.edits if not edit.is_nothing]
    if not edits:
        raise SteeringError(f"the steering '{steering.name}' changes nothing; there is nothing to write")
    for edit in edits:
        if edit.when is not None:
            raise InexpressibleError(
                f"{says} acts on every prompt, and the edit of block {edit.block} only if {edit.when.describe()}; the "
                "nearest is the steering without that, which --approximate writes"
            )
        if edit.tokens != "all":
            raise InexpressibleError(
                f"{says} acts on all tokens, and the edit of block {edit.block} on {edit.tokens} tokens only; the "
                "nearest is the same edit of all, which --approximate writes"
            )
    return edits


def acted_blocks(steering: Steering) -> set[int]:
    """The blocks at which anything is changed."""
    return {edit.block for edit in steering.edits if not edit.is_nothing}


def everywhere(steering: Steering) -> Steering:
    """The same edits at all tokens of all prompts."""
    edits = tuple(replace(edit, tokens="all", when=None) for edit in given(steering).edits)
    return replace(steering, edits=edits, record=replace(steering.record, measurements={}))


def constant(edit: Edit) -> float:
    """What an edit without a gate multiplies its u by."""
    return max(edit.alpha, 0.0) if edit.rectified else edit.alpha


def is_gated(edit: Edit) -> bool:
    """Whether what the edit adds depends on the hidden state."""
    return edit.p is not None and bool(edit.p.any())


def as_projection(edit: Edit) -> tuple[Tensor, float] | None:
    """The unit direction `[d]` and the target of an edit that sets a projection, whatever the norm of u; else None."""
    if edit.p is None or edit.rectified:
        return None
    u, p = edit.u.double(), edit.p.double()
    norm = float(u.norm())
    unit = u / max(norm, 1e-300)
    # h + (alpha - b <unit, h>) (a unit) with a b = 1
    if norm == 0 or abs(float(u @ p) + 1) > 1e-4 or float((p * norm + unit).abs().max()) > 1e-5:
        return None
    return (edit.u, edit.alpha) if abs(norm - 1) < 1e-6 else (unit.float(), edit.alpha * norm)
