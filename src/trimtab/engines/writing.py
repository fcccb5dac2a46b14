"""Answers to a list of prompts, in padded batches by `generate` of transformers: samples, beams, and the like.

Greedy answers are written by the running batch where that gives the same; see `trimtab.engines.continuous.writing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.engines.batching import run_batches
from trimtab.engines.constraining import Start, held
from trimtab.engines.decoding import Settings, Writer, Written
from trimtab.engines.finite import cause_named
from trimtab.engines.randomness import Randomness
from trimtab.progress import Tell
from trimtab.steering.edits import Edit

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

STAGE = "writing"
"""What progress calls it."""


def writer_of(engine: TransformersEngine) -> Writer:
    """What writes batches on the model of an engine."""
    return Writer(engine.model, engine.decoder_blocks, engine.special_tokens, engine.device, engine.thoughts)


def write(
    engine: TransformersEngine,
    prompts: Sequence[Sequence[int]],
    edits: Sequence[Sequence[Edit]],
    starts: Sequence[Start | None],
    settings: Settings,
    random: Randomness,
    batches: list[list[int]],
    tell: Tell,
) -> list[list[Written]]:
    """The answers to each prompt, given as token ids.

    Args:
        engine: What runs the model.
        prompts: The prompts.
        edits: What steers each.
        starts: What holds the answers to each; None where nothing does.
        settings: How they are written.
        random: What is drawn from.
        batches: The numbers of the prompts of each batch.
        tell: Told how far it is.

    Raises:
        ModelError: The model gives values that are not finite, or memory does not suffice for a prompt.
    """
    writer = writer_of(engine)
    found: dict[int, list[Written]] = {}

    def told(tokens: int) -> None:
        tell(STAGE, len(found), len(prompts), f"token {tokens} of {settings.max_new_tokens}")

    def run(batch: list[int]) -> list[list[Written]]:
        own = [edits[row] for row in batch]
        hold = held(engine.matchers, [starts[row] for row in batch], settings.num_return_sequences)
        with engine.lock, random(), cause_named(engine, batch, own):
            return writer.write([prompts[row] for row in batch], own, settings, hold, told)

    for batch, responses in run_batches(batches, run, progress=tell, stage=STAGE):
        found.update(zip(batch, responses, strict=True))
    return [found[row] for row in range(len(prompts))]
