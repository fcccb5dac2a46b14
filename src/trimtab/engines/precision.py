"""In which dtype a model computes faster here: a probe, since what a processor has says little of what it gives."""

from __future__ import annotations

import time
from functools import cache

import torch

_ROWS, _WIDTH = 256, 1024
_TIMES = 3
_WORTH = 1.3  # so many times faster must bfloat16 be: it is coarser, and clocks are noisy


@cache
def fast_dtype(device: str = "cpu") -> torch.dtype:
    """The dtype for weights in which matrix products are fastest: bfloat16 where that is well faster, else float32.

    Probed once, in some hundredths of a second.
    """
    plain, short = (product_seconds(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    return torch.bfloat16 if short * _WORTH < plain else torch.float32


def product_seconds(dtype: torch.dtype, device: str) -> float:
    """How long a matrix product of the size of a small model's takes, in seconds: the best of some."""
    left = torch.ones(_ROWS, _WIDTH, dtype=dtype, device=device)
    right = torch.ones(_WIDTH, _WIDTH, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(_TIMES + 1):  # the first one warms up
        start = time.perf_counter()
        float((left @ right)[0, 0])  # reading a value waits for the product
        best = min(best, time.perf_counter() - start)
    return best
