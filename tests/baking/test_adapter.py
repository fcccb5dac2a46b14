"""An adapter, put onto the plain model by peft itself, gives the logits of the steered one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.baking.test_baking import added, logits, of
from tests.tiny import random_steering, tiny_engine, tiny_model

from trimtab import baking, formats
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.when import Matches


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox"])
def test_peft_puts_it_onto_the_plain_model(architecture: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    engine = tiny_engine(architecture)
    mine = added(engine)
    before = {name: one.clone() for name, one in engine.model.state_dict().items()}
    found = baking.write_adapter(engine, mine, tmp_path / "adapter")
    assert found.check is not None
    assert found.check.difference < 1e-3 < found.check.effect
    after = engine.model.state_dict()
    assert list(after) == list(before)  # peft's modules are gone again
    assert all(torch.equal(before[name], after[name]) for name in before)
    net: Any = peft.PeftModel.from_pretrained(tiny_model(architecture), found.path)
    theirs = TransformersEngine(net.base_model.model, engine.tokenizer, model_id="adapted")
    assert torch.allclose(logits(theirs), logits(engine, mine), atol=1e-4)
    assert not torch.allclose(logits(theirs), logits(engine), atol=0.1)
    again = formats.read(found.path, engine.identity)
    assert torch.allclose(logits(engine, again), logits(engine, mine), atol=1e-5)


def test_without_peft_it_is_written_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.baking.adapter.find_spec", lambda name: None)
    engine = tiny_engine("mistral")
    found = baking.write_adapter(engine, added(engine), tmp_path / "adapter")
    assert found.check is None
    assert found.where == ("model.layers.1.mlp.down_proj", "model.layers.2.mlp.down_proj")
    assert torch.allclose(
        logits(engine, formats.read(found.path, engine.identity)), logits(engine, added(engine)), atol=1e-5
    )


def test_what_is_no_adapter_is_refused_with_the_nearest(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    vector = Edit.add(1, torch.ones(engine.identity.width))
    for mine, words in (
        (random_steering(engine), 'depends on the hidden state.*the way "module".*export --approximate'),
        (random_steering(engine, tokens="prompt"), "the hidden state|on prompt tokens only"),
        (of(engine, vector).when(Matches("river")), "acts only if"),
    ):
        with pytest.raises(SteeringError, match=words):
            baking.write_adapter(engine, mine, tmp_path / "adapter")
    gemma = tiny_engine("gemma3")
    with pytest.raises(ModelError, match=r'no projection.*the way "module"'):
        baking.write_adapter(gemma, of(gemma, vector), tmp_path / "adapter")
    assert not list(tmp_path.iterdir())
