from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from trimtab.engines import attention, decoding

CPU = torch.device("cpu")


def attended(dtype: torch.dtype, masked: bool, groups: int = 3, tokens: int = 1) -> list[Any]:
    """The same attention by trimtab and by transformers."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(4, 2 * groups, tokens, 16, generator=generator).to(dtype)
    key, value = (torch.randn(4, 2, 37, 16, generator=generator).to(dtype) for _ in range(2))
    mask = torch.ones(4, 1, tokens, 37, dtype=torch.bool)
    mask[0, :, :, :9] = mask[2, :, :, :36] = False
    module = SimpleNamespace(num_key_value_groups=groups, is_causal=True)
    found = []
    for context in (attention.quick_attention(CPU), nullcontext()):
        with context:
            attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
            out, _ = attend(
                module,
                query,
                key,
                value,
                mask if masked else None,
                dropout=0.0,
                scaling=0.3,
                sliding_window=None,
            )
            found.append((attend, out))
    assert found[0][0] is not found[1][0]
    return [out for _, out in found]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("tokens", [1, 5])
def test_float32_has_the_bits_of_transformers(masked: bool, groups: int, tokens: int) -> None:
    own, theirs = attended(torch.float32, masked, groups, tokens)
    assert own.shape == (4, tokens, 2 * groups, 16)
    assert torch.equal(own, theirs)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_to_its_rounding(dtype: torch.dtype, masked: bool) -> None:
    own, theirs = attended(dtype, masked)
    assert own.is_contiguous()
    torch.testing.assert_close(own, theirs, rtol=2 * torch.finfo(dtype).eps, atol=1e-4)


def test_the_table_of_attention_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with pytest.raises(RuntimeError), attention.quick_attention(CPU), attention.quick_attention(CPU):
        raise RuntimeError
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
    with attention.quick_attention(CPU):
        with attention.quick_attention(CPU):
            pass
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not before
    assert ALL_ATTENTION_FUNCTIONS._local_mapping.get("sdpa") is None
    own = object()
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "sdpa", own)
    with attention.quick_attention(CPU):
        pass
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own


def test_on_other_devices_nothing_changes() -> None:
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with attention.quick_attention(torch.device("meta")):
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


def test_answers_are_written_with_it(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, seen = engines("llama"), []
    attend = attention._attend

    def watched(*given: Any, **options: Any) -> Any:
        seen.append(given[2].shape[2])
        return attend(*given, **options)

    monkeypatch.setattr(attention, "_attend", watched)
    quick = engine.generate(["a", "some more"], max_new_tokens=12)
    assert 1 in seen
    monkeypatch.setattr(decoding, "quick_attention", lambda device: nullcontext())
    assert engine.generate(["a", "some more"], max_new_tokens=12) == quick
