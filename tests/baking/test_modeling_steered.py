"""The file of code in a checkpoint: it runs where there is no trimtab, and refuses what it cannot tell apart."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, inputs_of, random_steering, tiny_engine, tokens_of

from trimtab import baking

WITHOUT_TRIMTAB = """
import json, sys
import torch

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "trimtab":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from transformers import AutoModelForCausalLM, AutoTokenizer

def answers(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True, padding_side="left")
    chats = [[{"role": "user", "content": prompt}] for prompt in json.loads(sys.argv[1])]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    assert not inputs["attention_mask"].all()
    begin = inputs["input_ids"].shape[1]
    kinds = {}, {"num_beams": 2}, {"cache_implementation": "static", "disable_compile": True}
    return [
        model.generate(**inputs, max_new_tokens=6, do_sample=False, **kind)[:, begin:].tolist() for kind in kinds
    ]

written = [answers(folder) for folder in sys.argv[2:]]
assert not [name for name in sys.modules if name.startswith("trimtab")]
print(json.dumps(written))
"""


def test_it_answers_where_trimtab_cannot_be_imported(tmp_path: Path) -> None:
    """In one process for all architectures, which would take longer to start than to answer."""
    architectures = ["llama", "qwen2", "gemma3", "mistral", "phi3"]
    engines = [tiny_engine(name) for name in architectures]
    steerings = [random_steering(one) + random_steering(one, 1, tokens="generated") for one in engines]
    folders = [str(tmp_path / name) for name in architectures]
    for engine, steering, folder in zip(engines, steerings, folders, strict=True):
        baking.bake(engine, steering, folder, check=0)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRIMTAB, json.dumps(PROMPTS), *folders],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**environment, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    for engine, steering, answers in zip(engines, steerings, json.loads(done.stdout), strict=True):
        greedy, beams, static = answers
        ours = engine.generate(PROMPTS, steering=steering, max_new_tokens=6)
        assert [ended(row) for row in greedy] == tokens_of(ours)
        ours = engine.generate(PROMPTS, steering=steering, max_new_tokens=6, num_beams=2)
        assert [ended(row) for row in beams] == tokens_of(ours)
        assert static == greedy


def ended(row: list[int]) -> tuple[int, ...]:
    """Without what stands after the end."""
    return tuple(row[: row.index(2) + 1] if 2 in row else row)


def baked(folder: Path, tokens: str) -> tuple[Any, Any]:
    """The baked model, and the input of a batch."""
    from transformers import AutoModelForCausalLM

    engine = tiny_engine("llama")
    baking.bake(engine, random_steering(engine, tokens=tokens), folder, check=0)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
    return model, inputs_of(engine, PROMPTS)


@torch.no_grad()
def test_what_is_prompt_and_what_is_answer_is_never_guessed(tmp_path: Path) -> None:
    model, inputs = baked(tmp_path / "out", "generated")
    with pytest.raises(ValueError, match="run this model with use_cache=True"):
        model(**inputs, use_cache=False)
    first = model(**inputs, use_cache=True)
    two = inputs["input_ids"][:, :2]
    with pytest.raises(ValueError, match=r"this pass adds 2 to \d+"):
        model(input_ids=two, past_key_values=first.past_key_values)
    cache = copy.deepcopy(first.past_key_values)
    model(input_ids=two[:, :1], past_key_values=first.past_key_values)
    with pytest.raises(ValueError, match="were seen"):
        model(input_ids=two[:, :1], past_key_values=cache)


@torch.no_grad()
def test_edits_of_all_tokens_need_no_cache(tmp_path: Path) -> None:
    model, inputs = baked(tmp_path / "out", "all")
    whole = model(**inputs, use_cache=False).logits
    start = {name: value[:, :-2] for name, value in inputs.items()}
    cache = model(**start, use_cache=True).past_key_values
    rest = model(
        input_ids=inputs["input_ids"][:, -2:],
        attention_mask=inputs["attention_mask"],
        position_ids=inputs["position_ids"][:, -2:],
        past_key_values=cache,
    )
    assert torch.allclose(rest.logits, whole[:, -2:], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("tokens", ["all", "generated"])
def test_a_model_can_be_copied_and_pickled_saved_and_opened_again(tokens: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, inputs = baked(tmp_path / "out", tokens)
    wanted = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", trust_remote_code=True, dtype=torch.float32
    )
    again.save_pretrained(tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "again", trust_remote_code=True, dtype=torch.float32
    )
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), again):
        assert torch.equal(other.generate(**inputs, max_new_tokens=4, do_sample=False), wanted)


def test_it_can_be_trained(tmp_path: Path) -> None:
    model, inputs = baked(tmp_path / "out", "all")
    model.train()
    model.gradient_checkpointing_enable()
    model(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
    assert model.model.layers[0].mlp.down_proj.weight.grad.abs().max() > 0
    assert model.model.layers[1].steering.u.grad.abs().max() > 0


@torch.no_grad()
def test_weights_may_lie_on_a_disk(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM

    model, inputs = baked(tmp_path / "out", "all")
    elsewhere = (
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.2",
        "model.norm",
        "model.rotary_emb",
        "lm_head",
    )
    places = {**dict.fromkeys(elsewhere, "cpu"), "model.layers.1": "disk"}
    spread = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out",
        trust_remote_code=True,
        dtype=torch.float32,
        device_map=places,
        offload_folder=str(tmp_path / "offload"),
    )
    assert spread.model.layers[1].steering.u.is_meta
    assert torch.equal(spread(**inputs).logits, model(**inputs).logits)


@torch.no_grad()
def test_it_can_be_compiled(tmp_path: Path) -> None:
    model, inputs = baked(tmp_path / "out", "all")
    wanted = model(**inputs, use_cache=False).logits
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(**inputs, use_cache=False).logits, wanted, atol=1e-5)
