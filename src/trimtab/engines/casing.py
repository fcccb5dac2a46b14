"""What a constraint forbids, said in the other case: for constraints on the case of letters.

A model that may write no capital letter would mostly begin with "The". With such tokens only struck out, the likeliest
of what is left is seldom the beginning of the same answer: a number, a quotation mark. So the probability of a
forbidden token goes to the same text in the other case, where that may stand (to the first token of it, where it has
several), and the model says what it would have said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class OtherCase:
    """The tokens of a vocabulary in lower and in upper case.

    Args:
        tokenizer: The model's tokenizer.
        width: How many logits the model gives, `V`.
    """

    def __init__(self, tokenizer: Any, width: int) -> None:
        texts = tokenizer.batch_decode([[token] for token in range(min(width, len(tokenizer)))])
        self._ways = [_way(tokenizer, texts, change) for change in (str.lower, str.upper)]

    def moved(self, probabilities: Tensor, may: Tensor) -> Tensor:
        """Probabilities of the tokens that may stand, with those of others in their other case added; not renormalised.

        Args:
            probabilities: `[n, V]`.
            may: Bool `[n, V]`, the tokens that may stand.
        """
        found = probabilities.masked_fill(~may, 0.0)
        left = probabilities.masked_fill(may, 0.0)
        moving = ~may.all(0)  # few constraints forbid more than a small part of the vocabulary
        for ours, theirs in self._ways:
            ours, theirs = ours.to(may.device), theirs.to(may.device)
            some = moving[ours]
            ours, theirs = ours[some], theirs[some]
            part = left[:, ours] * may[:, theirs]
            found = found.index_add(1, theirs, part)
            left = left.index_add(1, ours, -part)
        return found


def _way(tokenizer: Any, texts: list[str], change: Callable[[str], str]) -> tuple[Tensor, Tensor]:
    """The tokens that the change changes, and the first token of what each becomes."""
    changed = [
        (token, change(text))
        for token, text in enumerate(texts)
        if change(text) != text and "\ufffd" not in text  # half a letter has no case
    ]
    if not changed:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    ids = tokenizer([text for _, text in changed], add_special_tokens=False)["input_ids"]
    pairs = [(token, own[0]) for (token, _), own in zip(changed, ids, strict=True) if own]
    return torch.tensor([token for token, _ in pairs]), torch.tensor([first for _, first in pairs])
