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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.learn.captured import Captured, directions_by
from trimtab.learn.directions import Directions
from trimtab.progress import Progress

if TYPE_CHECKING:
    from trimtab.engines.base import Model
    from trimtab.instructions import Instruction
    from trimtab.prompts.pairs import PromptPair


def pca(
    model: Model,
    pairs: Sequence[PromptPair],
    instruction: Instruction | str | None = None,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: Progress = False,
) -> Directions:
    """Learn one direction per block as the first principal component of the pairs' differences.

    Keeps the differences of all pairs: `N * L * d` float32 numbers, for the moment of the call. Arguments and errors
    are those of `mean_difference`.

    Returns:
        Unit directions `[L, d]` with both mean projections. `settings["explained"]` has, per block, the share of the
        differences' squared length that lies along the direction, in [0, 1].
    """
    return directions_by(
        _main_axes,
        model,
        pairs,
        instruction,
        method="pca",
        blocks=blocks,
        keep=True,
        batch_size=batch_size,
        progress=progress,
    )


def _main_axes(captured: Captured) -> tuple[Tensor, dict[str, Any]]:
    # Block by block: float64 copies of all at once would be large.
    found = [first_component(captured.differences[:, row].double()) for row in range(len(captured.blocks))]
    axes = torch.stack([axis for axis, _ in found])
    return axes, {"explained": [round(share, 6) for _, share in found]}


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
