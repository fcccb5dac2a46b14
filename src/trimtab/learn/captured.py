"""The activations learning starts from: the last token of prompt pairs, with and without the instruction.

The last token of a prompt in its chat template stands right before the answer: what the model has understood of the
prompt by then, the instruction included, has to pass through there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.errors import ModelError, PromptError
from trimtab.learn.directions import Directions
from trimtab.prompts.pairs import PromptPair, digest

if TYPE_CHECKING:
    from trimtab.engines.base import Capture, Engine
    from trimtab.instructions import Instruction
    from trimtab.progress import Progress


@dataclass(frozen=True, eq=False)
class Captured:
    """Block outputs at the last token of prompt pairs.

    Attributes:
        blocks: The blocks read, ascending; `L` of them.
        instructed: `[L, d]` float64, mean over the instructed prompts.
        plain: `[L, d]` float64, mean over the plain prompts.
        differences: `[N, L, d]` float32, instructed minus plain of each pair, if they were asked for.
    """

    blocks: tuple[int, ...]
    instructed: Tensor
    plain: Tensor
    differences: Tensor | None


def capture_pairs(
    engine: Engine,
    pairs: Sequence[PromptPair],
    *,
    blocks: Sequence[int] | None,
    keep: bool,
    batch_size: int | None,
    progress: Progress,
) -> Captured:
    """Read both sides of prompt pairs.

    Raises:
        PromptError: There are no pairs.
        ModelError: The model's activations are not finite.
    """
    if not pairs:
        raise PromptError("there are no prompt pairs to learn from; make some with prompts.make_pairs")

    def side(prompts: list[str]) -> Capture:
        return engine.capture(
            prompts, blocks=blocks, positions="last", keep=keep, batch_size=batch_size, progress=progress
        )

    instructed = side([pair.instructed for pair in pairs])
    plain = side([pair.plain for pair in pairs])
    for capture in (instructed, plain):
        finite = torch.isfinite(capture.mean).all(-1)
        if not bool(finite.all()):
            block = capture.blocks[int(finite.logical_not().nonzero()[0])]
            raise ModelError(
                f"{engine.identity.id} gives values that are not finite at block {block}; "
                "load it in bfloat16 or float32"
            )
    differences = None
    if instructed.activations is not None and plain.activations is not None:
        differences = instructed.activations - plain.activations
    return Captured(instructed.blocks, instructed.mean.double(), plain.mean.double(), differences)


def directions_of(
    captured: Captured,
    unit: Tensor,
    *,
    method: str,
    engine: Engine,
    pairs: Sequence[PromptPair],
    instruction: Instruction,
    settings: dict[str, Any] | None = None,
) -> Directions:
    """Put together what a method found.

    Mean projections are those of the means, as a projection is linear.

    Args:
        captured: What was read.
        unit: `[L, d]` float64, unit directions.
        method: The method's name.
        engine: The engine the activations came from.
        pairs: The prompt pairs.
        instruction: What the pairs add to their queries.
        settings: More to record.
    """
    difference = captured.instructed - captured.plain
    return Directions(
        name=instruction.label,
        method=method,
        instruction=instruction.to_dict(),
        model=engine.identity,
        blocks=captured.blocks,
        directions=unit.float(),
        instructed=(captured.instructed * unit).sum(-1).float(),
        plain=(captured.plain * unit).sum(-1).float(),
        difference_norm=torch.linalg.vector_norm(difference, dim=-1).float(),
        prompts=digest(pairs),
        pairs=len(pairs),
        settings=settings or {},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
