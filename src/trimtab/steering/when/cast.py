"""What CAST itself compares, for conditions that come from there or go there.

From B. W. Lee et al.: Programming Refusal with Conditional Activation Steering (CAST), arXiv 2409.05907, and its code,
github.com/IBM/activation-steering.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.steering.when.resembles import Resembles


@dataclass(frozen=True, eq=False)
class Cast(Resembles):
    """The prompt's activations are near the tanh of their projection: `cos(h, tanh(<c, h> c)) > threshold`.

    `h` is as of `Resembles`, and `c` is the direction. Of which sign it is changes nothing: while `<c, h> c` is small,
    this is the size of the cosine. To act below the threshold, turn it round: `~Cast(...)`.
    """

    kind = "cast"

    def score(self, hidden: Tensor) -> float:
        """The cosine between a block output `[d]` and the tanh of its projection on the direction; 0 for no output.

        Raises:
            SteeringError: The output is not finite.
        """
        super().score(hidden)
        state = hidden.detach().to("cpu", torch.float64)
        return float(cast_scores(state[None], self.direction.double())[0])

    def describe(self) -> str:
        """Block, tokens and threshold, and what was measured."""
        return (
            super()
            .describe()
            .replace("has cosine >", "has a cosine with the tanh of its projection (CAST) >")
            .replace(" with a learned direction", "")
        )


def cast_scores(hidden: Tensor, direction: Tensor) -> Tensor:
    """The cosines `[N]` between states `[N, d]` and the tanh of their projections on a unit direction `[d]`."""
    projected = torch.tanh((hidden @ direction)[:, None] * direction)
    norms = torch.linalg.vector_norm(hidden, dim=-1) * torch.linalg.vector_norm(projected, dim=-1)
    found: Tensor = (hidden * projected).sum(-1) / norms.clamp_min(torch.finfo(hidden.dtype).tiny)
    return found
