"""Linear maps between the residual streams of two models, learned from prompts that both of them read.

For a block of the source model and one of the target model, with outputs s and t at the same places of the same
prompts, ridge regression finds

    t  ~  A s + c

Where both widths are the same, A is drawn towards a multiple of the identity, as befits a model and its fine-tune; else
towards 0.
An edit `h <- h + (alpha + <p, h>) u` of the source then becomes one of the target:

- what is added is a displacement, so the offset does not matter: `u' = A u`;
- the gate reads the source's state, which is `s = A^+ (t - c)` with the pseudo-inverse `A^+`. Put into `<p, s>` that is
  `<p', t> - <p', c>` with `p' = (A^+)^T p`;
- so `alpha' = alpha - <p', c>`.

Where A can be inverted, editing and mapping may change places: A applied to the edited s gives the edited t, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.engines.given import prompt_list
from trimtab.errors import ModelError, PromptError, SteeringError

if TYPE_CHECKING:
    from trimtab.engines import Engine, Model, Positions, Prompt
    from trimtab.progress import Progress
    from trimtab.steering.edits import Edit
    from trimtab.steering.record import ModelIdentity

__all__ = ["LinearMap", "fit", "target_block"]

CUTOFF = 1e-2
"""Singular values below this share of the largest count as zero in the pseudo-inverse."""


def target_block(block: int, source: int, target: int) -> int:
    """The block of another model that is as deep as this one: the same where both have as many.

    The last block's output meets the last block's output, and depth is proportional in between.

    Args:
        block: 0-based block of the source model.
        source: Number of blocks of the source model.
        target: Number of blocks of the target model.

    Returns:
        The 0-based block of the target model.
    """
    # Rounded half up by whole numbers: Python's own rounding would take 2.5 down and 3.5 up.
    return max(0, (2 * (block + 1) * target + source) // (2 * source) - 1)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """An affine map from the residual stream of one model to another's, for some blocks.

    Attributes:
        source: The model that edits come from.
        target: The model they shall act in.
        blocks: Source blocks, ascending; `L` of them.
        matrices: `[L, d_target, d_source]` float32, the A of each.
        offsets: `[L, d_target]` float32, the c of each.
        explained: Of each block, the share of the target's variance on held-out prompts that the map explains; at
            most 1, and below 0 for a map that does worse than the mean.
        prompts: How many prompts it was learned from.
    """

    source: ModelIdentity
    target: ModelIdentity
    blocks: tuple[int, ...]
    matrices: Tensor = field(repr=False)
    offsets: Tensor = field(repr=False)
    explained: tuple[float, ...]
    prompts: int = 0

    def edit(self, edit: Edit) -> Edit:
        """An edit of the source as one of the target, at the block of the same depth.

        Raises:
            SteeringError: The map was not learned for the edit's block, or the edit is of another width.
        """
        if edit.block not in self.blocks:
            known = ", ".join(map(str, self.blocks))
            raise SteeringError(f"the map was learned for the blocks {known}, not for block {edit.block}")
        row = self.blocks.index(edit.block)
        matrix, offset = self.matrices[row].double(), self.offsets[row].double()
        if edit.width != matrix.shape[1]:
            raise SteeringError(f"the map takes edits of width {matrix.shape[1]}, not {edit.width}")
        u = matrix @ edit.u.double()
        alpha, p = edit.alpha, None
        if edit.p is not None:
            gate = torch.linalg.pinv(matrix, rtol=CUTOFF).T @ edit.p.double()
            alpha, p = alpha - float(gate @ offset), gate.float()
        block = target_block(edit.block, self.source.blocks, self.target.blocks)
        return replace(edit, block=block, u=u.float(), alpha=alpha, p=p)


def fit(
    source: Model,
    target: Model,
    prompts: Sequence[Prompt],
    *,
    blocks: Sequence[int] | None = None,
    positions: Sequence[Positions] = ("last", "mean"),
    ridge: float = 0.01,
    held_out: float = 0.2,
    batch_size: int | None = None,
    progress: Progress = False,
) -> LinearMap:
    """Learn a linear map from prompts that both models read, each in its own chat template.

    The last token before the answer and the mean over the prompt can be compared whatever the tokenizers. With one
    tokenizer and one template, `positions=("all",)` gives a row for every token.

    Args:
        source: The model that edits come from.
        target: The model they shall act in.
        prompts: User messages or chats, best with instructions as well as without; the more the better.
        blocks: Blocks of the source; all by default.
        positions: Where to read; every one gives rows of its own.
        ridge: How strongly A is drawn towards that multiple of the identity (or 0), relative to the mean variance of
            the source's features. At least 0; with 0 there must be more rows than features.
        held_out: Share of the prompts on which `explained` is measured.
        batch_size: Prompts per forward pass; the engine chooses by default.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The map.

    Raises:
        PromptError: There are fewer than ten prompts.
        ModelError: There is no such block, or the models read different numbers of tokens.
        SteeringError: The ridge is negative, or the share held out leaves nothing to learn or to measure.
    """
    prompts = prompt_list(prompts)
    positions = arguments.listed(positions, "positions", "where to read", PromptError)
    arguments.number(ridge, "ridge", SteeringError, least=0, wanted="a number from 0 on")
    arguments.number(held_out, "held_out", SteeringError)
    if len(prompts) < 10:
        raise PromptError(f"a linear map needs at least ten prompts, better hundreds, not {len(prompts)}")
    aside = round(held_out * len(prompts))
    if not 0 < aside < len(prompts):
        raise SteeringError(f"of {len(prompts)} prompts a share of {held_out} cannot be held out; take 0.2")
    source, target = as_engine(source), as_engine(target)
    wanted = source.block_numbers(blocks)
    depth = source.identity.blocks, target.identity.blocks
    facing = [target_block(block, *depth) for block in wanted]

    def rows(engine: Engine, numbers: Sequence[int], part: Sequence[Prompt]) -> Tensor:
        found = []
        for place in positions:
            capture = engine.capture(
                part,
                blocks=sorted(set(numbers)),
                positions=place,
                keep=True,
                batch_size=batch_size,
                progress=progress,
            )
            if capture.activations is None:
                raise ModelError(f"{engine.identity.id} kept no activations to learn a map from")
            found.append(capture.activations[:, [capture.blocks.index(number) for number in numbers]])
        return torch.cat(found).double()

    parts = prompts[aside:], prompts[:aside]
    sides = [(rows(source, wanted, part), rows(target, facing, part)) for part in parts]
    for here, there in sides:
        if len(here) != len(there):
            raise ModelError(
                f"{source.identity.id} reads {len(here)} tokens where {target.identity.id} reads {len(there)}; "
                "compare them at the last token or by the mean"
            )
    matrices, offsets, explained = [], [], []
    for number in range(len(wanted)):
        (s, t), (s_test, t_test) = ((here[:, number], there[:, number]) for here, there in sides)
        matrix, offset = ridge_regression(s, t, ridge)
        missed = (t_test - s_test @ matrix.T - offset).square().sum()
        spread = (t_test - t.mean(0)).square().sum()
        explained.append(1.0 - float(missed / spread.clamp_min(torch.finfo(spread.dtype).tiny)))
        matrices.append(matrix.float())
        offsets.append(offset.float())
    return LinearMap(
        source.identity,
        target.identity,
        wanted,
        torch.stack(matrices),
        torch.stack(offsets),
        tuple(explained),
        len(prompts),
    )


def ridge_regression(s: Tensor, t: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The A and c for which `t ~ A s + c`, A drawn towards the best multiple of the identity if the widths are equal.

    Solves `min |T - S A^T|^2 + lambda |A - a I|^2` over centred rows as one least-squares problem, the penalty as more
    rows of it; `lambda` is `ridge` times the mean squared column of S, and `a = <S, T> / <S, S>` (0 for other widths).

    Args:
        s: `[n, d_source]` float64.
        t: `[n, d_target]` float64.
        ridge: At least 0.

    Returns:
        `[d_target, d_source]` and `[d_target]` float64.
    """
    mean_s, mean_t = s.mean(0), t.mean(0)
    centred = s - mean_s
    width = s.shape[1]
    size = float(centred.square().sum())
    prior = s.new_zeros(width, t.shape[1])
    if t.shape[1] == width and size:
        prior = torch.eye(width, dtype=s.dtype) * float((centred * (t - mean_t)).sum()) / size
    penalty = (ridge * size / width) ** 0.5
    left = torch.cat([centred, penalty * torch.eye(width, dtype=s.dtype)])
    # What is left to explain once the prior has done its part: its own penalty is then for the difference alone.
    right = torch.cat([t - mean_t - centred @ prior, s.new_zeros(width, t.shape[1])])
    matrix = (prior + torch.linalg.lstsq(left, right).solution).T
    return matrix, mean_t - matrix @ mean_s
