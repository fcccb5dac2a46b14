"""The way for gates in plain weights: what an edit adds is fitted as a change of the block's last projection.

The output of a block is h = r + W z: r is the residual stream before its last projection W, and z what that is given.
An edit adds

    (alpha + <p, h>) u  =  alpha u  +  u (W^T p)^T z  +  <p, r> u

The first part is a bias and the second a change of W, exactly. The third is neither: <p, r> is fitted as a function
<w, z> + c by ridge regression, over the tokens of the steered model's own answers; each counts by the size of its h,
which is what the next blocks divide by. The k edits of a block are a change of W of rank k, `u (W^T p + w)^T` each: a
LoRA that was merged. Without a bias the constants are fitted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.transformers import TransformersEngine
from trimtab.progress import Tell
from trimtab.steering.blocks import hidden_of
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Steering

_PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # in units of the features' mean square
_HELD_OUT = 5  # every so many-th answer chooses among them


@dataclass(frozen=True)
class Fit:
    """The changes of the weights.

    Attributes:
        weights: What is added to a projection's weight `[d, m]`, float64, by block.
        biases: What is added to its bias `[d]`, float64, by block; empty where it may have none.
        explained: By block and edit, the share of what was fitted that is explained, in variance, in answers held out.
        tokens: Over how many tokens it was fitted.
    """

    weights: Mapping[int, Tensor]
    biases: Mapping[int, Tensor]
    explained: Mapping[int, Sequence[float]]
    tokens: int


def refusal(edits: Sequence[Edit]) -> str | None:
    """Why edits cannot be fitted this way; None if they can."""
    for edit in edits:
        if edit.tokens != "all":
            return f"the edit of block {edit.block} acts on {edit.tokens} tokens only, and weights on all"
    return None


def fit(
    engine: TransformersEngine,
    steering: Steering,
    projection: str,
    rows: Sequence[Sequence[int]],
    *,
    with_bias: bool,
    tell: Tell,
) -> Fit:
    """Fit the edits of a steering in each of its blocks.

    Args:
        engine: The model.
        steering: What to fit.
        projection: The last projection of its blocks, as `bias.projections` finds it.
        rows: Token ids of prompts with the steered model's answers.
        with_bias: Whether constants go into a bias.
        tell: Told how far it is.
    """
    blocks = sorted({edit.block for edit in steering.edits if not edit.is_nothing})
    seen = _seen(engine, steering, projection, blocks, rows, tell)
    held_out = torch.cat(
        [torch.full((len(row),), number % _HELD_OUT == 0) for number, row in enumerate(rows)]
    )
    weights, biases, explained = {}, {}, {}
    for number, block in enumerate(blocks):
        tell("fitting", number, len(blocks))
        edits = [edit for edit in steering.edits if edit.block == block and not edit.is_nothing]
        u, p = (
            torch.stack(values).double() for values in zip(*(_vectors(edit) for edit in edits), strict=True)
        )
        alpha = torch.tensor([edit.alpha for edit in edits], dtype=torch.float64)
        given, before, size = (torch.cat(part).double() for part in seen.pop(block))
        wanted = before @ p.T + (0.0 if with_bias else alpha)
        features = torch.cat([given, torch.ones(len(given), 1)], 1) if with_bias else given
        found, shares = _ridge(features / size, wanted / size, held_out)
        factors, constants = (found[:-1], found[-1]) if with_bias else (found, torch.zeros(len(edits)))
        weight = weight_of(engine.decoder_blocks.blocks[block].get_submodule(projection)).double().cpu()
        weights[block] = u.T @ (p @ weight + factors.T)
        if with_bias:
            biases[block] = (alpha + constants) @ u
        explained[block] = shares
    tell("fitting", len(blocks), len(blocks))
    return Fit(weights, biases, explained, len(held_out))


def weight_of(projection: Any) -> Tensor:
    """The weight `[d, m]` of a projection."""
    weight: Tensor = projection.weight.detach()
    return weight.T if is_turned(projection) else weight


def is_turned(projection: Any) -> bool:
    """Whether a projection holds its weight as `[m, d]`, as GPT-2's class does."""
    return type(projection).__name__ == "Conv1D"


def _vectors(edit: Edit) -> tuple[Tensor, Tensor]:
    return edit.u, torch.zeros_like(edit.u) if edit.p is None else edit.p


@torch.no_grad()
def _seen(
    engine: TransformersEngine,
    steering: Steering,
    projection: str,
    blocks: Sequence[int],
    rows: Sequence[Sequence[int]],
    tell: Tell,
) -> dict[int, tuple[list[Tensor], list[Tensor], list[Tensor]]]:
    """By block, for each row: z `[tokens, m]`, r `[tokens, d]`, and the size of h `[tokens, 1]`."""
    found: dict[int, tuple[list[Tensor], list[Tensor], list[Tensor]]] = {
        block: ([], [], []) for block in blocks
    }
    given: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(stack: ExitStack, block: int) -> None:
        def at_projection(module: Any, args: tuple[Any, ...], output: Tensor) -> None:
            given[block] = args[0], output

        def at_block(module: Any, args: tuple[Any, ...], output: Any) -> None:
            taken, added = given.pop(block)
            found[block][0].append(taken.reshape(-1, taken.shape[-1]).float().cpu())
            hidden = hidden_of(output)[0].float().cpu()
            found[block][1].append(hidden - added.reshape(hidden.shape).float().cpu())
            found[block][2].append(hidden.pow(2).mean(-1, keepdim=True).sqrt())

        module = engine.decoder_blocks.blocks[block]
        for handle in (
            module.get_submodule(projection).register_forward_hook(at_projection),
            module.register_forward_hook(at_block),
        ):
            stack.callback(handle.remove)

    with ExitStack() as stack:
        for block in blocks:
            watch(stack, block)
        stack.enter_context(
            engine.steered(steering)
        )  # its hooks come behind ours, which see the output before edits
        for number, row in enumerate(rows):
            tell("reading", number, len(rows))
            ids = torch.tensor([list(row)], device=engine.device)
            engine.decoder_blocks.decoder(input_ids=ids, use_cache=False)
    tell("reading", len(rows), len(rows))
    return found


def _ridge(features: Tensor, wanted: Tensor, held_out: Tensor) -> tuple[Tensor, list[float]]:
    """Factors `[m, k]` by the penalty that held-out tokens like best, and the shares that it explains of theirs."""
    spread = (wanted[held_out] - wanted[held_out].mean(0)).pow(2).mean(0).clamp(min=1e-30)
    scores = [
        1 - (features[held_out] @ factors - wanted[held_out]).pow(2).mean(0) / spread
        for factors in _solved(features[~held_out], wanted[~held_out])
    ]
    best = max(range(len(scores)), key=lambda number: float(scores[number].mean()))
    return _solved(features, wanted)[best], [round(float(share), 4) for share in scores[best]]


def _solved(features: Tensor, wanted: Tensor) -> list[Tensor]:
    """The solutions for all penalties, from one decomposition of the smaller Gram matrix."""
    wide = features.shape[0] < features.shape[1]
    gram = features @ features.T if wide else features.T @ features
    values, vectors = torch.linalg.eigh(gram)
    unit = features.pow(2).sum() / features.shape[1]
    projected = vectors.T @ (wanted if wide else features.T @ wanted)
    solutions = []
    for penalty in _PENALTIES:
        solved = vectors @ (projected / (values.clamp(min=0) + penalty * unit)[:, None])
        solutions.append(features.T @ solved if wide else solved)
    return solutions
