from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from trimtab.engines import precision


@pytest.fixture(autouse=True)
def unprobed() -> Iterator[None]:
    precision.fast_dtype.cache_clear()
    yield
    precision.fast_dtype.cache_clear()


@pytest.mark.parametrize(
    ("seconds", "dtype"),
    [(0.4, torch.bfloat16), (0.9, torch.float32), (1.0, torch.float32), (3.0, torch.float32)],
)
def test_bfloat16_must_be_well_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: float, dtype: torch.dtype
) -> None:
    asked: list[torch.dtype] = []

    def measured(kind: torch.dtype, device: str) -> float:
        asked.append(kind)
        return seconds if kind == torch.bfloat16 else 1.0

    monkeypatch.setattr(precision, "product_seconds", measured)
    assert precision.fast_dtype() == precision.fast_dtype() == dtype
    assert asked == [torch.float32, torch.bfloat16]


def test_the_probe_measures_this_machine() -> None:
    assert precision.fast_dtype() in (torch.float32, torch.bfloat16)
    assert 0 < precision.product_seconds(torch.float32, "cpu") < float("inf")
