"""A baked checkpoint, opened by transformers, gives the logits of the steered model; the rest is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import ARCHITECTURES, PROMPTS, hooks_of, inputs_of, random_steering, tiny_engine, tokens_of

import trimtab
from trimtab import baking
from trimtab.baking import checking
from trimtab.engines.continuous import Ask, RunningBatch
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, SteeringError
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


def of(engine: Any, *edits: Edit) -> Steering:
    return Steering("mine", edits, Record(engine.identity))


def added(engine: Any) -> Steering:
    """Two vectors in one block and one in the last: nothing else."""
    drawn = [edit for edit in random_steering(engine).edits if edit.p is None]
    first = drawn[0]
    last = engine.identity.blocks - 1
    return of(
        engine, first, Edit.add(first.block, first.u.flip(0), 0.5 * first.alpha), replace(first, block=last)
    )


def opened(engine: Any, folder: Path) -> TransformersEngine:
    """The checkpoint as a stranger opens it: by the classes of transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
    assert isinstance(AutoTokenizer.from_pretrained(folder, trust_remote_code=True), type(engine.tokenizer))
    return TransformersEngine(model, engine.tokenizer, model_id="baked")


@torch.no_grad()
def logits(engine: Any, steering: Steering | None = None) -> torch.Tensor:
    """After every token of a batch that is padded on the left; what stands for padding says nothing."""
    inputs = inputs_of(engine, PROMPTS)
    with engine.steered(steering, inputs["attention_mask"]):
        found = engine.model(**inputs, use_cache=True).logits
    return found[inputs["attention_mask"].bool()]


def assert_same(engine: Any, steering: Steering, folder: Path) -> None:
    """Logits, answers in a batch with the cache, and answers alone."""
    baked = opened(engine, folder)
    ours = logits(engine, steering)
    assert torch.allclose(logits(baked), ours, rtol=1e-4, atol=1e-4)
    assert float((logits(engine) - ours).abs().max()) > 0.1
    wanted = tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=6))
    assert tokens_of(baked.generate(PROMPTS, max_new_tokens=6)) == wanted
    assert tokens_of(baked.generate(PROMPTS[:1], max_new_tokens=6)) == wanted[:1]


