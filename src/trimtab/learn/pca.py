"""PCA: the main axis of the differences between instructed and plain prompts.

At every block, with D [N, d] the difference (instructed minus plain) of each pair at the last prompt token,

    u = argmax over |u| = 1 of |D u|,   the first right singular vector of D,

its sign chosen so that instructed prompts project higher. After A. Zou et al.: Representation Engineering: A Top-Down
Approach to AI Transparency, 2023, section 3.1.

D is **not centred**. What all pairs have in common is the instruction's effect, and centring would remove just that
and leave what differs between the queries. (Representation engineering gives each difference a random sign before it
centres, which comes to the same as not centring.) Against the mean difference, a few pairs with long differences count
more here, and noise that points everywhere counts less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab.errors import ModelError
from trimtab.learn.captured import capture_pairs, directions_of
from trimtab.learn.directions import Directions, oriented

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.progress import Progress
    from trimtab.prompts.pairs import PromptPair


def pca(
    engine: Engine,
    pairs: Sequence[PromptPair],
    instruction: Instruction,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Progress = False,
) -> Directions:
    """Learn one direction per block as the first principal component of the pairs' differences.

    Keeps the differences of all pairs: `N * L * d` float32 numbers, for the moment of the call.

    Args:
        engine: The model.
        pairs: Prompt pairs of the instruction, from `prompts.make_pairs`.
        instruction: The instruction the pairs add.
        blocks: Which blocks; all by default.
        batch_size: Prompts per batch; the engine chooses by default.
        progress: See `trimtab.progress.Progress`.

    Returns:
        Unit directions `[L, d]` with both mean projections. `settings["explained"]` has, per block, the share of the
        differences' squared length that lies along the direction, in [0, 1].

    Raises:
        PromptError: There are no pairs.
        ModelError: There is no such block, or the model's activations are not finite.
    """
    captured = capture_pairs(
        engine, pairs, blocks=blocks, keep=True, batch_size=batch_size, progress=progress
    )
    differences = captured.differences
    if differences is None:
        raise ModelError(
            f"the engine of {engine.identity.id} kept no activations; use mean_difference with it"
        )
    axes, explained = [], []
    for row in range(len(captured.blocks)):  # block by block: float64 copies of all at once would be large
        axis, share = first_component(differences[:, row].double())
        axes.append(axis)
        explained.append(round(share, 6))
    return directions_of(
        captured,
        oriented(torch.stack(axes), captured.instructed - captured.plain),
        method="pca",
        engine=engine,
        pairs=pairs,
        instruction=instruction,
        settings={"explained": explained},
    )


def first_component(differences: Tensor) -> tuple[Tensor, float]:
    """The first right singular vector of `[N, d]`, and its share of the squared length of all rows.

    Works on the smaller of the two Gram matrices. Its sign is arbitrary. Zeros give zeros.
    """
    count, width = differences.shape
    total = float(differences.square().sum())
    if total == 0:
        return differences.new_zeros(width), 0.0
    if count <= width:
        values, vectors = torch.linalg.eigh(differences @ differences.T)
        axis = differences.T @ vectors[:, -1]
        axis = axis / torch.linalg.vector_norm(axis)
    else:
        values, vectors = torch.linalg.eigh(differences.T @ differences)
        axis = vectors[:, -1]
    return axis, min(1.0, float(values[-1]) / total)
