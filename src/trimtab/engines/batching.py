"""Batches: rows of like length together, as many as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from trimtab import arguments
from trimtab.errors import ModelError, is_out_of_memory
from trimtab.progress import Progress, shown

_CPU_BYTES = 2 << 30
_SHARE_OF_FREE = 0.5
_MOST_ROWS = 256

Result = TypeVar("Result")


def memory_budget(device: torch.device) -> int:
    """Bytes a batch may take beside the model: half of what is free on an accelerator, 2 GiB on a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds but does not use is free for a batch too.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free * _SHARE_OF_FREE)
    return _CPU_BYTES


def check_batch_size(batch_size: int | None) -> None:
    """Refuses what is no size of a batch."""
    if batch_size is not None:
        arguments.whole(batch_size, "batch_size (None for one that fits)", ModelError, least=1)


def length_batches(
    lengths: Sequence[int], *, batch_size: int | None, row_bytes: Callable[[int], int], budget: int
) -> list[list[int]]:
    """Deals rows into batches of like length, the longest first, so that a lack of memory shows at once.

    Without a `batch_size`, each is filled up to `budget` bytes; `row_bytes` says what a row takes, given the length it
    is padded to. Rows of one length keep their order.
    """
    check_batch_size(batch_size)
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    while order:
        longest = lengths[order[0]]
        size = batch_size or min(max(1, budget // max(1, row_bytes(longest))), _MOST_ROWS)
        batches.append(order[:size])
        order = order[size:]
    return batches


def run_batches(
    batches: list[list[int]], run: Callable[[list[int]], Result], *, progress: Progress, stage: str
) -> Iterator[tuple[list[int], Result]]:
    """Runs batches in order, and yields the rows of each with what `run` gave for them.

    One that does not fit into memory is run again as two halves; it is an error if a single row does not fit.
    """
    total = sum(len(batch) for batch in batches)
    waiting = batches[::-1]
    done = 0
    with shown(progress) as tell:
        tell(stage, 0, total)
        while waiting:
            batch = waiting.pop()
            try:
                result = run(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise ModelError(
                        f"{stage} ran out of memory with a single prompt; use a shorter prompt, fewer beams or "
                        "samples, a smaller dtype, or a device with more memory"
                    ) from error
                half = len(batch) // 2
                waiting += [batch[half:], batch[:half]]
                continue
            done += len(batch)
            tell(stage, done, total)
            yield batch, result
