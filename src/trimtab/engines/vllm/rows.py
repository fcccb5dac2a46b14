"""What one request does to the residual stream, folded into a row of the serving table; and edits as bytes.

A request's edits, each with the strength of the steering it belongs to, come down to

    h  <-  h + added[phase] + sum_k strength[phase, k] <p_k, h> u_k

in every block. `phase` is 0 for a token of the prompt and 1 for one that the model wrote, so scopes become zeros.
Constant parts don't depend on `h`: however many they are, they are summed. Gated edits stay apart, except that those
with the same `u` and `p` are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save as serialize_tensors
from torch import Tensor

from trimtab.edit_files import edits_document, edits_tensors, read_edit
from trimtab.edits import Edit
from trimtab.errors import SteeringError
from trimtab.steering_files import read_tensors, take

__all__ = ["Gates", "Row", "digest_of", "pack", "row_of", "unpack"]

_FORMAT = "trimtab-edits"
_PACKED = "the file of packed edits"


@dataclass(frozen=True, eq=False)
class Gates:
    """The gated edits of one block, float32 on the CPU.

    Attributes:
        p: The gates, `[k, d]`.
        u: What is added, `[k, d]`.
        strength: How much of each, `[2, k]`: for tokens of the prompt, and for generated ones.
    """

    p: Tensor
    u: Tensor
    strength: Tensor


@dataclass(frozen=True, eq=False)
class Row:
    """What one request does.

    Attributes:
        added: By block, what is added whatever `h` is: `[2, d]`, float32 on the CPU.
        gates: By block, its gated edits.
    """

    added: dict[int, Tensor]
    gates: dict[int, Gates]

    @property
    def is_nothing(self) -> bool:
        """Whether no token of any block is changed."""
        return not self.added and not self.gates

    @property
    def widest(self) -> int:
        """The most gated edits in one block."""
        return max((len(gates.p) for gates in self.gates.values()), default=0)

    def fits(self, dtype: torch.dtype) -> bool:
        """Whether every value stays finite in a table of this dtype."""
        largest = torch.finfo(dtype).max
        tensors = [*self.added.values()]
        for gates in self.gates.values():
            tensors += [gates.p, gates.u]
        return all(float(tensor.abs().max()) <= largest for tensor in tensors)


def row_of(parts: Sequence[tuple[Sequence[Edit], float]]) -> Row:
    """Fold edits into a row.

    Args:
        parts: The edits of each steering, and its strength. Edits without conditions.

    Raises:
        SteeringError: An edit has a condition, edits of one block differ in width, or a strength is not finite or so
            large that values leave float32.
    """
    added: dict[int, Tensor] = {}
    gated: dict[int, dict[tuple[bytes, bytes], tuple[Edit, Tensor]]] = {}
    for edits, strength in parts:
        amount = float(strength)
        for edit in edits:
            _refuse_condition(edit)
            if edit.is_nothing or amount == 0.0:
                continue
            phases = torch.tensor([edit.tokens != "generated", edit.tokens != "prompt"], dtype=torch.float64)
            phases = phases * amount
            if edit.alpha != 0.0:
                constant = torch.outer(phases * edit.alpha, edit.u.double())
                before = added.get(edit.block)
                _same_width(constant, before, edit.block)
                added[edit.block] = constant if before is None else before + constant
            if edit.p is not None and bool(edit.p.any()):
                in_block = gated.setdefault(edit.block, {})
                key = edit.u.numpy().tobytes(), edit.p.numpy().tobytes()
                known = in_block.get(key)
                in_block[key] = (edit, phases if known is None else known[1] + phases)
    return Row(
        added={block: _single(sums, block) for block, sums in added.items() if bool(sums.any())},
        gates={
            block: gates
            for block, in_block in gated.items()
            if (gates := _gates(list(in_block.values()), block)) is not None
        },
    )


def digest_of(edits: Sequence[Edit]) -> str:
    """`"edits:sha256:..."` of what edits do, whatever their order.

    The word in front keeps edits that a request brings along apart from steerings, whose digest is of their record too.

    Raises:
        SteeringError: An edit has a condition.
    """
    each = []
    for edit in edits:
        _refuse_condition(edit)
        content = hashlib.sha256(f"{edit.block} {edit.alpha!r} {edit.tokens} {edit.width}".encode())
        for vector in (edit.u, edit.p):
            content.update(b"-" if vector is None else b"+" + vector.numpy().tobytes())
        each.append(content.digest())
    return "edits:sha256:" + hashlib.sha256(b"".join(sorted(each))).hexdigest()


def pack(edits: Sequence[Edit]) -> bytes:
    """Edits as one safetensors file that says in its metadata what they are; `unpack` gives them back, bit by bit.

    Raises:
        SteeringError: An edit has a condition.
    """
    digest = digest_of(edits)
    tensors = {
        # Clones: safetensors refuses tensors that share memory, as the u and p of one edit may.
        name: tensor.contiguous().clone()
        for name, tensor in edits_tensors(edits, ()).items()
    }
    document = {
        "format": _FORMAT,
        "blocks": 1 + max((edit.block for edit in edits), default=0),
        "width": max((edit.width for edit in edits), default=0),
        "digest": digest,
        **edits_document(edits, ()),
    }
    content: bytes = serialize_tensors(tensors, {_FORMAT: json.dumps(document)})
    return content


def unpack(content: bytes) -> tuple[Edit, ...]:
    """Read what `pack` gave.

    Raises:
        SteeringError: It is something else, damaged, or its content is not what was packed.
    """
    tensors = read_tensors(content, _PACKED)
    length = int.from_bytes(
        content[:8], "little"
    )  # safetensors' own: the length of the header, then the header
    header = json.loads(content[8 : 8 + length])
    try:
        document = json.loads(header.get("__metadata__", {})[_FORMAT])
    except (KeyError, ValueError, RecursionError) as error:
        raise SteeringError(f"{_PACKED} does not say what it is ({error!r}); pack the edits again") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise SteeringError(f"{_PACKED} is of another format, expected {_FORMAT}; pack the edits again")
    shape = take(document, "blocks", int, _PACKED), take(document, "width", int, _PACKED)
    edits = tuple(
        read_edit(values, number, tensors, shape, _PACKED)
        for number, values in enumerate(take(document, "edits", list, _PACKED))
    )
    unknown = sorted(set(tensors) - set(edits_tensors(edits, ())))
    if unknown:
        raise SteeringError(f"{_PACKED} has tensors that belong to no edit: {', '.join(unknown)}")
    if document.get("digest") != digest_of(edits):
        raise SteeringError(
            f"{_PACKED} was changed after it was packed: the digests differ; pack the edits again"
        )
    return edits


def _refuse_condition(edit: Edit) -> None:
    if edit.condition is not None:
        raise SteeringError(
            f"an edit of block {edit.block} acts only if {edit.condition.describe()}, and a server decides no "
            "conditions; decide it in the client and ask for the steering only then, or serve steering.always()"
        )


def _gates(entries: Sequence[tuple[Edit, Tensor]], block: int) -> Gates | None:
    kept = [(edit, phases) for edit, phases in entries if bool(phases.any())]
    if not kept:
        return None
    for edit, _ in kept:
        _same_width(edit.u, kept[0][0].u, block)
    return Gates(
        p=torch.stack([edit.p for edit, _ in kept if edit.p is not None]),
        u=torch.stack([edit.u for edit, _ in kept]),
        strength=_single(torch.stack([phases for _, phases in kept], dim=1), block),
    )


def _same_width(one: Tensor, other: Tensor | None, block: int) -> None:
    if other is not None and one.shape[-1] != other.shape[-1]:
        raise SteeringError(
            f"edits of block {block} have widths {one.shape[-1]} and {other.shape[-1]}; all must fit one model"
        )


def _single(values: Tensor, block: int) -> Tensor:
    """The sums, made in float64, as float32."""
    result = values.float()
    if not bool(torch.isfinite(result).all()):
        raise SteeringError(
            f"the strength is too large: in block {block} it gives values that are not finite"
        )
    return result