BIASED = {
    "llama": "model.layers.1.mlp.down_proj.bias",
    "gpt2": "transformer.h.1.mlp.c_proj.bias",
    "gpt_neox": "gpt_neox.layers.1.mlp.dense_4h_to_h.bias",
    "gptj": "transformer.h.1.mlp.fc_out.bias",
    "opt": "model.decoder.layers.1.fc2.bias",
    "bloom": "transformer.h.1.mlp.dense_4h_to_h.bias",
    "falcon": "transformer.h.1.mlp.dense_4h_to_h.bias",
}
"""Where the architectures of the tests that can have one have their bias."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_added_vectors_are_biases_where_the_architecture_has_them(architecture: str, tmp_path: Path) -> None:
    engine = tiny_engine(architecture)
    steering = added(engine)
    baked = baking.bake(engine, steering, tmp_path / "out")
    assert baked.exact
    assert baked.way == ("bias" if architecture in BIASED else "module")
    assert_same(engine, steering, tmp_path / "out")
    if architecture in BIASED:
        assert baked.where[0] == BIASED[architecture]
        assert (baked.refused, baked.architecture) == ({}, engine.identity.architecture)
        assert not list((tmp_path / "out").glob("*.py"))
    else:
        assert architecture.rstrip("0123456789") in baked.refused["bias"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_edit_is_exact_as_a_module(architecture: str, tmp_path: Path) -> None:
    engine = tiny_engine(architecture)
    scopes = ("all", "prompt", "generated")
    first, *others = (random_steering(engine, seed, tokens) for seed, tokens in enumerate(scopes))
    steering = sum(others, first)
    baked = baking.bake(engine, steering, tmp_path / "out", check=2)
    assert (baked.way, baked.exact) == ("module", True)
    assert "depends on the hidden state" in baked.refused["bias"]
    assert_same(engine, steering, tmp_path / "out")


def test_weights_that_tell_prompt_from_answer_run_one_text_at_a_time(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    baking.bake(engine, random_steering(engine, 0, "generated"), tmp_path / "out", check=2)
    baked = opened(engine, tmp_path / "out")
    alone = tokens_of(baked.generate(PROMPTS, max_new_tokens=5, batch_size=1))
    batch = RunningBatch(baked)
    asked = [batch.submit(Ask(ids, max_new_tokens=5)) for ids in baked.encoding.prompts(PROMPTS)]
    while not batch.is_idle:
        batch.step()
    assert [one.error for one in asked] == [None] * len(PROMPTS)
    assert [tuple(one.token_ids) for one in asked] == [tuple(ids) for ids in alone]


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("gemma2", "a norm, a factor"),
        ("gemma3", "a norm, a factor"),
        ("mixtral", "several experts"),
        ("qwen2", "no switch in its config"),
        ("phi3", r"no bias at mlp.down_proj, and no switch"),
    ],
)
def test_why_it_is_no_bias_is_said(architecture: str, words: str, tmp_path: Path) -> None:
    engine = tiny_engine(architecture)
    with pytest.raises(SteeringError, match=f'cannot be a bias: .*{words}.*the way "module" takes it'):
        baking.bake(engine, added(engine), tmp_path / "out", way="bias")
    assert not list(tmp_path.iterdir())


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    before = {name: value.clone() for name, value in engine.model.state_dict().items()}
    hooks, config = hooks_of(engine.model), engine.model.config.to_dict()
    for number, steering in enumerate((added(engine), random_steering(engine))):
        baking.bake(engine, steering, tmp_path / str(number))
    after = engine.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert (hooks_of(engine.model), engine.model.config.to_dict()) == (hooks, config)


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    engine = tiny_engine("llama", tie_word_embeddings=True)
    for name, steering in (("bias", added(engine)), ("module", random_steering(engine))):
        assert baking.bake(engine, steering, tmp_path / name).way == name
        model = opened(engine, tmp_path / name).model
        assert model.lm_head.weight is model.model.embed_tokens.weight
        ours = logits(engine, steering)
        assert torch.allclose(logits(opened(engine, tmp_path / name)), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bias", "module"])
def test_half_precision_stays_so_and_the_edits_are_in_float32(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    engine = tiny_engine("llama")
    engine.model.to(torch.bfloat16)
    steering = added(engine) if name == "bias" else random_steering(engine)
    baked = baking.bake(engine, steering, tmp_path / "out")
    assert baked.check is not None
    assert baked.check.dtype == "bfloat16"
    kinds = {
        key.rpartition(".steering.")[1]: value.dtype
        for key, value in load_file(tmp_path / "out" / "model.safetensors").items()
    }
    assert kinds == (
        {"": torch.bfloat16} if name == "bias" else {"": torch.bfloat16, ".steering.": torch.float32}
    )
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", trust_remote_code=True, dtype=torch.bfloat16
    )
    again = TransformersEngine(model, engine.tokenizer, model_id="baked")
    ours, theirs = logits(engine, steering).float(), logits(again).float()
    assert float((ours - theirs).norm() / ours.norm()) < 0.02
    assert float((logits(engine).float() - ours).norm() / ours.norm()) > 0.1
    if name == "module":
        assert model.model.layers[1].steering.u.dtype == torch.float32


def test_the_record_says_what_was_done(tmp_path: Path) -> None:
    engine = tiny_engine("gemma3")
    steering = added(engine)
    baked = baking.bake(engine, steering, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "trimtab-baked.json").read_text(encoding="utf-8"))
    assert (record["format"], record["way"], record["exact"]) == ("trimtab-baked", "module", True)
    assert record["refused"] == dict(baked.refused)
    assert record["steering"]["digest"] == steering.digest()
    assert record["steering"]["model"]["weights"] == engine.identity.weights
    assert record["check"]["prompts"] == record["check"]["alike"] == 4
    assert record["check"]["difference"] < 1e-3 < record["check"]["effect"]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert 'from_pretrained(".", trust_remote_code=True)' in card
    assert "block 1: adds a vector" in card


def test_it_is_another_model_for_our_steerings(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    for number, steering in enumerate((added(engine), random_steering(engine))):
        baking.bake(engine, steering, tmp_path / str(number))
        with pytest.raises(SteeringError, match=r"the (weights|architectures) differ"):
            steering.check_model(opened(engine, tmp_path / str(number)).identity)


def test_a_baked_model_steers_on_in_trimtab(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    baking.bake(engine, random_steering(engine), tmp_path / "out")
    with pytest.raises(ModelError, match="trust_remote_code=True"):
        trimtab.load(tmp_path / "out", device="cpu")
    again = trimtab.load(tmp_path / "out", device="cpu", trust_remote_code=True)
    assert again.identity.architecture == "steered_llama"
    more = random_steering(again, 3)
    assert tokens_of(again.generate(PROMPTS, steering=more, max_new_tokens=6)) != tokens_of(
        again.generate(PROMPTS, max_new_tokens=6)
    )
    with pytest.raises(ModelError, match="does not come with transformers"):
        baking.bake(again, more, tmp_path / "again")


def test_what_cannot_be_baked_is_refused(tmp_path: Path) -> None:
    engine = tiny_engine("llama")
    mine, out = added(engine), tmp_path / "out"
    for steering, options, words in (
        (mine.when(when.Matches("sea")), {}, r"acts only if .*steering.always\(\)"),
        (mine * 0, {}, "changes nothing"),
        (of(engine, replace(mine.edits[0], tokens="answer")), {}, 'tokens="generated"'),
        (of(engine, replace(mine.edits[0], p=mine.edits[0].u, rectified=True)), {}, "rectified edits"),
        (of(engine, Edit(1, mine.edits[0].u, 1.0, rectified=True)), {}, "has rectified edits"),
        (
            of(engine, Edit.add(1, mine.edits[0].u, tokens="prompt")),
            {"way": "bias"},
            "acts on prompt tokens only",
        ),
        (random_steering(engine), {"way": "bias"}, "depends on the hidden state"),
        (mine, {"way": "lora"}, "there is no way 'lora' to bake; there is bias, module and fitted"),
        (mine, {"check": -1}, "check .a number of questions. must be a whole number from 0 on"),
        (mine, {"fit_on": 3}, "fit_on .a number of questions. must be a whole number from 10 on"),
        (random_steering(tiny_engine("qwen2")), {}, "the architectures differ"),
    ):
        with pytest.raises(SteeringError, match=words):
            baking.bake(engine, steering, out, **options)
    assert not list(tmp_path.iterdir())


def test_what_is_not_the_steered_model_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine("llama")
    steering = random_steering(engine)
    monkeypatch.setattr(checking.Answers, "of", classmethod(forgets(steering * 0.5, checking.Answers.of)))
    with pytest.raises(ModelError, match=r"is not the steered one.*nothing was written"):
        baking.bake(engine, steering, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def forgets(weaker: Steering, answers: Any) -> Any:
    def of(cls: Any, engine: Any, prompts: Any, model: Any, steering: Any) -> Any:
        return answers(engine, prompts, model, weaker if steering is not None else None)

    return of


def test_the_check_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine("llama")
    monkeypatch.setattr(checking, "Answers", None)
    baked = baking.bake(engine, added(engine), tmp_path / "out", check=0)
    assert baked.check is None
    assert json.loads((tmp_path / "out" / "trimtab-baked.json").read_text())["check"] is None
    assert_same(engine, added(engine), tmp_path / "out")
