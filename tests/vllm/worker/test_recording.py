"""The recorder of the vLLM engine: steps of any shape give what one pass over each prompt gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trimtab.engines.base import Capture
from trimtab.engines.capturing import CaptureStatistics
from trimtab.errors import ModelError
from trimtab.vllm.worker.recording import (
    Reading,
    Recorder,
    merged,
)

WIDTH = 5
BLOCKS = (0, 1, 2)
TOKENS = 16


def outputs(length: int, seed: int) -> Tensor:
    """What the blocks put out for one prompt, `[blocks, length, d]`."""
    return torch.randn(len(BLOCKS), length, WIDTH, generator=torch.Generator().manual_seed(seed))


@dataclass
class Model:
    """Workers with their blocks, stepped like vLLM's."""

    prompts: list[Tensor]
    recorders: list[Recorder] = field(default_factory=list)

    @classmethod
    def of(cls, lengths: Sequence[int], stages: Sequence[Sequence[int]] = (BLOCKS,)) -> Model:
        recorders = [
            Recorder(blocks, WIDTH, tokens=TOKENS, dtype=torch.float32, device="cpu") for blocks in stages
        ]
        return cls([outputs(length, row) for row, length in enumerate(lengths)], recorders)

    def begin(self, **wanted: Any) -> None:
        settings: dict[str, Any] = {"blocks": BLOCKS, "positions": "last", **wanted}
        lengths = tuple(prompt.shape[1] for prompt in self.prompts)
        for recorder in self.recorders:
            recorder.begin(Reading.unpack(Reading(lengths=lengths, **settings).pack()))

    def step(self, *parts: tuple[int | None, int, int]) -> None:
        """Rows (None: a request that is not read) with first token and count; tokens beyond a prompt are noise."""
        rows = [row for row, _, _ in parts]
        ids = [f"request {row}" for row in rows]
        counts, starts = np.array([part[2] for part in parts]), np.array([part[1] for part in parts])
        for recorder in self.recorders:
            recorder.before_step(ids, counts, starts, rows)
            for block in recorder._buffers:
                place = 0
                for row, start, count in parts:
                    values = torch.full((count, WIDTH), 1e6)
                    if row is not None:
                        known = self.prompts[row][block, start : start + count]
                        values[: len(known)] = known
                    recorder.buffer(block)[place : place + count] = values
                    place += count

    def result(self, blocks: Sequence[int] = BLOCKS) -> Capture:
        return merged([recorder.result() for recorder in self.recorders], blocks)

    def expected(
        self, positions: Any, blocks: Sequence[int] = BLOCKS, directions: Tensor | None = None
    ) -> Capture:
        statistics = CaptureStatistics(blocks, len(BLOCKS), WIDTH, directions, keep=True)
        for block in blocks:
            for row, prompt in enumerate(self.prompts):
                whole = prompt[block]
                if positions == "mean":
                    vectors = whole.mean(0, keepdim=True)
                elif positions == "all":
                    vectors = whole
                else:
                    vectors = whole[-1 if positions == "last" else positions][None]
                statistics.add(block, vectors, [row], [len(vectors)])
        return statistics.result()


def same(found: Capture, expected: Capture) -> None:
    assert (found.blocks, found.count) == (expected.blocks, expected.count)
    torch.testing.assert_close(found.mean, expected.mean)
    if expected.second_moment is not None and found.second_moment is not None:
        torch.testing.assert_close(found.second_moment, expected.second_moment)
    if found.activations is not None:
        torch.testing.assert_close(found.activations, expected.activations)


