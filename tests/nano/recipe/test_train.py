"""The recipe: batches that carry the right loss, training that learns, and a resumed run that equals a whole one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trimtab.nano.recipe import batches, train
from trimtab.nano.recipe.batches import IGNORED, chunk_of_batches

TINY = replace(
    train.Recipe(),
    base_chunks=3,
    instruct_chunks=3,
    hidden_size=64,
    layers=1,
    intermediate_size=64,
    heads=1,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK_EXAMPLES", 96)
    monkeypatch.setattr(batches, "BATCH_TOKENS", 1024)
    monkeypatch.setattr(batches, "LABEL_MULTIPLE", 64)
    monkeypatch.setattr(train, "TOKENIZER_EXAMPLES", 300)
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 1)


def run(stage: batches.Stage, work: Path, chunks: int | None = None) -> train.Trainer:
    """Trains a stage, all of it or as if it had been killed after `chunks` chunks."""
    trainer = train.Trainer(TINY, stage, work, CPU, compiled=False)
    if chunks is None:
        trainer.run()
        return trainer
    for chunk in range(chunks):
        trainer._chunk(chunk, TINY.chunks(stage))
        trainer.next_chunk = chunk + 1
        trainer._save_checkpoint()
    return trainer


def test_only_answers_carry_loss_and_each_label_is_the_next_token(tmp_path: Path) -> None:
    tokenizer = train._tokenizer(TINY, tmp_path)
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    for batch in chunk_of_batches(tokenizer, "instruct", seed=0, chunk=0):
        real = batch.labels != IGNORED
        flat = batch.ids.flatten()
        assert len(batch.labels) % batches.LABEL_MULTIPLE == 0
        assert torch.equal(flat[batch.positions[real] + 1], batch.labels[real])
        after = (batch.ids == assistant).cumsum(1).flatten() > 0
        assert after[batch.positions[real]].all()


def test_a_chunk_depends_on_seed_stage_and_number_only(tmp_path: Path) -> None:
    tokenizer = train._tokenizer(TINY, tmp_path)
    first, again = (chunk_of_batches(tokenizer, "base", seed=0, chunk=1) for _ in range(2))
    other = chunk_of_batches(tokenizer, "base", seed=0, chunk=2)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, again, strict=True))
    assert any(
        a.ids.shape != b.ids.shape or not torch.equal(a.ids, b.ids)
        for a, b in zip(first, other, strict=False)
    )


def test_rates_rise_from_zero_and_fall_to_zero() -> None:
    recipe = train.Recipe()
    factors = [recipe.rate_factor(step / 100) for step in range(101)]
    assert factors[0] == 0.0
    assert factors[-1] == 0.0
    assert max(factors) <= 1.0
    assert factors[2:] == sorted(factors[2:], reverse=True)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    run("base", whole)
    run("base", halves, chunks=1)
    run("base", halves)
    one, two = (load_file(folder / "base.safetensors") for folder in (whole, halves))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_both_stages_learn_and_are_written_as_models_that_transformers_loads(tmp_path: Path) -> None:
    trainer = train.Trainer(TINY, "base", tmp_path, CPU, compiled=False)
    first, _ = trainer._chunk(0, TINY.base_chunks)
    last, _ = trainer._chunk(2, TINY.base_chunks)
    assert last < first
    run("base", tmp_path)
    run("instruct", tmp_path)
    for stage in train.STAGES:
        folder = train.export(tmp_path, stage, TINY, tmp_path / "out")
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert model.dtype == torch.bfloat16
        assert (tokenizer.chat_template is not None) == (stage == "instruct")


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run("base", tmp_path, chunks=1)
    trainer = train.Trainer(replace(TINY, seed=1), "base", tmp_path, CPU, compiled=False)
    with pytest.raises(SystemExit, match="another recipe"):
        trainer.run()
