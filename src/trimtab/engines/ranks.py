"""Several processes that learn one steering together, as `torchrun` or `accelerate launch` start them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")
Value = TypeVar("Value")


def started_first() -> bool:
    """Whether this is the first of the processes that a launcher started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(device: str | None) -> str | None:
    """The device of this process: `cuda:LOCAL_RANK` where several share a machine with CUDA.

    Another device than CUDA, or one with a number, is kept as it was asked for.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not (several and device in (None, "cuda") and torch.cuda.is_available()):
        return device
    number = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(number)  # where NCCL and new tensors go
    return f"cuda:{number}"


class Ranks:
    """The processes that share the work; one alone, if nothing started more.

    A process group that the caller made is used; otherwise one is made from the environment that `torchrun` and
    `accelerate launch` set (gloo on a CPU, NCCL on CUDA), and kept until the process ends.
    """

    def __init__(self) -> None:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and distributed.is_available() and not distributed.is_initialized():
            # What is shared are lists on the CPU and small gradients: gloo serves both; NCCL only the second.
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
        shared = distributed.is_available() and distributed.is_initialized()
        self.count = distributed.get_world_size() if shared else 1
        self.rank = distributed.get_rank() if shared else 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, items: Iterable[Item]) -> list[Item]:
        """The items that this process works on: every n-th."""
        return list(items)[self.rank :: self.count]

    def merge(self, mine: Mapping[Any, Value]) -> dict[Any, Value]:
        """What all processes found, in each of them."""
        if self.count == 1:
            return dict(mine)
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, dict(mine))
        return {key: value for part in found for key, value in part.items()}

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
