"""Logistic regression with a ridge, for few examples: what calibrates a judge's log-odds, and what a probe is.

The weights minimise, over the examples x with labels y of +1 or -1,

    mean(log(1 + exp(-y (w.x + b)))) + ridge/2 |w|^2

after every feature is brought to mean 0 and variance 1, so that the ridge means the same for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.05
_STEPS = 100


@dataclass(frozen=True)
class Logistic:
    """A fitted regression.

    Attributes:
        weights: `[d]` float64, for features as they are.
        bias: What is added.
    """

    weights: Tensor
    bias: float

    def odds(self, features: Tensor) -> Tensor:
        """Log-odds in nats, `[n]` float64, of features `[n, d]`."""
        return features.double() @ self.weights + self.bias


def fit(features: Tensor, labels: Tensor, ridge: float = RIDGE) -> Logistic:
    """Fits a regression.

    Args:
        features: `[n, d]`, finite.
        labels: `[n]` bool, with both values.
        ridge: Weight of the penalty; above 0, so that the weights are finite where the sides are apart.

    Raises:
        ValueError: All labels are the same.
    """
    if labels.all() or not labels.any():
        raise ValueError("examples of both sides are needed")
    raw = features.double()
    centre, scale = raw.mean(0), raw.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x, y = (raw - centre) / scale, labels.double() * 2 - 1
    weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (
            torch.nn.functional.softplus(-y * (x @ weights + bias)).mean()
            + ridge / 2 * weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    own = weights.detach() / scale
    return Logistic(own, float(bias.detach() - own @ centre))


def left_out(features: Tensor, labels: Tensor, ridge: float = RIDGE) -> Tensor:
    """Log-odds `[n]` of each example by the regression that was fitted to all others.

    Raises:
        ValueError: There are fewer than two examples of a side.
    """
    found = []
    for row in range(len(labels)):
        others = torch.arange(len(labels)) != row
        found.append(fit(features[others], labels[others], ridge).odds(features[row : row + 1])[0])
    return torch.stack(found)
