"""What one request does to the residual stream, folded into a row of the serving table.

A request's edits, each with the strength of the steering it belongs to, come down to

    h  <-  h + added[phase] + sum_k strength[phase, k] <p_k, h> u_k

in every block. `phase` is 0 for a token of the prompt, 1 for one that the model wrote before its answer and 2 for one
of its answer, so scopes become zeros. Constant parts don't depend on `h`: however many they are, they are summed. Gated
edits stay apart, except that those with the same `u` and `p` are one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.edits import ANSWER, BEFORE_ANSWER, Edit, acts_in

__all__ = ["Gates", "TableRow", "combine", "digest_of", "fold", "row_of"]


@dataclass(frozen=True, eq=False)
class Gates:
    """The gated edits of one block, float32 on the CPU.

    Attributes:
        p: The gates, `[k, d]`.
        u: What is added, `[k, d]`.
        strength: How much of each, `[3, k]`, by phase.
    """

    p: Tensor
    u: Tensor
    strength: Tensor


@dataclass(frozen=True, eq=False)
class TableRow:
    """What a request does in each block: `added` `[3, d]` whatever `h` is, float32 on the CPU, and its gated edits."""

    added: dict[int, Tensor]
    gates: dict[int, Gates]

    @property
    def is_nothing(self) -> bool:
        """Whether no token of any block is changed."""
        return not self.added and not self.gates

    @property
    def is_for_answers(self) -> bool:
        """Whether it does to answers what it does not do to thoughts before them."""
        each = [*self.added.values(), *(gates.strength for gates in self.gates.values())]
        return any(not torch.equal(phases[BEFORE_ANSWER], phases[ANSWER]) for phases in each)

    @property
    def widest(self) -> int:
        """The most gated edits in one block."""
        return max((len(gates.p) for gates in self.gates.values()), default=0)

    @property
    def largest_addition(self) -> float:
        """The largest absolute value that is added whatever `h` is; unlike `p` and `u` it grows with the strength."""
        return max((float(constant.abs().max()) for constant in self.added.values()), default=0.0)

    def check(self, gates: int, dtype: torch.dtype, name: str, place: str = "server") -> None:
        """Refuse what the tables of a `place` ("server" or "engine") cannot take.

        Raises:
            SteeringError: Too many gated edits in a block, or too large values; it says how to start the place.
        """
        if self.widest > gates:
            raise SteeringError(
                f"the steering '{name}' has {self.widest} gated edits in one block, and the tables take {gates}; "
                f"start the {place} with gates={self.widest}"
            )
        if not self.fits(dtype):
            raise SteeringError(
                f"the steering '{name}' has values too large for the tables' {str(dtype).removeprefix('torch.')}; "
                f"start the {place} with table_dtype=float32"
            )

    def fits(self, dtype: torch.dtype) -> bool:
        """Whether every value stays finite in a table of this dtype."""
        largest = torch.finfo(dtype).max
        vectors = [vector for gates in self.gates.values() for vector in (gates.p, gates.u)]
        return self.largest_addition <= largest and all(
            float(stack.abs().max()) <= largest for stack in vectors
        )


def fold(edits: Sequence[Edit]) -> TableRow:
    """The row of one steering at strength 1.

    Raises:
        SteeringError: An edit has a `when` or is rectified, edits of one block differ in width, or a value leaves
            float32.
    """
    added: dict[int, np.ndarray] = {}
    gated: dict[int, _Merged] = {}
    for edit in edits:
        _refuse(edit)
        if edit.is_nothing:
            continue
        phases = np.array(acts_in(edit.tokens), dtype=np.float64)
        if edit.alpha != 0.0:
            constant = np.outer(phases * edit.alpha, edit.u.numpy())
            if edit.block in added:
                _check_widths(constant.shape[1], added[edit.block].shape[1], edit.block)
                constant += added[edit.block]
            added[edit.block] = constant
        if edit.p is not None and bool(edit.p.any()):
            gated.setdefault(edit.block, _Merged(edit.block)).put(edit.p, edit.u, torch.from_numpy(phases))
    return _row({block: torch.from_numpy(sums) for block, sums in added.items()}, gated)


def combine(parts: Sequence[tuple[TableRow, float]]) -> TableRow:
    """Several rows at once, each so many times as strong.

    Gated edits that two of them share become one, and what cancels is gone.

    Raises:
        SteeringError: The rows differ in width, or a strength is not finite or so large that values leave float32.
    """
    added: dict[int, Tensor] = {}
    gated: dict[int, _Merged] = {}
    for row, strength in parts:
        if strength == 0.0:
            continue
        for block, constant in row.added.items():
            scaled = constant * strength
            if block in added:
                _check_widths(scaled.shape[1], added[block].shape[1], block)
                scaled += added[block]
            added[block] = scaled
        for block, gates in row.gates.items():
            gated.setdefault(block, _Merged(block)).extend(gates, strength)
    return _row(added, gated)


def row_of(parts: Sequence[tuple[Sequence[Edit], float]]) -> TableRow:
    """Fold the edits of several steerings, each with its strength, into one row; raises as `fold` and `combine` do."""
    return combine([(fold(edits), strength) for edits, strength in parts])


def digest_of(edits: Sequence[Edit]) -> str:
    """`"edits:sha256:..."` of what edits do, whatever their order.

    The word in front keeps edits that a request brings along apart from steerings, whose digest is of their record too.

    Raises:
        SteeringError: An edit has a `when` or is rectified.
    """
    each = []
    for edit in edits:
        _refuse(edit)
        content = hashlib.sha256(f"{edit.block} {edit.alpha!r} {edit.tokens} {edit.width}".encode())
        content.update(edit.u.numpy().tobytes())
        if edit.p is not None:
            content.update(edit.p.numpy().tobytes())
        each.append(content.digest())
    return "edits:sha256:" + hashlib.sha256(b"".join(sorted(each))).hexdigest()


def _refuse(edit: Edit) -> None:
    if edit.rectified:
        raise SteeringError(
            f"an edit of block {edit.block} is rectified (form psr), which the serving tables have no place for; steer "
            "by the transformers engine, or learn gated edits"
        )
    if edit.when is not None:
        raise SteeringError(
            f"an edit of block {edit.block} acts only if {edit.when.describe()}, which a server does not "
            "decide; decide it in the client and ask for the steering only then, or serve steering.always()"
        )


class _Merged:
    """The gated edits of one block. A stack of them stays as it is until another comes; then equal ones become one."""

    def __init__(self, block: int) -> None:
        self.block = block
        self._whole: Gates | None = None
        self._entries: dict[tuple[bytes, bytes], tuple[Tensor, Tensor, Tensor]] = {}

    def extend(self, gates: Gates, strength: float) -> None:
        scaled = Gates(gates.p, gates.u, gates.strength * strength)
        if self._whole is None and not self._entries:
            self._whole = scaled
            return
        for stack in (self._whole, scaled):
            if stack is not None:
                for p, u, phases in zip(stack.p, stack.u, stack.strength.T, strict=True):
                    self.put(p, u, phases)
        self._whole = None

    def put(self, p: Tensor, u: Tensor, phases: Tensor) -> None:
        key = u.numpy().tobytes(), p.numpy().tobytes()
        known = self._entries.get(key)
        self._entries[key] = (p, u, phases if known is None else known[2] + phases)

    def gates(self) -> Gates | None:
        """All of them, but for those whose strengths cancelled; None where none is left."""
        if self._whole is not None:
            return self._whole
        kept = [entry for entry in self._entries.values() if bool(entry[2].any())]
        if not kept:
            return None
        for _, u, _ in kept:
            _check_widths(len(u), len(kept[0][1]), self.block)
        return Gates(
            p=torch.stack([p for p, _, _ in kept]),
            u=torch.stack([u for _, u, _ in kept]),
            strength=torch.stack([phases for _, _, phases in kept], dim=1),
        )


def _row(added: dict[int, Tensor], gated: dict[int, _Merged]) -> TableRow:
    constants = {block: single for block, sums in added.items() if _peak(single := sums.float(), block)}
    gates = {}
    for block, merged in gated.items():
        found = merged.gates()
        if found is not None:
            single = found.strength.float()
            _peak(single, block)
            gates[block] = Gates(found.p, found.u, single)
    return TableRow(constants, gates)


def _check_widths(one: int, other: int, block: int) -> None:
    if one != other:
        raise SteeringError(f"edits of block {block} have widths {one} and {other}; all must fit one model")


def _peak(values: Tensor, block: int) -> float:
    """The largest absolute value: whether there is any but 0, and whether all are finite, in one pass."""
    peak = float(values.abs().max())
    if not math.isfinite(peak):
        raise SteeringError(
            f"the strength is too large: in block {block} it gives values that are not finite"
        )
    return peak
