"""The floating type of a model's weights, where nobody chose one: what the weights were saved in, and the machine."""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import Any

import torch

from trimtab import arguments
from trimtab.errors import ModelError

_HALF = (torch.bfloat16, torch.float16)
_NARROW = 512
"""Widths below it gain little: their products are small, and what is around them takes the time."""
_ROWS, _WIDTH = 256, 1024
_TIMES = 5
_WORTH = 1.5  # so many times faster must bfloat16 be: it is coarser, and clocks are noisy


def dtype_named(dtype: torch.dtype | str | None) -> torch.dtype | str | None:
    """A dtype as it was given: by its name, as `"auto"`, or not at all.

    Raises:
        ModelError: There is none of the name, or it is none for weights.
    """
    if dtype is None or dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, arguments.text(dtype, "dtype", ModelError).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"there is no dtype {dtype!r} for weights; float32, bfloat16, float16 or auto")
    return found


def saved_dtype(config: Any) -> torch.dtype | None:
    """What the weights were saved in, as a config of transformers tells it; bfloat16 for weights that are quantised."""
    if getattr(config, "quantization_config", None) is not None:
        return torch.bfloat16
    for one in (config, config.get_text_config()):
        if isinstance(dtype := getattr(one, "dtype", None), torch.dtype):
            return dtype
    return None


def dtype_on_cpu(saved: torch.dtype | None, width: int) -> torch.dtype:
    """What a model of that width runs in on a CPU: bfloat16 if it was saved in half precision and that pays.

    What was saved in float32 stays so, and gives the same answers on every machine.
    """
    return fast_dtype() if saved in _HALF and width >= _NARROW else torch.float32


@cache
def fast_dtype(device: str = "cpu") -> torch.dtype:
    """The dtype for weights in which matrix products are fastest: bfloat16 where that is well faster, else float32.

    Probed once, in some hundredths of a second.
    """
    plain, short = (product_seconds(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    return torch.bfloat16 if short * _WORTH < plain else torch.float32


def product_seconds(dtype: torch.dtype, device: str) -> float:
    """How long a matrix product of the size of a small model's takes, in seconds: the best of some.

    On a CPU the seconds are the processor's, where the system counts them finely: by the clock on the wall a product
    that makes way for other work is as slow as its rival, and a busy machine would choose another dtype than an idle
    one.
    """
    own = device == "cpu" and sys.platform != "win32"
    clock = time.process_time if own else time.perf_counter
    left = torch.ones(_ROWS, _WIDTH, dtype=dtype, device=device)
    right = torch.ones(_WIDTH, _WIDTH, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(_TIMES + 1):  # the first one warms up
        start = clock()
        float((left @ right)[0, 0])  # reading a value waits for the product
        best = min(best, clock() - start)
    return best
