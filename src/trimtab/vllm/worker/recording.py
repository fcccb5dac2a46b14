"""Reading activations on vLLM: what every step wrote into the recorder's buffers, reduced per request.

A wrapped decoder block copies its output into a buffer that stays where it is, so that compiled graphs can write it.
Before the next step overwrites the buffers, what belongs to requests that are recorded is taken out of them, and enters
the statistics once the last token of its prompt was seen: a prompt may come in chunks, and what a preempted one does
again is not read again.

The driver says what to read (`Reading`), runs the prompts, and fetches the result; both travel as safetensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab.engines.base import Capture, Positions
from trimtab.engines.capturing import CaptureStatistics
from trimtab.errors import ModelError
from trimtab.vllm.packing import pack_tensors, unpack_tensors

if TYPE_CHECKING:
    import numpy as np

_MOST_KEPT = 64 << 20
"""Numbers of raw activations that are fetched at once."""
_UNKNOWN = -1
"""Blocks of the whole model: directions come for the blocks that are read, never for all."""


@dataclass(frozen=True)
class Reading:
    """What is to be read.

    Attributes:
        blocks: The blocks, ascending.
        lengths: How many tokens the prompt of each row has.
        positions: The tokens, as `Engine.capture` takes them.
        directions: `[blocks, k, d]`, to take second moments along, or None.
        keep: Whether to keep the vectors themselves.
    """

    blocks: tuple[int, ...]
    lengths: tuple[int, ...]
    positions: Positions
    directions: Tensor | None = None
    keep: bool = False

    def pack(self) -> bytes:
        """The same as bytes."""
        tensors = {} if self.directions is None else {"directions": self.directions.contiguous()}
        return pack_tensors(tensors, dataclasses.asdict(dataclasses.replace(self, directions=None)))

    @classmethod
    def unpack(cls, packed: bytes) -> Reading:
        """What `pack` gave."""
        tensors, document = unpack_tensors(packed)
        lists = {name: tuple(document[name]) for name in ("blocks", "lengths")}
        return cls(**{**document, **lists, "directions": tensors.get("directions")})


@dataclass(eq=False)
class _Prompt:
    """A prompt that is being read."""

    row: int
    length: int
    read: int = 0  # so many of its tokens, from the first
    ended: bool = False
    held: dict[int, list[Tensor]] = field(default_factory=dict)  # by block, until all of it was seen

    def tokens(self, positions: Positions, start: int, count: int) -> tuple[int, int]:
        """Which of the tokens from `start` on are wanted and new, as a range."""
        first, last = max(start, self.read), min(start + count, self.length)
        if positions in ("all", "mean"):
            return first, max(first, last)
        token = self.length - 1 if positions == "last" else int(positions) % self.length
        return (token, token + 1) if first <= token < last else (first, first)


class Recorder:
    """Buffers for the outputs of the blocks of one worker, and what is read from them.

    The model's dtype is enough for the buffers: it is what the blocks of a model in transformers put out.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        width: int,
        *,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self._width = width
        self._buffers = {
            block: torch.zeros(tokens, width, dtype=dtype, device=device) for block in sorted(blocks)
        }
        self._reading: Reading | None = None
        self._statistics: CaptureStatistics | None = None
        self._prompts: list[_Prompt] = []
        self._step: list[
            tuple[_Prompt, int, int, int]
        ] = []  # prompt, place in the buffers, first token, count
        self._count = 0  # prompts that were read to their end

    def buffer(self, block: int) -> Tensor:
        """Where a block's output is copied in every step: `[tokens, d]`, always the same memory."""
        return self._buffers[block]

    def begin(self, reading: Reading) -> None:
        """Starts to read anew, of the blocks those that are here; what was read before is dropped."""
        self.drop()
        own = [place for place, block in enumerate(reading.blocks) if block in self._buffers]
        if not own:
            return
        directions = None if reading.directions is None else reading.directions[own]
        blocks = tuple(reading.blocks[place] for place in own)
        self._reading = dataclasses.replace(reading, blocks=blocks, directions=directions)
        self._prompts = [_Prompt(row, length) for row, length in enumerate(reading.lengths)]
        self._statistics = CaptureStatistics(blocks, _UNKNOWN, self._width, directions, reading.keep)

    def drop(self) -> None:
        """Ends reading without a result."""
        self._reading, self._statistics = None, None
        self._prompts, self._step, self._count = [], [], 0

    def before_step(
        self,
        request_ids: Sequence[str],
        scheduled: np.ndarray,
        computed: np.ndarray,
        rows: Sequence[int | None],
    ) -> None:
        """Told of every step before it is run: takes out what the step before it wrote.

        `scheduled` and `computed` count each request's tokens in this step and before it; `rows` are the prompts of
        this reading that the requests are, None for one that is not read.
        """
        if self._reading is None:
            return
        self._read()
        place = 0
        for row, count, start in zip(rows, scheduled.tolist(), computed.tolist(), strict=False):
            if row is not None and row < len(self._prompts) and start < self._prompts[row].length:
                self._step.append((self._prompts[row], place, start, count))
            place += count

    def result(self) -> bytes:
        """What was read, as bytes for `merged`, and the end of this reading; empty if none of the blocks is here."""
        if self._statistics is None:
            return b""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # the last step may still be under way
        self._read()
        capture = self._statistics.result() if self._count else None
        self.drop()
        if capture is None:
            return b""
        tensors = {"mean": capture.mean}
        if capture.second_moment is not None:
            tensors["second_moment"] = capture.second_moment
        if capture.activations is not None:
            tensors["activations"] = capture.activations.contiguous()
        return pack_tensors(tensors, {"blocks": capture.blocks, "count": capture.count})

    def _read(self) -> None:
        """Takes out of the buffers what the last step wrote of prompts that are read."""
        reading, statistics, step = self._reading, self._statistics, self._step
        self._step = []
        if not step or reading is None or statistics is None:
            return
        places: list[int] = []
        counts = []
        for prompt, place, start, count in step:
            first, last = prompt.tokens(reading.positions, start, count)
            places += range(place + first - start, place + last - start)
            counts.append(last - first)
            prompt.read = max(prompt.read, start + count)
        prompts = [prompt for prompt, *_ in step]
        ended = [prompt for prompt in prompts if prompt.read >= prompt.length and not prompt.ended]
        for block in reading.blocks:
            buffer = self._buffers[block]
            vectors = buffer.index_select(0, torch.tensor(places, dtype=torch.long, device=buffer.device))
            for prompt, part in zip(prompts, torch.split(vectors, counts), strict=True):
                if len(part):
                    one = part.float().sum(0, keepdim=True) if reading.positions == "mean" else part
                    prompt.held.setdefault(block, []).append(one)
            if ended:
                each = [_whole(prompt, block, reading.positions) for prompt in ended]
                rows = [prompt.row for prompt in ended]
                statistics.add(block, torch.cat(each), rows, [len(one) for one in each])
        for prompt in ended:
            prompt.ended = True
        self._count += len(ended)


