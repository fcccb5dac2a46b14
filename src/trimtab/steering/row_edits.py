"""The edits of each row of a batch, as the tables of blocks by which they act."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.errors import ModelError
from trimtab.steering.edits import Edit, EditTable
from trimtab.steering.phases import times


class RowEdits:
    """The edits of each row of a batch, in tables that are made at their first use.

    Attributes:
        blocks: The blocks edited.
        is_scoped: Whether some act on the prompt's or the generated tokens alone, or on the answer alone.
        is_for_answers: Whether some act on the answer alone.
    """

    def __init__(self, rows: list[Sequence[Edit]]) -> None:
        self._rows = rows
        edits = [edit for row in rows for edit in row if not edit.is_nothing]
        self.blocks = tuple(sorted({edit.block for edit in edits}))
        self.is_scoped = any(edit.tokens != "all" for edit in edits)
        self.is_for_answers = any(edit.tokens == "answer" for edit in edits)
        self._tables: dict[tuple[int, torch.device, torch.dtype], EditTable] = {}
        self._repeated: dict[tuple[int, int], EditTable] = {}

    def union(self, other: RowEdits) -> RowEdits:
        """The edits of both, row by row; where one has fewer rows, each of them serves several in a row."""
        if not (self.blocks and other.blocks):
            return self if self.blocks else other
        rows = math.lcm(len(self._rows), len(other._rows))
        mine, theirs = rows // len(self._rows), rows // len(other._rows)
        return RowEdits([(*self._rows[row // mine], *other._rows[row // theirs]) for row in range(rows)])

    def table(self, block: int, hidden: Tensor) -> EditTable:
        """The table for a block's output. Only then its device is known for certain."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        key = (block, hidden.device, dtype)
        if key not in self._tables:
            # Gradients may pass later, whoever uses it first.
            with torch.inference_mode(False), torch.no_grad():
                self._tables[key] = self._make(block, hidden, dtype)
        table = self._tables[key]
        if table.rows in (1, len(hidden)):
            return table
        again = (id(table), len(hidden))
        if again not in self._repeated:
            with torch.inference_mode(False), torch.no_grad():
                self._repeated[again] = table.repeated(times(len(hidden), table.rows))
        return self._repeated[again]

    def _make(self, block: int, hidden: Tensor, dtype: torch.dtype) -> EditTable:
        rows = [[edit for edit in row if edit.block == block] for row in self._rows]
        width = next(edit.width for row in rows for edit in row)
        if width != hidden.shape[-1]:
            raise ModelError(f"an edit of block {block} has width {width}, the model {hidden.shape[-1]}")
        return EditTable(rows, dtype=dtype, device=hidden.device)
