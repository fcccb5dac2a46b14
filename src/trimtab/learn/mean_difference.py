"""Mean difference: the direction from plain to instructed prompts.

At every block, with h the block's output at the last prompt token,

    v = mean(h of instructed) - mean(h of plain),    u = v / |v|

and the mean projections on u of both sides, from which the set projection takes its target. From A. Stolfo,
V. Balachandran, S. Yousefi, E. Horvitz, B. Nushi: Improving Instruction-Following in Language Models through Activation
Steering, ICLR 2025, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.learn.captured import capture_pairs, directions_of
from trimtab.learn.directions import Directions, oriented

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.progress import Progress
    from trimtab.prompts.pairs import PromptPair


def mean_difference(
    engine: Engine,
    pairs: Sequence[PromptPair],
    instruction: Instruction,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Progress = False,
) -> Directions:
    """Learn one direction per block as the difference of means.

    Memory does not grow with the number of pairs.

    Args:
        engine: The model.
        pairs: Prompt pairs of the instruction, from `prompts.make_pairs`.
        instruction: The instruction the pairs add.
        blocks: Which blocks; all by default.
        batch_size: Prompts per batch; the engine chooses by default.
        progress: See `trimtab.progress.Progress`.

    Returns:
        Unit directions `[L, d]` with both mean projections. `instructed - plain` is the norm of the difference.

    Raises:
        PromptError: There are no pairs.
        ModelError: There is no such block, or the model's activations are not finite.
    """
    captured = capture_pairs(
        engine, pairs, blocks=blocks, keep=False, batch_size=batch_size, progress=progress
    )
    difference = captured.instructed - captured.plain
    return directions_of(
        captured,
        oriented(difference, difference),
        method="mean_difference",
        engine=engine,
        pairs=pairs,
        instruction=instruction,
    )
