"""What is changed about a model while something else is learned, and that it is changed back."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny_engine

from trimtab.learn.distillation.freezing import Frozen


def test_weights_take_no_gradients_and_get_back_what_they_took() -> None:
    engine = tiny_engine("llama")
    first = next(iter(engine.model.parameters()))
    first.requires_grad_(False)
    before = [weight.requires_grad for weight in engine.model.parameters()]
    with Frozen(engine, False):
        assert not any(weight.requires_grad for weight in engine.model.parameters())
    assert [weight.requires_grad for weight in engine.model.parameters()] == before


@pytest.mark.parametrize(("dtype", "inside"), [(torch.bfloat16, "eager"), (torch.float32, "sdpa")])
def test_in_half_precision_a_model_attends_by_products(dtype: torch.dtype, inside: str) -> None:
    engine = tiny_engine("llama")
    engine.model.to(dtype)
    engine.model.set_attn_implementation("sdpa")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        usual = engine.model(input_ids=ids).logits
    with Frozen(engine, False):
        assert engine.model.config._attn_implementation == inside
        with torch.no_grad():
            torch.testing.assert_close(engine.model(input_ids=ids).logits, usual, rtol=0.05, atol=0.05)
    assert engine.model.config._attn_implementation == "sdpa"
