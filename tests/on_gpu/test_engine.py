"""What holds on a CPU holds on a GPU. Where there is none, TRIMTAB_TEST_GPU=cpu runs the same on a CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, logits_of, random_steering, tiny_model, tiny_tokenizer, tokens_of

import trimtab
from trimtab import Steering, instructions, learn, nano, prompts
from trimtab.engines.transformers import TransformersEngine

DEVICE = os.environ.get("TRIMTAB_TEST_GPU") or ("cuda" if torch.cuda.is_available() else None)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(DEVICE is None, reason="needs a GPU that torch can use")]


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def engine(request: pytest.FixtureRequest) -> Any:
    model = tiny_model(request.param).to(DEVICE)
    return TransformersEngine(model, tiny_tokenizer(), model_id=f"tiny-{request.param}")


def test_an_empty_steering_changes_no_bit(engine: Any) -> None:
    nothing = random_steering(engine, 1) * 0.0
    assert torch.equal(logits_of(engine, PROMPTS, nothing), logits_of(engine, PROMPTS))
    assert hooks_of(engine.model) == 0


@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_cached_equals_uncached(engine: Any, scope: str) -> None:
    rows = [random_steering(engine, 1, scope), None, random_steering(engine, 2, scope)]
    cached = engine.generate(PROMPTS, steering=rows, max_new_tokens=16)
    uncached = engine.generate(PROMPTS, steering=rows, max_new_tokens=16, use_cache=False)
    assert tokens_of(cached) == tokens_of(uncached)
    assert tokens_of(cached) != tokens_of(engine.generate(PROMPTS, max_new_tokens=16))


def test_rows_carry_their_own_steerings(engine: Any) -> None:
    rows = [random_steering(engine, 1), None, random_steering(engine, 2)]
    together = engine.generate(PROMPTS, steering=rows, max_new_tokens=16)
    alone = [
        engine.generate([prompt], steering=[one], max_new_tokens=16)[0]
        for prompt, one in zip(PROMPTS, rows, strict=True)
    ]
    assert tokens_of(together) == tokens_of(alone)


def test_what_is_saved_steers_the_same(engine: Any, tmp_path: Path) -> None:
    steering = random_steering(engine, 1)
    again = Steering.load(steering.save(tmp_path / "s"))
    assert torch.equal(logits_of(engine, PROMPTS, again), logits_of(engine, PROMPTS, steering))


def test_a_mean_difference_and_a_distillation_are_learned() -> None:
    model = trimtab.load("nano", device=DEVICE)
    instruction = instructions.get("lowercase")
    queries = nano.queries("learning", 16)
    pairs = prompts.make_pairs(queries, instruction, "learning")
    vector = learn.mean_difference(model, pairs, instruction).add(2, 1.0)
    learned = learn.distill(
        model,
        queries,
        instruction,
        validation=nano.queries("validation", 6),
        blocks=[2, 3],
        schedule=learn.Schedule(steps=30),
        max_new_tokens=48,
    )
    for steering in (vector, learned.steering):
        assert torch.isfinite(torch.stack([edit.u for edit in steering.edits])).all()
    answers = model.generate(nano.queries("test", 8), steering=learned.steering, max_new_tokens=48)
    assert sum(instruction.check(one.text) for one in answers) >= 6


def test_half_precision_is_steered_too() -> None:
    model = trimtab.load("nano", device=DEVICE, dtype="bfloat16")
    steering = random_steering(model, 1, strength=4.0)
    plain = model.generate(["Tell me about Harrowmere."], max_new_tokens=12)
    steered = model.generate(["Tell me about Harrowmere."], steering=steering, max_new_tokens=12)
    assert tokens_of(plain) != tokens_of(steered)
