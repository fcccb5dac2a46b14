"""Steering a transformers model that somebody holds: whatever runs it, while a context is entered.

    with steering.on(model):
        model.generate(**inputs)

Only hooks are put on the model, and they are taken off at the end, also after an exception. So it works with every
cache, with `torch.compile` (before or inside the context), with weights that are quantised or spread over devices, in a
pipeline and in a training loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from trimtab import arguments
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.blocks import DecoderBlocks, find_decoder_blocks
from trimtab.steering.edits import Edit
from trimtab.steering.hooks import Steered
from trimtab.steering.identity import model_identity
from trimtab.steering.phases import PromptLengths, row_lengths
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering, given
from trimtab.steering.weights import weights_digest
from trimtab.thoughts import Reader, ThoughtFormat, named

Steerings = Steering | Sequence[Steering | None] | None
"""One steering for all rows of a batch, or one (or None) for each."""


def on(
    model: Any,
    steering: Steerings,
    *,
    prompt_lengths: PromptLengths | None = None,
    tokenizer: Any = None,
    decoder_blocks: str | None = None,
    allow_other_model: bool = False,
    thoughts: ThoughtFormat | str | None = None,
) -> Steered:
    """A context in which every forward pass of a transformers model, whoever runs it, is steered.

    Gradients pass through the edits. With gradient checkpointing, `backward()` belongs inside the context too. Contexts
    may be nested: their edits add up, as those of `a + b` do.

    Args:
        model: A causal language model of transformers, also a compiled or a wrapped one that still has its `config`.
        steering: One for all rows of a batch, or one (or None) for each. A batch of several times as many rows (beams,
            several sequences for each prompt) has the rows of a prompt next to each other, as `generate` does.
        prompt_lengths: For edits of the prompt's or the generated tokens alone. None goes by the key/value cache, as
            `generate` fills it. Anything else (a forward pass without a cache, a cache that was filled outside) needs
            it: the number of prompt tokens, padding not counted, of all rows or of each; or a mask `[rows, tokens]`
            that is true at them; or the tokenised prompts.
        tokenizer: Its tokenizer, for making sure that it has the chat template the steering was learned with, and for
            edits of the answer alone, which need it.
        decoder_blocks: Where the decoder blocks are (`"model.layers"`); None searches.
        allow_other_model: Take any model with the same number of blocks and the same width; also one whose weights
            were trained since the steering was learned.
        thoughts: How it marks what it thinks before it answers, for edits of the answer alone: a format or its name;
            None for the one that it is known by.

    Raises:
        SteeringError: If the model is not the steering's (by all that can be known of it: architecture, shape, weights,
            chat template), a steering acts only on some prompts, or the prompt lengths are none. The forward pass
            raises it if it is not known which tokens are the prompt's.
        ModelError: If it is no causal language model of transformers, or its decoder blocks are not found. The forward
            pass raises it if the batch does not fit the rows, or it went by the hooks.
    """
    arguments.flag(allow_other_model, "allow_other_model", SteeringError)
    place = blocks_of(model, decoder_blocks)
    rows = rows_of(steering)
    held = held_identity(model, tokenizer, place)
    for one in {id(one): one for one in rows if one is not None}.values():
        _check(one, held, tokenizer is not None, allow_other_model)
    edits, thoughts = edits_of(rows), named(thoughts)
    reader = _reader(edits, rows, tokenizer, thoughts)
    return Steered(place, edits, row_lengths(prompt_lengths), model=model, thoughts=reader)


def _reader(
    edits: Sequence[Sequence[Edit]],
    rows: Sequence[Steering | None],
    tokenizer: Any,
    thoughts: ThoughtFormat | str | None,
) -> Reader | None:
    """What tells answers from thoughts, where an edit wants to know."""
    for own, steering in zip(edits, rows, strict=True):
        if steering is not None and any(edit.tokens == "answer" for edit in own):
            if tokenizer is None:
                raise SteeringError(
                    f"the steering '{steering.name}' acts on answers alone, and only the tokenizer tells them from "
                    "thoughts; give tokenizer="
                )
            return Reader(tokenizer, thoughts)
    return None


def blocks_of(model: Any, path: str | None = None) -> DecoderBlocks:
    """The decoder blocks of what may be a model of transformers; see `find_decoder_blocks`."""
    if not isinstance(model, nn.Module) or not hasattr(getattr(model, "config", None), "get_text_config"):
        inside = " (a pipeline has its model in .model)" if hasattr(model, "model") else ""
        raise ModelError(
            f"a steering is put on a causal language model of transformers, not on {type(model).__name__}{inside}"
        )
    return find_decoder_blocks(model, path)


def rows_of(steering: Steerings) -> list[Steering | None]:
    """One steering (or None) for each row, or one that serves all."""
    if steering is None or isinstance(steering, Steering):
        return [steering]
    if isinstance(steering, str | Path):
        given(steering)
    rows = arguments.listed(steering, "steering", "steerings, one (or None) for each row", SteeringError)
    if not rows:
        raise SteeringError("there are no steerings; give one for all rows, or one (or None) for each")
    for one in rows:
        if one is not None and not isinstance(one, Steering):
            raise SteeringError(f"a steering is a Steering or None, not {type(one).__name__}")
    return rows


def edits_of(rows: Sequence[Steering | None]) -> list[Sequence[Edit]]:
    """The edits of each row."""
    for one in rows:
        if one is not None and one.whens:
            raise SteeringError(
                f"the steering '{one.name}' acts only if {one.whens[0].describe()}; apply steering.always(), or give "
                "the prompt of each row to decide that on: "
                "trimtab.TransformersEngine(model, tokenizer).steered(steering, prompts=...)"
            )
    return [() if one is None else one.edits for one in rows]


def held_identity(model: Any, tokenizer: Any = None, place: DecoderBlocks | None = None) -> ModelIdentity:
    """Which model it is that somebody holds."""
    blocks = (place or blocks_of(model)).blocks
    weights = None if model.training else weights_digest(model, blocks)  # training changes them
    return model_identity(model.config, tokenizer, blocks=len(blocks), weights=weights)


def _check(steering: Steering, held: ModelIdentity, template_known: bool, allow_other_model: bool) -> None:
    own = steering.record.model
    # A model that is held bears the name of wherever it was loaded from, which says nothing: its weights do.
    comparable = dataclasses.replace(
        held,
        id=own.id,
        revision=own.revision,
        chat_template=held.chat_template if template_known else own.chat_template,
    )
    reason = own.refusal(comparable, allow_other_model=allow_other_model)
    if reason is not None:
        raise SteeringError(
            f"the steering '{steering.name}' is for {own}, not for this model, {held}: {reason}; learn it on this model"
            + (
                ""
                if own.refusal(comparable, allow_other_model=True)
                else ", or say allow_other_model=True for another model of the same shape"
            )
        )
