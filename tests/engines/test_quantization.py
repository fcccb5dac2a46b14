"""Weights in few bits: they answer, are steered, and teach, and edits stay in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, random_steering, tiny_model, tiny_tokenizer, tokens_of
from tests.tiny_gguf import tiny_gguf

import trimtab
from trimtab.engines import quantization
from trimtab.errors import ModelError
from trimtab.evaluate.cache import model_key
from trimtab.learn.distillation.room import kept_bytes
from trimtab.learn.distillation.trainable import TrainableEdits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model("llama", intermediate_size=64).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_model_is_steered_and_learns(folder: Path, bits: str) -> None:
    pytest.importorskip("torchao")
    plain = trimtab.load(folder, device="cpu")
    engine = trimtab.load(folder, device="cpu", quantization=bits)
    weight = engine.model.model.layers[0].mlp.up_proj.weight
    assert type(weight) is not torch.nn.Parameter
    original = plain.model.model.layers[0].mlp.up_proj.weight.detach()
    error = (weight.detach().dequantize() - original).abs().max() / original.abs().max()
    assert 0 < float(error) < (0.1 if bits == "4bit" else 0.01)

    assert (engine.identity.id, engine.identity.weights) == ("tiny", None)
    steering = random_steering(engine)
    steering.check_model(plain.identity)
    texts = engine.generate([PROMPTS[0]] * 2, steering=[None, steering], max_new_tokens=8)
    assert texts[0].token_ids != texts[1].token_ids
    assert tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=6)) == [
        engine.generate([prompt], steering=steering, max_new_tokens=6)[0].token_ids for prompt in PROMPTS
    ]
    assert model_key(engine) == model_key(trimtab.load(folder, device="cpu", quantization=bits))
    assert model_key(engine) != model_key(plain)

    ids = torch.tensor([[5, 6, 7]])
    gradients = []
    for one in (plain, engine):
        added = torch.zeros(one.identity.width, requires_grad=True)
        hook = one.decoder_blocks.blocks[0].register_forward_hook(lambda _, __, out, added=added: out + added)
        one.model(ids).logits.logsumexp(-1).sum().backward()
        hook.remove()
        gradients.append(added.grad)
        # What a pass keeps is counted whatever the weights are made of.
        assert (
            kept_bytes(
                one, lambda one=one: one.model(inputs_embeds=torch.ones(1, 3, 32).requires_grad_()).logits
            )
            > 0
        )
    similar = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert float(similar) > (0.7 if bits == "4bit" else 0.98)  # 32 random coordinates


def test_edits_stay_in_float32() -> None:
    edits = TrainableEdits({0: 1.0}, {0: torch.zeros(8)})
    assert {parameter.dtype for parameter in edits.parameters()} == {torch.float32}


@pytest.mark.parametrize("there", [["accelerate"], ["torchao"], []])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, there: list[str]) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: object() if name in there else None)
    with pytest.raises(ModelError, match=r"pip install 'trimtab\[quantization\]'"):
        trimtab.load("nano", quantization="8bit")


def test_bitsandbytes_is_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(quantization, "find_spec", lambda name: object())
    monkeypatch.setattr(quantization, "_of_torchao", lambda bits: made.append(("torchao", bits)))
    monkeypatch.setattr(quantization, "_of_bitsandbytes", lambda bits, dtype: made.append((bits, dtype)))
    quantization.quantization_config("4bit", torch.bfloat16, on_cuda=True)
    quantization.quantization_config("4bit", torch.bfloat16, on_cuda=False)
    assert made == [("4bit", torch.bfloat16), ("torchao", "4bit")]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no quantization '2bit'; 4bit or 8bit"):
        trimtab.load("nano", quantization="2bit")
    with pytest.raises(ModelError, match="not both"):
        trimtab.load("nano", quantization="8bit", quantization_config={})
    pytest.importorskip("torchao")
    with pytest.raises(ModelError, match="is a GGUF file"):
        trimtab.load(tiny_gguf(tmp_path / "tiny.gguf"), quantization="8bit")
