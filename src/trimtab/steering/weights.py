"""Telling models apart by their weights, without reading all of them: part of which model something was learned on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_SAMPLES = 64


def weights_digest(model: Any, blocks: Iterable[Any]) -> str | None:
    """Name the weights of decoder blocks: `"bfloat16:..."`, or `"float16:..."` for a model in float16.

    It is over the shape and some evenly spread values of every parameter, in no order and under no name, since versions
    of transformers name them differently. Training changes nearly every value, so that a few of each tell. They are
    rounded to bfloat16: what was saved in float32 has one digest, loaded in float32 or in bfloat16. Values that float16
    has rounded before are others: two digests can be compared only where what stands before the colon is equal.

    None for weights that say nothing: quantised, spread over processes, or not in memory.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        return None
    kind = "bfloat16"
    samples: dict[torch.device, list[tuple[torch.Size, Tensor]]] = {}  # fetched at once from each device
    for parameter in (one for block in blocks for one in block.parameters()):
        values = parameter.data
        if type(values) is not Tensor or values.is_meta or not values.is_floating_point():
            return None
        kind = "float16" if values.dtype == torch.float16 else kind
        step = max(1, values.numel() // _SAMPLES)
        some = values.reshape(-1)[::step][:_SAMPLES].to(torch.bfloat16)
        samples.setdefault(values.device, []).append((values.shape, some))
    digests = []
    for found in samples.values():
        fetched = torch.cat([some for _, some in found]).view(torch.int16).cpu()
        for (shape, _), part in zip(
            found, torch.split(fetched, [len(some) for _, some in found]), strict=True
        ):
            digests.append(hashlib.sha256(f"{tuple(shape)}".encode() + part.numpy().tobytes()).digest())
    return f"{kind}:{hashlib.sha256(b''.join(sorted(digests))).hexdigest()}" if digests else None
