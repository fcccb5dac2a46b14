"""Streaming statistics of block outputs: sums in float64, one vector per block, however many prompts pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.engines.base import Capture, Positions
from trimtab.errors import ModelError


class CaptureStatistics:
    """Adds up block outputs batch by batch; `directions` and `keep` as in `Engine.capture`."""

    def __init__(
        self,
        blocks: Sequence[int],
        total_blocks: int,
        width: int,
        directions: Tensor | None = None,
        keep: bool = False,
    ) -> None:
        self._blocks = tuple(blocks)
        self._width = width
        self._directions = None
        if directions is not None:
            directions = arguments.instance(directions, "directions", Tensor, "a tensor, or None", ModelError)
            each = directions.detach().float()
            each = each[:, None] if each.dim() == 2 else each
            fits = (
                each.dim() == 3 and each.shape[2] == width and len(each) in (total_blocks, len(self._blocks))
            )
            if not fits:
                raise ModelError(
                    f"directions have shape {tuple(directions.shape)}; for {len(self._blocks)} of {total_blocks} "
                    f"blocks of width {width} they must be [blocks, {width}] or [blocks, k, {width}]"
                )
            self._directions = each[list(self._blocks)] if len(each) == total_blocks else each
        self._keep = arguments.flag(keep, "keep", ModelError)
        self._count = 0
        self._sums: dict[int, Tensor] = {}
        self._squares: dict[int, Tensor] = {}
        self._kept: dict[int, dict[int, Tensor]] = {block: {} for block in self._blocks} if keep else {}

    @property
    def directions(self) -> Tensor | None:
        """The directions of the blocks that are read, `[B, k, d]`, or None."""
        return self._directions

    def add(self, block: int, vectors: Tensor, rows: Sequence[int], counts: Sequence[int]) -> None:
        """Takes in what was read of one block in one batch: `[n, d]`, the vectors of its rows in turn.

        `rows` says which prompts the rows are, `counts` how many of the `n` vectors belong to each.
        """
        vectors = vectors.detach().float()
        exact = torch.float32 if vectors.device.type == "mps" else torch.float64  # mps has no float64
        self._accumulate(self._sums, block, vectors.sum(0, dtype=exact))
        if self._directions is not None:
            along = self._directions[self._blocks.index(block)].to(vectors.device)
            self._accumulate(self._squares, block, (vectors @ along.T).square().sum(0, dtype=exact))
        if self._keep:
            for row, part in zip(rows, torch.split(vectors.cpu(), list(counts)), strict=True):
                self._kept[block][row] = part.clone()  # a view would keep its whole batch alive
        if block == self._blocks[0]:
            self._count += len(vectors)

    def empty(self) -> CaptureStatistics:
        """Statistics of the same kind over nothing, for one batch that may fail before it is through."""
        other = copy.copy(self)
        other._count, other._sums, other._squares = 0, {}, {}
        other._kept = {block: {} for block in self._kept}
        return other

    def merge(self, other: CaptureStatistics) -> None:
        """Takes in everything that `other` has."""
        self._count += other._count
        for block, value in other._sums.items():
            self._accumulate(self._sums, block, value)
        for block, value in other._squares.items():
            self._accumulate(self._squares, block, value)
        for block, rows in other._kept.items():
            self._kept[block] |= rows

    @staticmethod
    def _accumulate(sums: dict[int, Tensor], block: int, value: Tensor) -> None:
        sums[block] = sums[block] + value if block in sums else value

    def result(self) -> Capture:
        """The statistics of everything added."""

        def mean(sums: dict[int, Tensor]) -> Tensor:
            return torch.stack([(sums[block].cpu().double() / self._count).float() for block in self._blocks])

        activations = None
        if self._keep:
            by_block = [torch.cat([part for _, part in sorted(self._kept[b].items())]) for b in self._blocks]
            activations = torch.stack(by_block, dim=1)
        return Capture(
            blocks=self._blocks,
            count=self._count,
            mean=mean(self._sums),
            second_moment=mean(self._squares) if self._directions is not None else None,
            activations=activations,
        )


def pooled(parts: Sequence[Capture]) -> Capture:
    """One capture of the same blocks over different prompts, in order."""
    if len(parts) == 1:
        return parts[0]
    count = sum(part.count for part in parts)

    def mean(each: Sequence[Tensor]) -> Tensor:
        total = sum(value.double() * part.count for value, part in zip(each, parts, strict=True))
        return (torch.as_tensor(total) / count).float()

    squares = [part.second_moment for part in parts if part.second_moment is not None]
    kept = [part.activations for part in parts if part.activations is not None]
    return Capture(
        parts[0].blocks,
        count,
        mean([part.mean for part in parts]),
        mean(squares) if squares else None,
        torch.cat(kept) if kept else None,
    )


def picked(hidden: Tensor, mask: Tensor, positions: Positions) -> Tensor:
    """The vectors wanted, `[n, d]`, row after row, of left-padded `[rows, tokens, d]`."""
    if positions == "all":
        return hidden[mask]
    if positions == "mean":
        kept = torch.where(mask[..., None], hidden.float(), 0.0)  # padding can hold anything, nan too
        return kept.sum(1) / mask.sum(1, keepdim=True)
    if positions == "last":
        return hidden[:, -1]
    if isinstance(positions, int) and positions >= 0:
        columns = hidden.shape[1] - mask.sum(1) + positions
        return hidden[torch.arange(len(hidden), device=hidden.device), columns]
    return hidden[:, int(positions)]
