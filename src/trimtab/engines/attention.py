"""Attention of one new token to a cache, on a CPU, many times faster than as transformers asks torch for it.

Where several query heads share one head of keys and values, transformers copies those for each of them before torch's
attention, whenever there is a mask. That can be left out, with the same bits in float32. In bfloat16 and float16
torch is slow for a single query on top of it, so that there the query heads of a group go in as if they were queries.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor


@contextmanager
def quick_attention(device: torch.device) -> Iterator[None]:
    """Inside, models on a CPU that attend by torch's attention do so quickly; on other devices nothing changes.

    transformers' table of attention functions belongs to the process, so models of other threads attend quickly too.
    """
    with _SWITCH if device.type == "cpu" else nullcontext():
        yield


class _Switch:
    """Puts the quick attention into the place of torch's, until the last thread has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: Any = None

    def __enter__(self) -> None:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as FUNCTIONS

        with self._lock:
            if not self._inside:
                # It stays under the name that the models ask for, since some look at their config for it.
                self._before = FUNCTIONS["sdpa"]
                FUNCTIONS["sdpa"] = partial(_attend, self._before)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as FUNCTIONS

        with self._lock:
            self._inside -= 1
            if not self._inside:
                del FUNCTIONS["sdpa"]
                if FUNCTIONS["sdpa"] is not self._before:
                    FUNCTIONS["sdpa"] = self._before


_SWITCH = _Switch()


def _attend(
    slowly: Any,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Shapes are those of transformers: query `[rows, heads, tokens, d]`, key and value with their own heads."""
    rows, heads, tokens, _ = query.shape
    shared, length = key.shape[1], key.shape[2]
    plain = not dropout and not any(options.get(name) is not None for name in ("position_bias", "cache"))
    if (
        not plain
        or tokens > 1
        or shared == heads
        or (attention_mask is not None and attention_mask.shape[1] > 1)
    ):
        whole: tuple[Tensor, None] = slowly(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return whole
    attend = torch.nn.functional.scaled_dot_product_attention
    if query.dtype.itemsize >= 4:
        out = attend(query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2).contiguous(), None
    group = heads // shared
    mask = None if attention_mask is None else attention_mask.expand(-1, 1, group, length)
    out = attend(query.reshape(rows, shared, group, -1), key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, 1, heads, -1), None