def _whole(prompt: _Prompt, block: int, positions: Positions) -> Tensor:
    """What is to be known of a prompt at one block, `[n, d]`, after its last chunk."""
    parts = prompt.held.pop(block)
    if positions == "mean":
        return torch.stack(parts).sum(0) / prompt.length
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def merged(results: Sequence[bytes], blocks: Sequence[int]) -> Capture:
    """One capture of the parts that `Recorder.result` gave on the workers; of equal blocks, one is enough.

    Raises:
        ModelError: A block was not read, or the workers read differently much.
    """
    found: dict[int, tuple[dict[str, Tensor], int]] = {}
    counts = set()
    for packed in filter(None, results):
        tensors, document = unpack_tensors(packed)
        counts.add(document["count"])
        found |= {block: (tensors, place) for place, block in enumerate(document["blocks"])}
    if len(counts) != 1 or set(found) != set(blocks):
        raise ModelError(
            f"the workers of vllm read the blocks {sorted(found)} of {list(blocks)}, and {sorted(counts)} vectors"
        )

    def stacked(name: str, dimension: int) -> Tensor | None:
        if any(name not in tensors for tensors, _ in found.values()):
            return None
        each = [found[block][0][name].select(dimension, found[block][1]) for block in blocks]
        return torch.stack(each, dim=dimension)

    mean = stacked("mean", 0)
    if mean is None:
        raise ModelError("the workers of vllm sent no means")
    return Capture(tuple(blocks), counts.pop(), mean, stacked("second_moment", 0), stacked("activations", 1))


def groups(
    rows: Sequence[list[int]], numbers: int, positions: Positions, keep: bool
) -> Iterator[list[list[int]]]:
    """Prompts, in groups whose activations travel together; `numbers` are those that are read of one token."""
    group: list[list[int]] = []
    size = 0
    for row in rows:
        own = numbers * (len(row) if positions == "all" else 1)
        if keep and group and size + own > _MOST_KEPT:
            yield group
            group, size = [], 0
        group.append(row)
        size += own
    yield group
