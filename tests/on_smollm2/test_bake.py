"""SmolLM2 baked through the command, opened by transformers alone, beside the steered one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.on_smollm2.test_commands import OPEN_QUESTION, command

from trimtab.engines.transformers import TransformersEngine
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


def of(engine: Any, *edits: Edit) -> Steering:
    return Steering("mine", edits, Record(engine.identity))


def edits_of(engine: Any) -> tuple[Edit, Edit]:
    """A vector and a gated edit that show, by the size of the residual stream."""
    numbers = torch.Generator().manual_seed(0)
    size = engine.capture([OPEN_QUESTION], blocks=[12], keep=True).activations.norm(dim=-1)[0, 0]
    u, v, p = torch.nn.functional.normalize(torch.randn(3, engine.identity.width, generator=numbers), dim=-1)
    return Edit.add(12, u, 0.4 * float(size)), Edit(20, v * 0.4 * float(size), alpha=1.0, p=p / float(size))


@pytest.mark.parametrize("way", ["bias", "module"])
def test_it_is_the_steered_model(engine: Any, tmp_path: Path, way: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vector, gated = edits_of(engine)
    steering = of(engine, vector) if way == "bias" else of(engine, vector, gated)
    folder, out = steering.save(tmp_path / "steering"), tmp_path / "out"
    told = command("bake", folder, "--model", "smollm2", "--out", out, "--dtype", "float32", "--check", 2)
    assert ("as biases" if way == "bias" else "as a module") in told

    trusted = {"trust_remote_code": True} if way == "module" else {}
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, **trusted)
    baked = TransformersEngine(model, AutoTokenizer.from_pretrained(out), model_id="baked")
    prompts = [OPEN_QUESTION, "What is the capital of France?"]
    plain = engine.generate(prompts, max_new_tokens=12)
    steered = engine.generate(prompts, steering=steering, max_new_tokens=12)
    assert [one.token_ids for one in baked.generate(prompts, max_new_tokens=12)] == [
        one.token_ids for one in steered
    ]
    assert [one.token_ids for one in plain] != [one.token_ids for one in steered]
    ids = torch.tensor([engine.tokenizer(OPEN_QUESTION)["input_ids"]])
    with torch.no_grad(), engine.steered(steering):
        ours = engine.model(ids).logits
    with torch.no_grad():
        theirs = model(ids).logits
    assert torch.allclose(theirs, ours, atol=1e-3)
