"""Whether a baked model does what the steered one does: both answer, greedily, and their logits are compared."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.baking.baked import Check
from trimtab.engines.chat import prompt_ids
from trimtab.engines.padding import left_padded
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.steering import Steering

TOKENS = 8
_ROUNDINGS = 16  # of the logits, in their dtype, that they may be apart by
_LEAST = 1e-4  # of the logits, below which nothing is told apart from rounding


@dataclass(frozen=True)
class Answers:
    """Greedy answers to a batch: token ids `[rows, steps]`, and the logits before each `[rows, steps, vocabulary]`."""

    tokens: Tensor
    logits: Tensor

    @classmethod
    def of(
        cls, engine: TransformersEngine, prompts: Sequence[Prompt], model: Any, steering: Steering | None
    ) -> Answers:
        """Have a model answer: that of the engine, which may be steered, or another with its tokenizer."""
        tokenizer = engine.tokenizer
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
        device = model.get_input_embeddings().weight.device
        ids, mask = left_padded([prompt_ids(tokenizer, prompt) for prompt in prompts], pad, device)
        steered = nullcontext() if steering is None else engine.steered(steering)
        with torch.no_grad(), steered:
            done = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=TOKENS,
                do_sample=False,
                num_beams=1,
                pad_token_id=pad,
                use_cache=True,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return cls(done.sequences[:, ids.shape[1] :].cpu(), torch.stack(done.logits, 1).float().cpu())


def compared(steered: Answers, plain: Answers, baked: Answers, dtype: torch.dtype) -> Check:
    """How far the baked model is from the steered one.

    Raises:
        ModelError: Further than rounding explains.
    """
    ours, theirs, same = _common(steered, baked)
    difference = float((ours - theirs).abs().max())
    off = float((ours - theirs).norm() / ours.norm())
    if not off <= max(_LEAST, _ROUNDINGS * torch.finfo(dtype).eps):
        raise ModelError(
            f"the baked model is not the steered one: its logits are off by {off:.2g} of their size in "
            f"{str(dtype).removeprefix('torch.')}, more than rounding explains; nothing was written. Please report the "
            "architecture"
        )
    with_effect, without, _ = _common(steered, plain)
    return Check(
        prompts=len(ours := steered.tokens),
        tokens=same,
        difference=difference,
        effect=float((with_effect - without).abs().max()),
        alike=sum(map(torch.equal, ours, baked.tokens)) if ours.shape == baked.tokens.shape else 0,
        dtype=str(dtype).removeprefix("torch."),
    )


def _common(one: Answers, other: Answers) -> tuple[Tensor, Tensor, int]:
    """The logits of both, `[steps, vocabulary]`, as long as the text before them is the same; and how many steps."""
    steps = min(one.tokens.shape[1], other.tokens.shape[1])
    alike = (one.tokens[:, :steps] == other.tokens[:, :steps]).long().cumprod(1).bool()
    before = torch.cat([torch.ones(len(alike), 1, dtype=torch.bool), alike[:, :-1]], 1)
    return one.logits[:, :steps][before], other.logits[:, :steps][before], int(before.sum())
