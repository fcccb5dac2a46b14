"""Tables that do not fit beside the weights are refused."""

from __future__ import annotations

import logging

import torch

from trimtab.errors import ModelError

_log = logging.getLogger("vllm.trimtab")  # below vLLM's own logger, which has the handlers
_MUCH = 0.05
"""The share of the free memory from which on the size of the tables is worth a warning."""


def check_memory(needed: int, device: torch.device, *, slots: int, gates: int) -> None:
    """Refuses tables that do not fit beside the weights; tells when they take a good part of what is left."""
    free = _free(device)
    if free is not None and needed > free:
        raise ModelError(
            f"steering cannot be served: its tables for {slots} requests at once with {gates} gated edits each take "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free; lower --max-num-seqs or gates"
        )
    if free is not None and needed > _MUCH * free:
        _log.warning(
            "the tables of steering take %.1f of %.1f GiB, which the cache will not have: for %d requests at once with "
            "%d gated edits each; --max-num-seqs and gates make them smaller",
            needed / 2**30,
            free / 2**30,
            slots,
            gates,
        )


def _free(device: torch.device) -> int | None:
    """Bytes free on a device; None if it does not say."""
    if device.type == "cpu":
        import psutil  # type: ignore[import-untyped]

        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    return None
