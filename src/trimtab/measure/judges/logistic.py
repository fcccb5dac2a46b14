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
_FLAT = 1e-9


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
    # The weights are a sum of examples, so that their axes are enough, of which there are no more than examples.
    axes = torch.linalg.svd(x, full_matrices=False).Vh
    found = _minimum(torch.cat([x @ axes.T, torch.ones(len(y), 1, dtype=torch.float64)], 1), y, ridge)
    own = axes.T @ found[:-1] / scale
    return Logistic(own, float(found[-1] - own @ centre))


def _minimum(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Newton's steps, each halved until it helps; the last weight is the bias, which is not held back."""
    held = torch.full((x.shape[1],), ridge, dtype=torch.float64)
    held[-1] = 0.0

    def loss(weights: Tensor) -> float:
        return float(
            torch.nn.functional.softplus(-y * (x @ weights)).mean() + (held * weights.square()).sum() / 2
        )

    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    now = loss(weights)
    for _ in range(_STEPS):
        wrong = torch.sigmoid(-y * (x @ weights))  # probability of the other side
        slope = held * weights - x.T @ (y * wrong) / len(y)
        if float(slope.abs().max()) < _FLAT:
            break
        curve = x.T @ (x * (wrong * (1 - wrong))[:, None]) / len(y) + torch.diag(held + _FLAT)
        step = torch.linalg.solve(curve, slope)
        while (then := loss(weights - step)) > now and float(step.abs().max()) > _FLAT:
            step = step / 2
        weights, now = weights - step, min(now, then)
    return weights


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
