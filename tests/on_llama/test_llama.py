"""llama.cpp itself steers SmolLM2 with our files as our engine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.llama import LlamaCpp

from trimtab import baking, formats
from trimtab.engines.chat import prompt_ids
from trimtab.engines.ends import end_tokens
from trimtab.prompts import default_queries
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

TOKENS, PROMPTS = 24, 20
NEAR_TIE = 0.01
"""Between logits: what the order of float32 sums can turn."""
CLOSE = 1.0
"""Between logits: what rounding activations to 8 bits can turn, as llama.cpp does for weights in 4 bits."""


@pytest.fixture(scope="module")
def steering(engine: Any) -> Steering:
    """Random vectors as long as the residual stream is there, a fifth of it."""
    queries = default_queries(engine.identity, "learning", 4)
    sizes = engine.capture(queries, keep=True).activations.norm(dim=-1).mean(dim=0)
    numbers = torch.Generator().manual_seed(0)
    edits = []
    for block in (8, 16, 24):
        direction = torch.randn(engine.identity.width, generator=numbers)
        edits.append(Edit.add(block, direction / direction.norm(), 0.2 * float(sizes[block])))
    return Steering("random", tuple(edits), Record(engine.identity))


@pytest.fixture(scope="module")
def queries(engine: Any) -> list[str]:
    return default_queries(engine.identity, "validation", PROMPTS)


@pytest.fixture(scope="module")
def answers(engine: Any, steering: Steering, queries: list[str]) -> tuple[list[Any], list[Any]]:
    """Of our engine: steered, and plain."""
    steered = engine.generate(queries, steering=steering, max_new_tokens=TOKENS)
    return steered, engine.generate(queries, max_new_tokens=TOKENS)


@pytest.fixture
def llama(request: pytest.FixtureRequest) -> Iterator[LlamaCpp]:
    model = LlamaCpp(request.getfixturevalue(request.param), context=512)
    yield model
    model.close()


def gaps(model: LlamaCpp, engine: Any, queries: list[str], answers: list[Any]) -> list[float | None]:
    """For each prompt None where llama.cpp writes our tokens, else by how much it prefers its own where they part."""
    ends = end_tokens(engine.model.generation_config, engine.tokenizer)
    found: list[float | None] = []
    for query, ours in zip(queries, answers, strict=True):
        prompt = list(prompt_ids(engine.tokenizer, query))
        assert model.tokens(engine.tokenizer.decode(prompt)) == prompt
        tokens, logits = model.answer(prompt, list(ends), TOKENS)
        parts = [n for n, (a, b) in enumerate(zip(tokens, ours.token_ids, strict=False)) if a != b]
        found.append(
            float(logits[parts[0]].max() - logits[parts[0]][ours.token_ids[parts[0]]]) if parts else None
        )
    return found


@pytest.mark.parametrize("llama", ["dequantised"], indirect=True)
def test_a_control_vector_on_the_same_weights(
    engine: Any, steering: Steering, queries: list[str], answers: Any, llama: LlamaCpp, tmp_path: Path
) -> None:
    formats.write(steering, tmp_path / "v.gguf", "gguf")
    with llama.steered(tmp_path / "v.gguf"):
        parted = [gap for gap in gaps(llama, engine, queries, answers[0]) if gap is not None]
    assert all(gap < NEAR_TIE for gap in parted), parted
    assert len(parted) <= 2
    unsteered = [gap for gap in gaps(llama, engine, queries[:8], answers[0][:8]) if gap is not None]
    assert max(unsteered) > 100 * NEAR_TIE


@pytest.mark.parametrize("llama", ["smollm2_file"], indirect=True)
def test_a_control_vector_on_weights_in_4_bits(
    engine: Any, steering: Steering, queries: list[str], answers: Any, llama: LlamaCpp, tmp_path: Path
) -> None:
    formats.write(steering, tmp_path / "v.gguf", "gguf")
    with llama.steered(tmp_path / "v.gguf"):
        parted = gaps(llama, engine, queries, answers[0])
    assert all(gap is None or gap < CLOSE for gap in parted), parted
    assert parted.count(None) >= 4


def test_a_baked_bias_on_the_same_weights(
    engine: Any, steering: Steering, queries: list[str], answers: Any, dequantised: Path, tmp_path: Path
) -> None:
    baked = baking.bake(engine, steering, tmp_path / "baked", way="bias", check=0)
    model = LlamaCpp(baking.write_gguf(baked.path, dequantised, tmp_path / "baked.gguf"), context=512)
    try:
        parted = [gap for gap in gaps(model, engine, queries, answers[0]) if gap is not None]
    finally:
        model.close()
    assert all(gap < NEAR_TIE for gap in parted), parted
    assert len(parted) <= 2


def test_a_fitted_gate_runs_as_its_checkpoint_does(
    engine: Any, queries: list[str], dequantised: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from trimtab.engines.transformers import TransformersEngine

    width, numbers = engine.identity.width, torch.Generator().manual_seed(1)
    u, p = torch.nn.functional.normalize(torch.randn(2, width, generator=numbers), dim=-1)
    size = float(engine.capture(queries[:2], blocks=[12], keep=True).activations.norm(dim=-1).mean())
    gated = Steering("gated", (Edit(12, u * 0.3 * size, alpha=1.0, p=p / size),), Record(engine.identity))
    baked = baking.bake(engine, gated, tmp_path / "baked", way="fitted", fit_on=10, test=0, max_new_tokens=16)
    checkpoint = TransformersEngine(
        AutoModelForCausalLM.from_pretrained(baked.path, dtype=torch.float32).eval(), engine.tokenizer
    )
    ours = checkpoint.generate(queries[:8], max_new_tokens=TOKENS)
    model = LlamaCpp(baking.write_gguf(baked.path, dequantised, tmp_path / "baked.gguf"), context=512)
    try:
        parted = [gap for gap in gaps(model, engine, queries[:8], ours) if gap is not None]
    finally:
        model.close()
    assert all(gap < NEAR_TIE for gap in parted), parted
    plain = engine.generate(queries[:8], max_new_tokens=TOKENS)
    assert [one.token_ids for one in plain] != [one.token_ids for one in ours]
