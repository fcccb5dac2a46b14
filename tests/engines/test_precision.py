"""The dtype of a model where nobody chose one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_gguf import tiny_gguf

import trimtab
from trimtab.engines import precision
from trimtab.errors import ModelError


@pytest.fixture(autouse=True)
def unprobed() -> Iterator[None]:
    precision.fast_dtype.cache_clear()
    yield
    precision.fast_dtype.cache_clear()


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "product_seconds", lambda dtype, _: 1.0 if dtype == torch.float32 else 0.5)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "product_seconds", lambda dtype, _: 1.0)


def _saved(path: Path, dtype: torch.dtype, width: int = 512) -> Path:
    tiny_model("llama", hidden_size=width, num_hidden_layers=1).to(dtype).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def _loaded(path: Path, **options: Any) -> torch.dtype:
    return trimtab.load(path, device="cpu", **options).model.dtype


@pytest.mark.usefixtures("pays")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_where_the_processor_is_faster(tmp_path: Path, dtype: torch.dtype) -> None:
    path = _saved(tmp_path, dtype)
    assert _loaded(path) == torch.bfloat16
    assert _loaded(path, dtype="float32") == torch.float32
    assert _loaded(path, dtype="auto") == dtype


@pytest.mark.usefixtures("fails")
def test_else_it_becomes_float32(tmp_path: Path) -> None:
    assert _loaded(_saved(tmp_path, torch.bfloat16)) == torch.float32


@pytest.mark.usefixtures("pays")
def test_float32_stays_float32(tmp_path: Path) -> None:
    assert _loaded(_saved(tmp_path, torch.float32)) == torch.float32


@pytest.mark.usefixtures("pays")
def test_narrow_models_stay_in_float32(tmp_path: Path) -> None:
    assert _loaded(_saved(tmp_path, torch.bfloat16, 64)) == torch.float32
    assert _loaded(tiny_gguf(tmp_path / "tiny.gguf")) == torch.float32
    assert trimtab.load("nano", device="cpu").model.dtype == torch.float32


@pytest.mark.usefixtures("pays")
def test_the_model_is_the_same_in_both(tmp_path: Path) -> None:
    path = _saved(tmp_path, torch.bfloat16)
    half, single = (trimtab.load(path, device="cpu", dtype=dtype) for dtype in (None, "float32"))
    assert half.model.dtype != single.model.dtype
    assert half.identity.weights == single.identity.weights


def test_what_was_quantised_counts_as_half() -> None:
    config = tiny_model("llama").config
    config.dtype = torch.float32
    assert precision.saved_dtype(config) == torch.float32
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    assert precision.saved_dtype(config) == torch.bfloat16


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


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of the processor is too coarse")
def test_waiting_for_the_processor_is_no_time_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> float:
        raise AssertionError("the clock on the wall also counts the work of others")

    monkeypatch.setattr(precision.time, "perf_counter", never)
    assert precision.product_seconds(torch.bfloat16, "cpu") > 0


def test_the_probe_measures_this_machine() -> None:
    assert precision.fast_dtype() in (torch.float32, torch.bfloat16)
    assert 0 < precision.product_seconds(torch.float32, "cpu") < float("inf")


@pytest.mark.parametrize("dtype", ["int8", "half-ish", "torch"])
def test_a_dtype_that_is_none(dtype: str) -> None:
    with pytest.raises(ModelError, match=f"there is no dtype '{dtype}' for weights; float32"):
        trimtab.load("nano", dtype=dtype)
