"""How far the student is from what it is to expect, and the gradient of that.

The loss at one token is

    KL(q || s) = sum_i q_i (log q_i - log s_i)

of the target q (`targets`) and the student's distribution s. Distributions over a vocabulary are large: 900 tokens of
Gemma's 262,144 take 0.9 GB in float32, and on the way back four times that. So they are made of the logits a few
lessons at a time, and of the gradient only that by the logits is kept, in the model's dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from trimtab.learn.distillation.targets import LEAST, Targets

# Log-probabilities that are held in float32: 16 MB. For more than 32 MB, glibc goes to the system each time, which took
# a twelfth of a step of SmolLM2.
_AT_ONCE = 2**22


def divergence_of(logits: Tensor, targets: Sequence[Targets]) -> float:
    """KL(q || student) in nats: the sum over all tokens of a batch.

    Args:
        logits: `[tokens, vocabulary]`, one row for each token of the batch's answers.
        targets: Of each answer.
    """
    parts = (divergence(_log_probs(logits[rows]), some) for rows, some in _parts(logits, targets))
    return sum(float(part) for part in parts)


def loss_and_gradient(
    logits: Tensor, targets: Sequence[Targets], leak_weight: float, tokens: int
) -> tuple[float, Tensor]:
    """`divergence` per token of a step, and its gradient by the logits, which is for `logits.backward`.

    Args:
        logits: `[tokens, vocabulary]`, one row for each token of the batch's answers.
        targets: Of each answer.
        leak_weight: As of `divergence`.
        tokens: How many the whole step has, of which this may be a part.

    Returns:
        The loss in nats, and `[tokens, vocabulary]` in the dtype of the logits.
    """
    gradient, loss = torch.empty_like(logits), 0.0
    for rows, some in _parts(logits, targets):
        part = logits[rows].detach().requires_grad_()
        with torch.enable_grad():
            share = divergence(_log_probs(part), some, leak_weight) / tokens
        gradient[rows] = torch.autograd.grad(share, part)[0]
        loss += share.item()
    return loss, gradient


def _log_probs(logits: Tensor) -> Tensor:
    return logits.float().log_softmax(-1)


def _parts(logits: Tensor, targets: Sequence[Targets]) -> Iterator[tuple[slice, Sequence[Targets]]]:
    """The rows of some lessons, as many as go together, and their targets."""
    most = max(1, _AT_ONCE // logits.shape[-1])
    ends = list(accumulate(len(one.tokens) for one in targets))
    first = begin = 0
    for number, end in enumerate(ends):
        following = ends[number + 1] if number + 1 < len(ends) else None
        if following is None or following - begin > most:
            yield slice(begin, end), targets[first : number + 1]
            first, begin = number + 1, end


def divergence(log_probs: Tensor, targets: Sequence[Targets], leak_weight: float = 1.0) -> Tensor:
    """KL(q || student) in nats, a scalar: the sum over all tokens of a batch, of which `log_probs` has one row each.

    Under a constraint it is the sum of two: how the student says what may stand, and how much it says what may not,
    `-log(1 - m)` with its probability `m`. A greedy answer of a hundred tokens fails by one of them, so the second part
    may be given more weight.
    """
    device = log_probs.device
    tokens = torch.cat([one.tokens for one in targets]).to(device, torch.long)
    teacher = torch.cat([one.log_probs for one in targets]).to(device)
    rest = torch.cat([one.rest for one in targets]).to(device)
    student = log_probs.gather(-1, tokens)
    # Where the kept tokens are (nearly) all, the logarithm of what is left has no useful gradient.
    left = (1 - student.exp().sum(-1)).clamp(min=LEAST).log()
    total = (teacher.exp() * (teacher - student)).sum() + (rest.exp() * (rest - left)).sum()
    if leak_weight > 1:
        total = total + (leak_weight - 1) * leak(log_probs, targets)
    return total


def leak(log_probs: Tensor, targets: Sequence[Targets]) -> Tensor:
    """`-log(1 - m)` in nats, a scalar: the sum over the places of a batch at which something likely is forbidden."""
    from trimtab.engines.constraining import unpacked

    total = log_probs.new_zeros(())
    first = 0
    for one in targets:
        if one.leaks is not None and one.may is not None and len(one.leaks):
            rows = log_probs[first + one.leaks.to(log_probs.device)]
            may = unpacked(one.may.to(log_probs.device), log_probs.shape[-1])
            total = total - rows.masked_fill(~may, -torch.inf).logsumexp(-1).sum()
        first += len(one.tokens)
    return total
