"""Where answers begin in the requests that run: the tokens of an answer are moved to the next row of the table.

With asynchronous scheduling the token that a step reads is known on the device alone. So it is followed there: by the
token table of the thought format (`trimtab.thoughts.tables`), without waiting for anything. Between two steps the last
nodes of each request are kept, as many as a step may write: of drafts that are refused, the nodes are overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trimtab.thoughts import Reader
from trimtab.thoughts.marks import Node


@dataclass(eq=False)
class _Followed:
    number: int
    end: int  # tokens of its prompt
    prompt: int  # the node behind that
    known: list[int]  # the nodes behind the tokens that were written before it was admitted


class AnswerFollower:
    """Follows the requests of one worker whose answers are steered in another way than their thoughts.

    Args:
        reader: Tells the model's answers from its thoughts.
        requests: The most requests at once.
        drafts: The most tokens in a step that may be refused.
        device: Where the model is.
    """

    def __init__(self, reader: Reader, *, requests: int, drafts: int, device: torch.device | str) -> None:
        self._reader = reader
        self._device = torch.device(device)
        self._table = reader.table.to(self._device)
        self._kept = drafts + 1
        self._nodes = torch.zeros(requests, self._kept, dtype=torch.int64, device=self._device)
        self._free = list(range(requests))
        self._followed: dict[str, _Followed] = {}

    def admit(self, request_id: str, end: int, tokens: Sequence[int]) -> None:
        """Follows a request from now on.

        Args:
            request_id: The request.
            end: How many tokens count as its prompt.
            tokens: All that is known of its text: the prompt, and what was written before it was interrupted.
        """
        self.release(request_id)
        node = self._reader.after(tokens[:end])
        followed = _Followed(self._free.pop(), end, self._number(node), [])
        for token in tokens[end:]:
            node = self._reader.read(node, token)
            followed.known.append(self._number(node))
        self._followed[request_id] = followed

    def release(self, request_id: str) -> None:
        """Follows a request no longer; for one that is not followed, nothing."""
        followed = self._followed.pop(request_id, None)
        if followed is not None:
            self._free.append(followed.number)

    def mark(
        self,
        index: Tensor,
        request_ids: Sequence[str],
        scheduled: np.ndarray,
        computed: np.ndarray,
        ids: Tensor,
        positions: Tensor,
    ) -> None:
        """Moves the tokens of answers on by one row, in the index of a step.

        Args:
            index: int32, the row of each token of the step; changed.
            request_ids: The requests of the step, in order.
            scheduled: How many tokens it has of each.
            computed: How many came before, where the request is new to the worker; else it does not matter.
            ids: int `[>= n]`, the tokens of the step, on the device.
            positions: int `[>= n]`, where each stands in its text, on the device.
        """
        if not self._followed:
            return
        columns: list[np.ndarray] = []
        offset = longest = 0
        for request_id, count, before in zip(request_ids, scheduled.tolist(), computed.tolist(), strict=True):
            followed = self._followed.get(request_id)
            if followed is not None and count:
                self._recall(followed, before)
                places = np.arange(offset, offset + count)
                first = np.arange(count) == 0
                kept = np.arange(count) >= count - self._kept
                fixed = np.full((3, count), [[followed.number], [followed.end], [followed.prompt]])
                columns.append(np.vstack([places, *fixed, first, kept]))
                longest = max(longest, count)
            offset += count
        if not columns:
            return
        table = np.concatenate(columns, axis=1).astype(np.int64)
        place, number, end, prompt, first = self._sent(table[:5])
        which = self._sent(np.flatnonzero(table[5]))
        position = positions[place].long()
        last = self._nodes[number, (position - 1) % self._kept]
        begins = position <= end
        nodes = self._table.follow(
            ids[place], torch.where(begins, prompt, last), begins | first.bool(), longest
        )
        self._nodes[number[which], position[which] % self._kept] = nodes[which]
        answers = self._table.is_answer[nodes] & (position >= end)
        index[place] += answers.to(index.dtype)

    def _sent(self, numbers: np.ndarray) -> Tensor:
        # A fresh pinned tensor each time, since the copy of the last step may be under way.
        host = torch.from_numpy(numbers)
        if self._device.type == "cuda":
            host = host.pin_memory()
        return host.to(self._device, non_blocking=True)

    def _recall(self, followed: _Followed, before: int) -> None:
        """Puts the node behind the tokens that a new request does not compute again where its first step looks."""
        place = before - followed.end - 1
        if 0 <= place < len(followed.known):
            self._nodes[followed.number, (before - 1) % self._kept] = followed.known[place]
        if place + 1 >= len(followed.known):
            followed.known = []

    def _number(self, node: Node) -> int:
        return self._reader.table.number(node)
