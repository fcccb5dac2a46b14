"""A format over the tokens of a vocabulary, as tensors: many rows are followed at once, on any device, without waiting.

Tokens that do the same to every node are one class. Following a text is then one look-up for each token; a stretch of
them is followed by doubling, since what tokens do one after the other is again a map from node to node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.thoughts.marks import Marks, Node


@dataclass(frozen=True, eq=False)
class TokenTable:
    """What each token does to where a text stands.

    Attributes:
        nodes: The number of each node.
        classes: int64 `[V + 1]`, the class of each token; the last is that of tokens without text.
        step: int64 `[C, N]`, the node to which tokens of a class lead from each node.
        is_answer: bool `[N]`, whether text there is of the answer.
    """

    nodes: dict[Node, int]
    classes: Tensor
    step: Tensor
    is_answer: Tensor

    @classmethod
    def of(cls, marks: Marks, pieces: Sequence[bytes]) -> TokenTable:
        """That of a format for tokens that spell these bytes."""
        different = _different(marks, pieces)
        nodes = {Node(part): number for number, part in enumerate(marks.kinds)}
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            for piece in different:
                after = marks.run(node, piece)
                if after not in nodes:
                    nodes[after] = len(nodes)
                    waiting.append(after)
        signatures: dict[tuple[int, ...], int] = {}
        by_piece: dict[bytes, int] = {}
        for piece in different:
            signature = tuple(nodes[marks.run(node, piece)] for node in nodes)
            by_piece[piece] = signatures.setdefault(signature, len(signatures))
        common, space, nothing = (by_piece[piece] for piece in (_COMMON, _SPACE, b""))
        classes = [by_piece.get(piece, space if piece.isspace() else common) for piece in (*pieces, b"")]
        classes[-1] = nothing
        return cls(
            nodes,
            torch.tensor(classes),
            torch.tensor(list(signatures)),
            torch.tensor([marks.is_answer(node) for node in nodes]),
        )

    def number(self, node: Node) -> int:
        """The number of a node; behind a prompt, it may be one to which no tokens lead but those."""
        return self.nodes.get(node, self.nodes[Node(node.part)])

    def to(self, device: torch.device) -> TokenTable:
        """The same on a device."""
        if self.step.device == device:
            return self
        return TokenTable(
            self.nodes, self.classes.to(device), self.step.to(device), self.is_answer.to(device)
        )

    def follow(self, tokens: Tensor, before: Tensor, first: Tensor, longest: int) -> Tensor:
        """The node after each token of several texts, one behind the other.

        Args:
            tokens: int `[n]`, token ids.
            before: int64 `[n]`, where each text stands before it, at its first token; elsewhere anything that is one.
            first: bool `[n]`, true at the first token of each text.
            longest: The most tokens that one of them has, or more.
        """
        last = len(self.classes) - 1
        number = torch.where((tokens >= 0) & (tokens < last), tokens, last).long()
        maps = self.step[self.classes[number]]  # [n, N]
        # The first token leads from one known node: its map is constant, and so is all that follows it.
        maps = torch.where(first[:, None], maps.gather(1, before[:, None]), maps)
        distance = 1
        while distance < longest:
            maps = torch.cat([maps[:distance], maps[distance:].gather(1, maps[:-distance])])
            distance *= 2
        return maps[:, 0]


_COMMON, _SPACE = b"\x00", b" "
"""A text that is in no mark, and white space: most tokens do what one of these does."""


def _different(marks: Marks, pieces: Sequence[bytes]) -> list[bytes]:
    """The texts of tokens that may do more than any text would: those that have part of a mark at an edge."""
    texts = marks.texts
    endings = {mark[start:] for mark in texts for start in range(len(mark))}
    within = {ending[:end] for ending in endings for end in range(1, len(ending) + 1)}
    first = {mark[:1] for mark in texts}
    lengths = sorted({len(ending) for ending in endings})
    found = {b"": None, _COMMON: None, _SPACE: None}
    for piece in pieces:
        if (
            piece in within
            or any(piece[:length] in endings for length in lengths)
            or any(byte in piece for byte in first)
        ):
            found[piece] = None
    return list(found)
