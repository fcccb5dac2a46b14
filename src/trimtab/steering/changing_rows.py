"""The edits of batches whose rows change all the time: stacked once for each row, put together once for each batch.

Where rows share edits, an `EditTable` has every token look at all of them, in one pair of matrix products. Where most
rows have gated edits that no other has, that is many times the work that each row asks for: an `OwnTable` then has
every row look at its own alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.steering.edits import Edit, EditTable, acts_in, refuse_undecided
from trimtab.steering.own_table import OwnTable
from trimtab.steering.row_edits import RowEdits

# How many times as many edits as its own a token may look at before rows are kept apart. Below, what they share is
# quicker; and answers of a few steerings side by side keep their bits.
_SHARED = 4


class ChangingRows:
    """The edits of batches whose rows change all the time.

    `most` is how many different rows are kept.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: dict[tuple[int, ...], _Row] = {}  # by the edits of one row

    def of(self, rows: Sequence[Sequence[Edit]]) -> RowEdits:
        """The edits of a batch of these rows."""
        keys = [tuple(map(id, row)) for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
        if len(self._known) + len(new) > self._most:
            self._known = {key: one for key, one in self._known.items() if key in keys}
        self._known |= {key: _Row(row) for key, row in new.items()}
        return _Together([self._known[key] for key in keys])


@dataclass(frozen=True)
class _Stack:
    """The edits of one row on one device, in the order of their blocks.

    Of `n` gated ones: `u` and `p` `[n, d]`, `alpha` `[n]`, `rectified` bool `[n]`, and `acts` `[n, 3]`, where they act.
    Of the others what they add to each block that they change, by phase: `added` `[blocks, 3, d]`, `[blocks, 1, d]`
    where all phases are alike.
    """

    u: Tensor
    p: Tensor
    alpha: Tensor
    rectified: Tensor
    acts: Tensor
    added: Tensor


class _Row:
    """The edits of one row, stacked at their first use."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)
        for edit in edits:
            refuse_undecided(edit)
        acting = sorted((edit for edit in edits if not edit.is_nothing), key=lambda edit: edit.block)
        self._gated = [edit for edit in acting if edit.p is not None or edit.rectified]
        plain = [edit for edit in acting if edit.p is None and not edit.rectified]
        self.gated = tuple(edit.block for edit in self._gated)
        self._plain = {edit.block: [one for one in plain if one.block == edit.block] for edit in plain}
        self.added = tuple(self._plain)
        self.scopes = {edit.tokens for edit in acting}
        self.rectifies = any(edit.rectified for edit in self._gated)
        self._stacks: dict[tuple[torch.device, torch.dtype], _Stack] = {}

    def on(self, device: torch.device, dtype: torch.dtype, width: int) -> _Stack:
        """What is stacked, on a device."""
        key = (device, dtype)
        if key not in self._stacks:
            nothing = torch.zeros(0, width)
            zeros = torch.zeros(width)
            u = torch.stack([edit.u for edit in self._gated]) if self._gated else nothing
            gates = [zeros if edit.p is None else edit.p for edit in self._gated]
            self._stacks[key] = _Stack(
                u.to(device, dtype),
                (torch.stack(gates) if gates else nothing).to(device, dtype),
                torch.tensor([edit.alpha for edit in self._gated], dtype=dtype, device=device),
                torch.tensor([edit.rectified for edit in self._gated], dtype=torch.bool, device=device),
                _acts(self._gated).to(device, dtype),
                self._sums(dtype, width).to(device),
            )
        return self._stacks[key]

    def _sums(self, dtype: torch.dtype, width: int) -> Tensor:
        phases = slice(None) if self.scopes - {"all"} else slice(1)
        sums = [
            (torch.tensor([edit.alpha for edit in edits], dtype=dtype) * _acts(edits).T[phases].to(dtype))
            @ torch.stack([edit.u for edit in edits]).to(dtype)
            for edits in self._plain.values()
        ]
        return torch.stack(sums) if sums else torch.zeros(0, 1, width, dtype=dtype)


class _Together(RowEdits):
    """The edits of a batch of rows; of one row where all are the same."""

    def __init__(self, rows: list[_Row]) -> None:
        super().__init__([])
        self._distinct = list(dict.fromkeys(rows))
        self._each = self._distinct if len(self._distinct) == 1 else rows
        self._rows = [row.edits for row in self._each]
        self.blocks = tuple(sorted({block for row in self._distinct for block in row.gated + row.added}))
        scopes = set().union(*(row.scopes for row in self._distinct))
        self.is_scoped = bool(scopes - {"all"})
        self.is_for_answers = "answer" in scopes
        self._made: dict[tuple[torch.device, torch.dtype], dict[int, EditTable]] = {}

    def _make(self, block: int, hidden: Tensor, dtype: torch.dtype) -> EditTable:
        key = (hidden.device, dtype)
        if key not in self._made:  # all blocks at once: that takes little longer than one
            self._made[key] = self._tables_on(*key, hidden.shape[-1])
        return self._made[key][block]

    def _tables_on(self, device: torch.device, dtype: torch.dtype, width: int) -> dict[int, EditTable]:
        stacks = {row: row.on(device, dtype, width) for row in self._distinct}
        count = len(self._each)
        own = _places([row.gated for row in self._distinct])
        shared = sum(len(row.gated) for row in self._distinct)
        apart = count > 1 and own.count > 0 and shared >= _SHARED * own.count
        gated = self._apart(stacks, own) if apart else self._shared(stacks)
        sums = _places([row.added for row in self._distinct])
        phases = 3 if self.is_scoped else 1
        parts = [stacks[row].added.expand(-1, phases, -1) for row in self._each]
        added = sums.filled(parts, [row.added for row in self._each]).permute(2, 0, 1, 3)
        rectifies = any(row.rectifies for row in self._distinct)
        tables = {}
        for block in self.blocks:
            table = tables[block] = (OwnTable if apart else EditTable).of_parts(count, dtype, self.is_scoped)
            if block in sums.of:
                table.adds(added[:, :, sums.of[block].start])
            if block in gated.of:
                at = gated.of[block]
                rectified = gated.rectified[..., at] if rectifies else None
                table.gates(
                    gated.u[..., at, :],
                    gated.p[..., at, :],
                    gated.alpha[..., at],
                    gated.coefficients[..., at],
                    rectified,
                )
        return tables

    def _apart(self, stacks: dict[_Row, _Stack], places: _Places) -> _Gated:
        """Each row's own, `[rows, n, d]`."""
        blocks = [row.gated for row in self._each]
        own = [stacks[row] for row in self._each]
        return _Gated(
            places.of,
            places.filled([one.u for one in own], blocks),
            places.filled([one.p for one in own], blocks),
            places.filled([one.alpha for one in own], blocks),
            places.filled([one.acts for one in own], blocks).permute(2, 0, 1),
            places.filled([one.rectified for one in own], blocks),
        )

    def _shared(self, stacks: dict[_Row, _Stack]) -> _Gated:
        """All distinct ones, `[n, d]`, and which row has which."""
        entries = [(block, row) for row in self._distinct for block in row.gated]
        order = sorted(range(len(entries)), key=lambda number: entries[number][0])
        places: dict[_Row, list[int]] = {row: [] for row in self._distinct}
        of: dict[int, slice] = {}
        for place, number in enumerate(order):
            block, row = entries[number]
            places[row].append(place)
            of[block] = slice(of[block].start if block in of else place, place + 1)
        picked = [stacks[row] for row in self._distinct]
        coefficients = picked[0].acts.new_zeros(3, len(self._each), len(order))
        for number, row in enumerate(self._each):
            coefficients[:, number, places[row]] = stacks[row].acts.T
        return _Gated(
            of,
            torch.cat([one.u for one in picked])[order],
            torch.cat([one.p for one in picked])[order],
            torch.cat([one.alpha for one in picked])[order],
            coefficients,
            torch.cat([one.rectified for one in picked])[order],
        )


@dataclass(frozen=True)
class _Gated:
    """The gated edits of a batch, those of a block in one slice."""

    of: dict[int, slice]
    u: Tensor
    p: Tensor
    alpha: Tensor
    coefficients: Tensor
    rectified: Tensor


@dataclass(frozen=True)
class _Places:
    """Room for what rows have in blocks: for each block as much as the row with the most needs."""

    of: dict[int, slice]
    count: int

    def filled(self, parts: Sequence[Tensor], blocks: Sequence[tuple[int, ...]]) -> Tensor:
        """`[rows, count, ...]` of what each row has, `[n, ...]`, in these blocks; zeros where it has nothing."""
        if all(len(own) == self.count for own in blocks):
            return torch.stack(list(parts))
        result = parts[0].new_zeros(len(parts), self.count, *parts[0].shape[1:])
        for number, (part, own) in enumerate(zip(parts, blocks, strict=True)):
            taken = {block: place.start for block, place in self.of.items()}
            at = []
            for block in own:
                at.append(taken[block])
                taken[block] += 1
            result[number, at] = part
        return result


def _places(rows: Sequence[tuple[int, ...]]) -> _Places:
    """The room for rows that have something in these blocks, in their order; a block that stands twice has two."""
    most: dict[int, int] = {}
    for row in rows:
        for block in dict.fromkeys(row):
            most[block] = max(most.get(block, 0), row.count(block))
    of, start = {}, 0
    for block in sorted(most):
        of[block] = slice(start, start + most[block])
        start += most[block]
    return _Places(of, start)


def _acts(edits: Sequence[Edit]) -> Tensor:
    """`[n, 3]`: 1 for the phases in which each acts."""
    return torch.tensor([acts_in(edit.tokens) for edit in edits], dtype=torch.float32).reshape(-1, 3)
