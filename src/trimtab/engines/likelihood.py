"""How unlikely responses are: one forward pass over prompts and responses, the head run on the responses only."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from trimtab.engines.encoding import Scored
from trimtab.engines.finite import NotFiniteError, unsound
from trimtab.engines.padding import left_padded, position_argument
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.edits import Edit
from trimtab.steering.hooks import Steered
from trimtab.thoughts import Reader


def in_one_pass(rows: Sequence[Scored], edits: Sequence[Sequence[Edit]]) -> list[list[int]]:
    """The numbers of the rows that have an answer, in groups that one row of a batch tells of.

    One pass tells of every single token after the same text, such as yes and no; other rows are groups of their own.
    """
    groups: dict[Any, list[int]] = {}
    for number, row in enumerate(rows):
        text = (*row.before_last, *map(id, edits[number])) if row.is_one_token else number
        if any(row.counted):
            groups.setdefault(text, []).append(number)
    return list(groups.values())


class Likelihood:
    """Scores batches of responses on a causal language model of transformers; the arguments are those of `Writer`."""

    def __init__(
        self, model: Any, place: DecoderBlocks, pad: int, device: torch.device, thoughts: Reader | None = None
    ) -> None:
        self._model = model
        self._place = place
        self._pad = pad
        self._device = device
        self._thoughts = thoughts
        self._positions = position_argument(model)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def losses(
        self, groups: Sequence[Sequence[Scored]], edits: Sequence[Sequence[Edit]]
    ) -> list[list[float]]:
        """The mean negative log-likelihood of each response, in nats per token that counts.

        Args:
            groups: A row of the batch each: responses that `in_one_pass` put together.
            edits: What steers each row.

        Raises:
            NotFiniteError: The model gives logits that are not finite.
        """
        firsts = [group[0] for group in groups]
        ids, mask = left_padded([one.tokens for one in firsts], self._pad, self._device)
        steered = Steered(self._place, edits, [len(one.start) for one in firsts], thoughts=self._thoughts)
        kept = {"logits_to_keep": max(len(one.response) for one in firsts) + 1} if self._keeps else {}
        with torch.inference_mode(), steered:
            inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
            logits = self._model(**inputs, **self._positions(mask), **kept).logits
            losses, wrong, owners = [], [], []
            for row, group in enumerate(groups):
                for one in group:
                    expected = torch.tensor(one.response, device=logits.device)
                    predicted = logits[row, -len(one.response) - 1 : -1].float()
                    if not all(one.counted):
                        counted = torch.tensor(one.counted, device=logits.device)
                        predicted, expected = predicted[counted], expected[counted]
                    losses.append(torch.nn.functional.cross_entropy(predicted, expected))
                    wrong.append(unsound(predicted).any())
                    owners.append(row)
            found = torch.stack([torch.stack(losses), torch.stack(wrong).to(losses[0].dtype)]).tolist()
        if any(found[1]):
            raise NotFiniteError([row for row, bad in zip(owners, found[1], strict=True) if bad])
        values = iter(found[0])
        return [[next(values) for _ in group] for group in groups]
