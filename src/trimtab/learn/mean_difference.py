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

from trimtab.learn.captured import directions_by
from trimtab.learn.directions import Directions
from trimtab.progress import Progress

if TYPE_CHECKING:
    from trimtab.engines.base import Model
    from trimtab.instructions import Instruction
    from trimtab.prompts.pairs import PromptPair


def mean_difference(
    model: Model,
    pairs: Sequence[PromptPair],
    instruction: Instruction | str | None = None,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Progress = False,
) -> Directions:
    """Learn one direction per block as the difference of means.

    Memory does not grow with the number of pairs.

    Args:
        model: An engine, or a model of transformers with its tokenizer: `(model, tokenizer)`.
        pairs: Prompt pairs: of an instruction, from `prompts.make_pairs`, or of any two ways to ask.
        instruction: The instruction the pairs add, or its spelling; None where they stand for none that has a name.
        blocks: Which blocks; all by default.
        batch_size: Prompts per batch; the engine chooses by default.
        progress: See `trimtab.progress.Progress`.

    Returns:
        Unit directions `[L, d]` with both mean projections. `instructed - plain` is the norm of the difference.

    Raises:
        PromptError: There are no pairs.
        InstructionError: There is no such instruction.
        ModelError: There is no such block, or the model's activations are not finite.
    """
    return directions_by(
        lambda captured: (captured.difference, {}),
        model,
        pairs,
        instruction,
        method="mean_difference",
        blocks=blocks,
        keep=False,
        batch_size=batch_size,
        progress=progress,
    )
