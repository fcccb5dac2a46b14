"""The steering that only adds vectors and is nearest to another one: what files that cannot say gates are given.

A gated edit adds `(alpha + <p, h>) u`, which differs from token to token. Of all vectors the mean of what it adds is
nearest to it in the least squares over tokens: `(alpha + mean <p, h>) u`. What is lost is the rest, as a share of the
mean square

    1 - |mean x|^2 / mean |x|^2        x [d]: what the edits of a block add at a token

The tokens are those of given prompts and of the steered answers to them, read under the steering; but for the first
token of each, where many models keep a state unlike any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.engines import as_engine
from trimtab.engines.chat import prompt_ids
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.blocks import hidden_of
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Steering, given

if TYPE_CHECKING:
    from trimtab.engines.base import Model, Prompt

__all__ = ["Nearest", "nearest_added"]


@dataclass(frozen=True)
class Nearest:
    """A steering that only adds vectors, and what it loses.

    Attributes:
        steering: It: one added vector for each block, at all tokens of all prompts.
        lost: By block, the share of the mean square of what was added that a vector cannot say, from 0 (it was one) to
            1 (its mean is 0).
        tokens: How many tokens that was measured on.
    """

    steering: Steering
    lost: dict[int, float]
    tokens: int


def nearest_added(
    model: Model,
    steering: Steering,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 64,
    batch_size: int | None = None,
) -> Nearest:
    """The vectors nearest to what a steering adds, on some prompts and its answers to them.

    Edits of some tokens alone are averaged over those, and become edits of all; a `when` is left out.

    Args:
        model: The model, run by transformers.
        steering: The steering.
        prompts: What it shall act on.
        max_new_tokens: The longest answer, in tokens.
        batch_size: Prompts per batch of answers; None chooses.

    Raises:
        SteeringError: It changes nothing, or is for another model.
        ModelError: The engine gives no access to the model.
    """
    engine: Any = as_engine(model)
    if not hasattr(engine, "steered"):
        raise ModelError(
            f"a {type(engine).__name__} does not let its activations be read under a steering; use transformers"
        )
    always = given(steering).always()
    by_block = {
        block: [edit for edit in always.edits if edit.block == block and not edit.is_nothing]
        for block in always.blocks
    }
    sums = {block: _Sums(edits) for block, edits in by_block.items() if edits}
    if not sums:
        raise SteeringError(f"the steering '{steering.name}' changes nothing; there is nothing to be near to")
    answers = engine.generate(prompts, steering=always, max_new_tokens=max_new_tokens, batch_size=batch_size)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = prompt_ids(engine.tokenizer, prompt)
        row = torch.tensor([[*ids, *answer.token_ids]], device=engine.device)
        generated = torch.arange(row.shape[1]) >= len(ids)
        with torch.no_grad(), _reading(engine, sums, generated, always, len(ids)):
            engine.model(input_ids=row, use_cache=False)
    edits = [Edit.add(block, one.mean()) for block, one in sums.items()]
    lost = {block: one.lost() for block, one in sums.items()}
    settings = {
        **steering.record.settings,
        "nearest_added": {str(block): share for block, share in lost.items()},
    }
    record = dataclasses.replace(steering.record, settings=settings, measurements={})
    return Nearest(
        dataclasses.replace(steering, edits=tuple(edits), record=record),
        lost,
        max(one.tokens for one in sums.values()),
    )


class _Sums:
    """What the edits of one block add, summed over tokens."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.scopes = {edit.tokens for edit in edits}
        self.total = torch.zeros(edits[0].width, dtype=torch.float64)
        self.square, self.tokens = 0.0, 0

    def add(self, before: Tensor, after: Tensor, generated: Tensor) -> None:
        """Takes in the block's output `[tokens, d]` before and after the edits; `generated` bool `[tokens]`."""
        added = after.cpu().double() - before.cpu().double()
        acts = torch.zeros_like(generated)
        for scope in self.scopes:
            if scope == "all":
                acts[:] = True
            elif scope == "prompt":
                acts |= ~generated
            elif scope == "generated":
                acts |= generated
            else:  # of what was written, the answer: where something was added
                acts |= generated & added.any(-1)
        acts[0] = False
        added = added[acts]
        self.total += added.sum(0)
        self.square += float(added.square().sum())
        self.tokens += len(added)

    def mean(self) -> Tensor:
        """The nearest vector, `[d]`."""
        return (self.total / max(self.tokens, 1)).float()

    def lost(self) -> float:
        """The share that it does not say."""
        if self.square == 0:
            return 0.0
        return min(1.0, max(0.0, 1 - float(self.total.square().sum()) / self.tokens / self.square))


@contextmanager
def _reading(
    engine: Any, sums: dict[int, _Sums], generated: Tensor, steering: Steering, length: int
) -> Iterator[None]:
    """Steers, and reads block outputs before and after the edits: hooks run in the order in which they are put on."""
    before: dict[int, Tensor] = {}
    handles = []

    def keep(block: int) -> Any:
        return lambda module, inputs, output: before.update({block: hidden_of(output)[0].detach().clone()})

    def compare(block: int) -> Any:
        return lambda module, inputs, output: sums[block].add(
            before.pop(block), hidden_of(output)[0].detach(), generated
        )

    blocks = engine.decoder_blocks.blocks
    try:
        handles += [blocks[block].register_forward_hook(keep(block)) for block in sums]
        with engine.steered(steering, prompt_lengths=length):
            handles += [blocks[block].register_forward_hook(compare(block)) for block in sums]
            yield
    finally:
        for handle in handles:
            handle.remove()
