"""Rows of tokens beside each other in one batch, padded on the left."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both `[rows, tokens]`, padded on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def position_argument(module: Any) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function of the mask: the positions of left-padded tokens, for modules that take them as an argument."""
    if "position_ids" not in inspect.signature(module.forward).parameters:
        return lambda mask: {}
    return lambda mask: {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
