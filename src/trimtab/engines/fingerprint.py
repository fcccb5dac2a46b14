"""Telling models apart by their weights, without reading all of them."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from torch import Tensor

_SAMPLES = 512


def fingerprint(model: Any, *, buffers: bool = True) -> str:
    """A digest over name, shape, type and some hundred evenly spread values of every parameter and buffer.

    Reading all of a large model would take longer than many an answer; training changes nearly every value. Buffers are
    left out where an engine keeps things of its own in them.
    """
    digest = hashlib.sha256()
    for name, parameter in itertools.chain(
        model.named_parameters(), model.named_buffers() if buffers else ()
    ):
        flat = _flat(parameter.detach())
        step = max(1, flat.numel() // _SAMPLES)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        # A parameter that is spread over the disk has no values here.
        if flat.device.type != "meta":
            digest.update(flat[::step].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _flat(values: Tensor) -> Tensor:
    try:
        return values.reshape(-1)
    except NotImplementedError:  # weights in few bits, which torch sees as one tensor
        return values.dequantize().reshape(-1)
