"""How many lessons a CPU has room for at once.

A GPU says when its memory is full, and a batch is halved until it fits. Linux says nothing: it ends the process that
asked for too much. So on a CPU it is measured beforehand what one lesson keeps for the way back, and no more of them go
through the model together than half of the memory that is available can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

_SHARE = 0.5
"""Of the available memory: the rest is for what is made on the way, and for others on the machine."""
_SMALL = 2**27
"""A model with fewer bytes of weights learns in so little memory that nothing is measured."""
_SYSTEM, _GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that a process may still take without others having to give way; None where the system does not say."""
    found = []
    try:
        for line in _SYSTEM.read_text("ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                found.append(int(rest.split()[0]) * 1024)
    except (OSError, ValueError):
        pass
    try:  # a container's own limit
        most, taken = (int((_GROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        found.append(max(0, most - taken))
    except (OSError, ValueError):
        pass  # there is none, or it is "max"
    return min(found, default=None)


def kept_bytes(engine: TransformersEngine, run: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the way back, its result and the gradient of that among them.

    Args:
        engine: The model, whose weights do not count.
        run: The pass.
    """
    weights = {_place(weight) for weight in engine.model.parameters()}
    found: dict[int, Tensor] = {}  # held till the end, so that no place is used twice

    def keep(tensor: Tensor) -> Tensor:
        place = _place(tensor)
        if place is not None and place not in weights:
            found[place] = tensor
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    kept = sum(tensor.untyped_storage().nbytes() for tensor in found.values())
    return kept + 2 * result.nbytes


def lessons_at_once(
    engine: TransformersEngine, rows: int, run: Callable[[], Tensor], processes: int = 1
) -> int:
    """How many lessons go through a model together, of so many: at least one.

    Args:
        engine: The model.
        rows: How many there are.
        run: A forward pass of the longest one, with gradients.
        processes: That share the memory and do the same.
    """
    if engine.device.type != "cpu" or rows == 1:
        return rows
    if sum(weight.nbytes for weight in engine.model.parameters()) < _SMALL:
        return rows
    room = available_memory()
    if room is None:
        return rows
    return max(1, min(rows, int(_SHARE * room / processes) // max(1, kept_bytes(engine, run))))


def _place(tensor: Tensor) -> int | None:
    """Where a tensor's numbers are; None of one that packs them into several others, as quantized weights are."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
