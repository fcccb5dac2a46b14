from __future__ import annotations

import pytest
import torch

from trimtab.engines.capturing import CaptureStatistics
from trimtab.errors import ModelError

VECTORS = torch.randn(7, 2, 4, generator=torch.Generator().manual_seed(0))  # [prompts, blocks, width]


def _added(statistics: CaptureStatistics, batches: list[list[int]]) -> CaptureStatistics:
    for batch in batches:
        part = statistics.empty()
        for number, block in enumerate((1, 3)):
            part.add(block, VECTORS[batch, number], batch, [1] * len(batch))
        statistics.merge(part)
    return statistics


def test_statistics_are_those_of_all_vectors_whatever_the_batches() -> None:
    directions = torch.randn(5, 3, 4)
    for batches in ([[0, 1, 2, 3, 4, 5, 6]], [[6, 2], [0], [5, 4, 3, 1]]):
        statistics = CaptureStatistics((1, 3), 5, 4, directions, keep=True)
        result = _added(statistics, batches).result()
        assert result.count == 7
        assert result.blocks == (1, 3)
        torch.testing.assert_close(result.mean, VECTORS.mean(0))
        projections = torch.einsum("nbd,bkd->nbk", VECTORS, directions[[1, 3]])
        assert result.second_moment is not None
        torch.testing.assert_close(result.second_moment, projections.square().mean(0))
        assert result.activations is not None
        assert torch.equal(result.activations, VECTORS)


def test_directions_may_be_given_for_the_blocks_read() -> None:
    directions = torch.randn(2, 4)
    result = _added(CaptureStatistics((1, 3), 5, 4, directions), [list(range(7))]).result()
    assert result.second_moment is not None
    expected = torch.einsum("nbd,bd->nb", VECTORS, directions).square().mean(0)[:, None]
    torch.testing.assert_close(result.second_moment, expected)
    assert result.activations is None


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (4,), (5, 2, 3), (5, 1, 1, 4)])
def test_directions_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="directions have shape"):
        CaptureStatistics((1, 3), 5, 4, torch.ones(shape))


def test_a_small_value_on_a_large_one_is_not_lost() -> None:
    """Sums of float32 would stall: after 2**25 ones in steps of one, say."""
    statistics = CaptureStatistics((0,), 1, 1)
    statistics.add(0, torch.full((1, 1), 2.0**25), [0], [1])
    for row in range(1, 64):
        statistics.add(0, torch.ones(1, 1), [row], [1])
    assert float(statistics.result().mean) == pytest.approx((2**25 + 63) / 64, rel=1e-7)


def test_memory_does_not_grow_unless_asked() -> None:
    statistics = CaptureStatistics((0,), 1, 4)
    for row in range(100):
        statistics.add(0, torch.ones(1, 4), [row], [1])
    held = [
        value for values in vars(statistics).values() if isinstance(values, dict) for value in values.values()
    ]
    assert sum(value.numel() for value in held) == 4
