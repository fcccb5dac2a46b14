"""Contrast examples: the direction from texts that do not follow an instruction to texts that do.

At every block, with h the block's output, averaged over the tokens of a text that the model reads by itself (but the
first: see `trimtab.measure.texts`),

    v = mean(h of texts that follow) - mean(h of texts that do not),    u = v / |v|

No prompt says the instruction, so that the model need not know how to follow it when told. From K. Konen et al.: Style
Vectors for Steering Generative Large Language Models, Findings of EACL 2024, section 3 (activation-based vectors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab import instructions
from trimtab.errors import SteeringError
from trimtab.learn.captured import directions_between
from trimtab.learn.directions import Directions
from trimtab.progress import Progress
from trimtab.prompts.pairs import PromptPair

if TYPE_CHECKING:
    from trimtab.engines.base import Model
    from trimtab.instructions import Instruction


def contrast(
    model: Model,
    pairs: Sequence[PromptPair] = (),
    instruction: Instruction | str | None = None,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Progress = False,
) -> Directions:
    """Learn one direction per block from the contrast examples of an instruction's question.

    Args:
        model: An engine, or a model of transformers with its tokenizer: `(model, tokenizer)`.
        pairs: Not looked at: the examples take their place.
        instruction: An instruction with contrast examples, such as `formal`, or its spelling.
        blocks: Which blocks; all by default.
        batch_size: Not looked at either: texts are read one by one.
        progress: See `trimtab.progress.Progress`.

    Returns:
        Unit directions `[L, d]`, with the mean projection of both sides.

    Raises:
        SteeringError: There is no instruction, or it has no contrast examples.
        InstructionError: There is no such instruction.
        ModelError: There is no such block, or the model's activations are not finite.
    """
    wanted = None if instruction is None else instructions.resolve(instruction)
    question = None if wanted is None else wanted.question
    if question is None or not question.follows:
        raise SteeringError(
            f"{'nothing' if wanted is None else wanted.label} has no contrast examples to learn from; take an "
            "instruction that has (formal, say), give it some (follows and fails), or take another method"
        )
    return directions_between(
        model,
        question.follows,
        question.fails,
        wanted,
        method="contrast",
        blocks=blocks,
        batch_size=batch_size,
        progress=progress,
    )
