"""The gated edits of one block where each row of a batch has its own: each looks at those alone."""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.steering.edits import EditTable


class OwnTable(EditTable):
    """As `EditTable`, with `u` and `p` `[rows, k, d]`, `alpha` and `rectified` `[rows, k]`; for inference alone.

    A row with fewer edits than `k` has zeros for `u` in place of the others.
    """

    def repeated(self, times: int) -> EditTable:
        """As `EditTable.repeated`."""
        table = super().repeated(times)
        if times > 1 and self._u is not None:
            table._u, table._p, table._alpha = (
                part.repeat_interleave(times, dim=0) for part in (self._u, self._p, self._alpha)
            )
            if self._rectified is not None:
                table._rectified = self._rectified.repeat_interleave(times, dim=0)
        return table

    def apply(self, hidden: Tensor, phases: Tensor | None = None) -> Tensor:
        """As `EditTable.apply`."""
        if self._u is None:
            return super().apply(hidden, phases)
        state = hidden.to(self.dtype)
        alpha = self._alpha[:, None]
        one = self._u.shape[1] == 1
        if one:  # a product for each row is slow where it has a single column
            amount = torch.linalg.vecdot(state, self._p)[..., None].add_(alpha)
        else:
            amount = torch.baddbmm(alpha, state, self._p.transpose(1, 2))
        if self._rectified is not None:
            amount = torch.where(self._rectified[:, None], amount.relu(), amount)
        if self._scoped and phases is not None:
            amount = amount * self._per_token(self._coefficients, phases)
        if self._added is not None:
            state = state + self._per_token(self._added, phases)
        if state is hidden:  # which is left as it is
            result = (torch.addcmul if one else torch.baddbmm)(state, amount, self._u)
        else:
            result = state.addcmul_(amount, self._u) if one else state.baddbmm_(amount, self._u)
        return result.to(hidden.dtype)