def schedule_of(random: Random) -> tuple[list[int], list[list[tuple[int | None, int, int]]]]:
    """Prompts in chunks, side by side with others, some thrown back to their start; now and then a token too many."""
    lengths = [random.randint(1, 9) for _ in range(random.randint(1, 4))]
    at = [0] * len(lengths)
    steps: list[list[tuple[int | None, int, int]]] = []
    while any(place < length for place, length in zip(at, lengths, strict=True)):
        parts: list[tuple[int | None, int, int]] = [(None, random.randint(0, 30), 2)] * random.randint(0, 1)
        room = TOKENS - 2
        for row in random.sample(range(len(lengths)), len(lengths)):
            count = min(random.randint(0, 9), lengths[row] - at[row], room)
            if count:
                parts.append((row, at[row], count))
                at[row] += count
                room -= count
        random.shuffle(parts)
        steps.append(parts)
        row = random.randrange(len(lengths))
        if at[row] < lengths[row] and random.random() < 0.2:
            at[row] = 0
    if random.random() < 0.5:  # scheduled once more before anyone saw that it was over
        steps.append([(row, length, 1) for row, length in enumerate(lengths)])
    return lengths, steps


@given(st.integers(0, 2**32), st.sampled_from(["last", "all", "mean", 0, -1]), st.booleans())
def test_any_schedule_gives_what_one_pass_gives(seed: int, positions: Any, keep: bool) -> None:
    lengths, steps = schedule_of(Random(seed))
    model = Model.of(lengths, stages=[(0, 2), (1,)])
    directions = torch.randn(len(BLOCKS), 2, WIDTH, generator=torch.Generator().manual_seed(9))
    model.begin(positions=positions, directions=directions, keep=keep)
    for parts in steps:
        model.step(*parts)
    found = model.result()
    assert (found.activations is not None) == keep
    same(found, model.expected(positions, directions=directions))


def test_only_the_blocks_that_are_wanted_are_read() -> None:
    model = Model.of([4, 2], stages=[(0, 1), (2,)])
    model.begin(blocks=(1,), keep=True)
    model.step((0, 0, 4), (1, 0, 2))
    parts = [recorder.result() for recorder in model.recorders]
    assert parts[1] == b""  # the second stage has none of them
    same(merged(parts, (1,)), model.expected("last", blocks=(1,)))


def test_the_next_reading_begins_from_nothing() -> None:
    model = Model.of([3, 5])
    model.begin(positions="all")
    model.step((0, 0, 3))
    model.begin(positions="mean", keep=True)
    model.step((0, 0, 3), (1, 0, 5))
    same(model.result(), model.expected("mean"))
    assert [recorder.result() for recorder in model.recorders] == [b""]


def test_nothing_is_read_when_nobody_asked() -> None:
    model = Model.of([3])
    model.step((0, 0, 3))
    assert model.recorders[0].result() == b""


def test_a_prompt_that_was_not_read_to_its_end_does_not_count() -> None:
    model = Model.of([3, 5])
    model.begin(positions="all", keep=True)
    model.step((0, 0, 3), (1, 0, 4))
    assert model.result().count == 3


def test_a_part_that_is_missing_is_told() -> None:
    model = Model.of([3], stages=[(0, 1), (2,)])
    model.begin()
    model.step((0, 0, 3))
    parts = [recorder.result() for recorder in model.recorders]
    with pytest.raises(ModelError, match=r"the blocks \[0, 1\] of \[0, 1, 2\]"):
        merged(parts[:1], BLOCKS)


def test_the_buffers_stay_where_they_are() -> None:
    model = Model.of([3])
    place = model.recorders[0].buffer(1).data_ptr()
    model.begin()
    model.step((0, 0, 3))
    model.result()
    assert model.recorders[0].buffer(1).data_ptr() == place


def test_half_precision_is_read_as_it_is() -> None:
    recorder = Recorder(BLOCKS, WIDTH, tokens=TOKENS, dtype=torch.bfloat16, device="cpu")
    recorder.begin(Reading(BLOCKS, (2,), "mean", keep=True))
    recorder.before_step(["a"], np.array([2]), np.array([0]), [0])
    for block in BLOCKS:
        recorder.buffer(block)[:2] = torch.tensor([[1.0], [2.0]])
    found = merged([recorder.result()], BLOCKS)
    assert found.activations is not None
    assert found.activations.dtype == found.mean.dtype == torch.float32
    torch.testing.assert_close(found.activations, torch.full((1, len(BLOCKS), WIDTH), 1.5))
