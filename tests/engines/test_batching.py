from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.batching import length_batches, memory_budget, run_batches
from trimtab.errors import ModelError, is_out_of_memory


@given(
    st.lists(st.integers(1, 50), max_size=40),
    st.none() | st.integers(1, 7),
    st.integers(1, 300),
)
def test_batches_hold_every_row_once_longest_first(lengths: list[int], size: int | None, budget: int) -> None:
    batches = length_batches(lengths, batch_size=size, row_bytes=lambda tokens: tokens, budget=budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    flat = [lengths[row] for batch in batches for row in batch]
    assert flat == sorted(flat, reverse=True)
    for batch in batches:
        assert len(batch) <= (size or len(lengths))
        assert size or len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_a_batch_size_must_be_positive() -> None:
    with pytest.raises(ModelError, match=r"batch_size .* must be a whole number from 1 on, not 0"):
        length_batches([1], batch_size=0, row_bytes=lambda tokens: 1, budget=1)


def test_a_cpu_has_a_budget() -> None:
    assert memory_budget(torch.device("cpu")) > 0


def test_a_batch_that_does_not_fit_is_run_in_halves() -> None:
    def run(batch: list[int]) -> list[int]:
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return [row * 10 for row in batch]

    shown: list[object] = []
    results = list(
        run_batches([[4, 3, 2, 1, 0], [5]], run, progress=lambda *state: shown.append(state), stage="s")
    )
    assert results == [([4, 3], [40, 30]), ([2], [20]), ([1, 0], [10, 0]), ([5], [50])]
    assert shown == [("s", done, 6) for done in (0, 2, 3, 5, 6)]


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    def run(batch: list[int]) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(ModelError, match="reading ran out of memory with a single prompt"):
        list(run_batches([[0, 1]], run, progress=False, stage="reading"))


def test_a_cpu_says_in_words_that_it_lacks_memory() -> None:
    def run(batch: list[int]) -> list[int]:
        if len(batch) > 1:
            torch.empty(2**50, dtype=torch.uint8)
        return batch

    assert list(run_batches([[0, 1]], run, progress=False, stage="reading")) == [([0], [0]), ([1], [1])]


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (torch.OutOfMemoryError(), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_a_lack_of_memory_is_known(error: Exception, lacks: bool) -> None:
    assert is_out_of_memory(error) == lacks
