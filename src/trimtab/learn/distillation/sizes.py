"""How many edits a distillation learns, and where: the sets that are tried one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import SteeringError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.learn.distillation.trainable import Form
    from trimtab.steering.steering import Steering

_FEW = 6  # a model of so many blocks is edited in each
_MANY = 12  # blocks that are edited in a deep model
_LOWEST, _HIGHEST = 0.05, 0.9  # of its depth, where they lie


@dataclass(frozen=True)
class Size:
    """How many edits there are.

    Attributes:
        blocks: Where.
        rank: How many in each block; of a steering to start from, in the block that has most.
    """

    blocks: tuple[int, ...]
    rank: int = 1


def default_sizes(count: int) -> list[Size]:
    """The sets of edits that are tried one after the other, each holding the one before it.

    In a model of up to six blocks: one edit in each, then two. In a deeper one: two in each of up to twelve blocks
    spread over what lies between the first twentieth and the last tenth, then three. (A step takes as long with one.)
    """
    if count <= _FEW:
        blocks, first = tuple(range(count)), 1
    else:
        first = 2
        low, high = round(_LOWEST * (count - 1)), round(_HIGHEST * (count - 1))
        many = min(_MANY, high - low + 1)
        blocks = tuple(sorted({round(low + step * (high - low) / (many - 1)) for step in range(many)}))
    return [Size(blocks, first), Size(blocks, first + 1)]


def sizes_to_try(
    engine: Engine, blocks: Sequence[int] | None, rank: int | None, form: Form, start: Steering | None
) -> list[Size]:
    """The sets of edits to try, few first, as far as blocks, rank or edits to start from leave a choice.

    Raises:
        SteeringError: A setting makes no sense.
        ModelError: A block does not exist.
    """
    if start is not None:
        start.check_model(engine.identity)
        if form != "gated" or blocks is not None or rank is not None:
            raise SteeringError(
                "a steering to start from keeps its blocks and ranks, and becomes gated edits: leave out blocks, rank "
                "and form"
            )
        if any(edit.rectified for edit in start.edits):
            raise SteeringError(
                f"the steering '{start.name}' has rectified edits (form psr): nothing to start from; learn it anew"
            )
        if not start.edits or start.whens:
            raise SteeringError(
                f"the steering '{start.name}' is nothing to start from: it has no edits, or does not always act"
            )
        most = max(sum(edit.block == block for edit in start.edits) for block in start.blocks)
        return [Size(start.blocks, most)]
    if form == "vector":
        # Vectors added to one block are one vector.
        if rank not in (None, 1):
            raise SteeringError(f"of the form vector there is one edit per block, not {rank}")
        rank = 1
    default = default_sizes(engine.identity.blocks)
    if blocks is not None:
        chosen = engine.block_numbers(blocks)
        return [Size(chosen, rank)] if rank else [Size(chosen), Size(chosen, 2)]
    if rank is not None:
        sets = list(dict.fromkeys(size.blocks for size in default))
        return [Size(blocks, rank) for blocks in sets]
    return default
