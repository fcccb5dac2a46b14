"""Edits applied: all of one block and of all rows of a batch in one operation, as pure tensor functions.

Edits of one block are simultaneous: all read the same `h`, and their changes add up, so `k` of them are one pair of
matrix products, `H + (A + H P^T) U`. What one edit is says `edit`. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.edit import Edit as Edit
from trimtab.steering.edit import TokenScope as TokenScope
from trimtab.steering.edit import refuse_undecided as refuse_undecided

__all__ = ["Edit", "EditTable", "TokenScope", "acting", "acts_in", "apply_edits", "change"]

PROMPT, BEFORE_ANSWER, ANSWER = range(3)
"""The phase of a token: of the prompt; written, but not of the answer; of the answer."""


def change(
    hidden: Tensor,
    u: Tensor,
    alpha: Tensor,
    p: Tensor | None,
    coefficients: Tensor,
    rectified: Tensor | None = None,
) -> Tensor:
    """What `k` simultaneous edits add to `hidden`: `((A + H P^T) * C) U`.

    `hidden` is `[..., d]`, `u` and `p` `[k, d]`, `alpha` `[k]`. `coefficients`, how much of each edit each token gets,
    are broadcastable to `[..., k]`; the change is then to `[..., d]`, in the dtype of `u`. `rectified`, bool `[k]`,
    says which amounts count as zero below it; None for none.
    """
    amount = alpha if p is None else torch.nn.functional.linear(hidden.to(p.dtype), p, alpha)
    if rectified is not None:
        amount = torch.where(rectified, amount.relu(), amount)
    return (amount * coefficients) @ u


def acts_in(scope: TokenScope) -> tuple[bool, bool, bool]:
    """Whether edits of a scope act in each of the three phases."""
    return scope in ("all", "prompt"), scope in ("all", "generated"), scope != "prompt"


def acting(scope: TokenScope, phases: Tensor) -> Tensor:
    """Bool, of the shape of `phases` (see `EditTable.apply`): the tokens on which edits of a scope act."""
    if phases.dtype == torch.bool:
        phases = phases * ANSWER
    return torch.tensor(acts_in(scope), device=phases.device)[phases.long()]


def apply_edits(hidden: Tensor, edits: Sequence[Edit], phases: Tensor | None = None) -> Tensor:
    """Applies edits of one block to all rows of `hidden`, `[rows, tokens, d]`; otherwise as `EditTable.apply`."""
    return EditTable([list(edits)]).apply(hidden, phases)


class EditTable:
    """All edits of one block for all rows of a batch, ready to be applied in one operation.

    Distinct edits are stacked once; a matrix of coefficients says which row gets which. Edits without a gate
    don't depend on `h`: they are summed up front, per row, and cost one addition.

    One row serves a batch of any size. Hidden states of lower precision than `dtype` are raised to it and cast back.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Edit]],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        plain, gated = _Stack(), _Stack()
        for row, edits in enumerate(rows):
            for edit in edits:
                if edit.is_nothing:
                    continue
                refuse_undecided(edit)
                (plain if edit.p is None and not edit.rectified else gated).put(row, edit)
        if len({(edit.block, edit.width) for edits in rows for edit in edits}) > 1:
            raise SteeringError("the edits of one table must belong to one block and have one width")

        self.rows = len(rows)
        self.dtype = dtype
        self._added: Tensor | None = None  # [3, rows, d], by phase
        if plain.edits:
            u = torch.stack([edit.u for edit in plain.edits]).to(device, dtype)
            alpha = torch.tensor([edit.alpha for edit in plain.edits], dtype=dtype, device=device)
            prompt, before, answer = plain.coefficients(self.rows).to(device, dtype)
            outer = change(u, u, alpha, None, torch.stack([prompt, answer]))
            inner = outer[1] if torch.equal(before, answer) else change(u, u, alpha, None, before)
            self._added = torch.stack([outer[0], inner, outer[1]])
        self._u: Tensor | None = None
        if gated.edits:
            self._u = torch.stack([edit.u for edit in gated.edits]).to(device, dtype)
            gates = [torch.zeros(edit.width) if edit.p is None else edit.p for edit in gated.edits]
            self._p = torch.stack(gates).to(device, dtype)
            self._alpha = torch.tensor([edit.alpha for edit in gated.edits], dtype=dtype, device=device)
            self._coefficients = gated.coefficients(self.rows).to(device, dtype)  # [3, rows, k]
            below = torch.tensor([edit.rectified for edit in gated.edits], device=device)
            self._rectified = below if bool(below.any()) else None
        self._scoped = any(edit.tokens != "all" for edit in plain.edits + gated.edits)

    @classmethod
    def of_parts(cls, rows: int, dtype: torch.dtype, scoped: bool) -> Self:
        """A table for so many rows, in which nothing is yet: what `adds` and `gates` put there is used as it is."""
        table = object.__new__(cls)
        table.rows, table.dtype, table._scoped = rows, dtype, scoped
        table._added = table._u = None
        return table

    def adds(self, added: Tensor) -> None:
        """What is added to each row, `[3, rows, d]` by phase; `[1, rows, d]` in a table that is not scoped."""
        self._added = added

    def gates(
        self, u: Tensor, p: Tensor, alpha: Tensor, coefficients: Tensor, rectified: Tensor | None
    ) -> None:
        """The gated edits: `u` and `p` `[k, d]`, `alpha` and `rectified` `[k]`, `coefficients` `[3, rows, k]`."""
        self._u, self._p, self._alpha = u, p, alpha
        self._coefficients, self._rectified = coefficients, rectified

    @property
    def is_nothing(self) -> bool:
        """Whether no row has anything to do here."""
        return self._added is None and self._u is None

    def repeated(self, times: int) -> EditTable:
        """The table for a batch in which each row stands `times` times in a row (beams, several samples)."""
        if times == 1 or self.rows == 1:
            return self
        table = object.__new__(type(self))
        table.__dict__.update(self.__dict__)
        table.rows = self.rows * times
        if self._added is not None:
            table._added = self._added.repeat_interleave(times, dim=1)
        if self._u is not None:
            table._coefficients = self._coefficients.repeat_interleave(times, dim=1)
        return table

    def apply(self, hidden: Tensor, phases: Tensor | None = None) -> Tensor:
        """The edited hidden states, in the dtype and on the device of the given ones.

        `hidden` is `[rows, tokens, d]` and left as it is; `phases` int `[rows, tokens]` or `[1, tokens]`: 0 for tokens
        of the prompt, 1 for those that the model wrote before its answer, 2 for those of its answer. Where all that it
        wrote is answer, bools do: true for tokens that it wrote.
        """
        if self.is_nothing:
            return hidden
        state = hidden.to(self.dtype)
        result = state
        if self._added is not None:
            result = result + self._per_token(self._added, phases)
        if self._u is not None:
            coefficients = self._per_token(self._coefficients, phases)
            result = result + change(state, self._u, self._alpha, self._p, coefficients, self._rectified)
        return result.to(hidden.dtype)

    def _per_token(self, table: Tensor, phases: Tensor | None) -> Tensor:
        """Picks the phase: `[3, rows, n]` to `[rows, tokens or 1, n]`."""
        prompt = table[0][:, None]
        if not self._scoped or phases is None:
            return prompt
        before, answer = table[1][:, None], table[2][:, None]
        if phases.dtype == torch.bool:
            return torch.where(phases[..., None], answer, prompt)
        written = torch.where((phases == ANSWER)[..., None], answer, before)
        return torch.where((phases == PROMPT)[..., None], prompt, written)


class _Stack:
    """Distinct edits, and how often each row has each."""

    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self._index: dict[tuple[object, ...], int] = {}
        self._known: dict[int, int] = {}
        self._entries: list[tuple[int, int]] = []

    def put(self, row: int, edit: Edit) -> None:
        number = self._known.get(id(edit))  # rows mostly share edit objects: don't compare contents again
        if number is None:
            number = self._index.setdefault(edit.content(), len(self.edits))
            if number == len(self.edits):
                self.edits.append(edit)
            self._known[id(edit)] = number
        self._entries.append((row, number))

    def coefficients(self, rows: int) -> Tensor:
        """`[3, rows, k]`: for each phase."""
        result = torch.zeros(3, rows, len(self.edits))
        for row, number in self._entries:
            result[:, row, number] += torch.tensor(acts_in(self.edits[number].tokens))
        return result
