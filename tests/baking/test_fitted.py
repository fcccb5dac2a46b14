"""Gates in plain weights: near the steered model, in every architecture whose last projection is added as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, inputs_of, random_steering, tiny_engine

import trimtab
from trimtab import baking
from trimtab.baking import bias, fitted
from trimtab.errors import SteeringError
from trimtab.progress import silent
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

FIT: dict[str, Any] = {"way": "fitted", "fit_on": 12, "test": 4, "max_new_tokens": 8}


def of(engine: Any, *edits: Edit) -> Steering:
    return Steering(
        "mine", edits, Record(engine.identity, instructions=({"name": "no_commas", "params": {}},))
    )


@torch.no_grad()
def logits(engine: Any, steering: Any = None) -> torch.Tensor:
    inputs = inputs_of(engine, PROMPTS)
    with engine.steered(steering, inputs["attention_mask"]):
        found = engine.model(**inputs, use_cache=False).logits
    return torch.log_softmax(found[inputs["attention_mask"].bool()], -1)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "phi3", "gpt2", "opt"])
def test_it_is_nearer_than_the_plain_model_and_needs_no_code(architecture: str, tmp_path: Path) -> None:
    engine = tiny_engine(architecture, max_position_embeddings=512)
    steering = of(engine, *random_steering(engine).edits)
    baked = baking.bake(engine, steering, tmp_path / "out", **FIT)
    assert (baked.way, baked.exact, baked.check) == ("fitted", False, None)
    assert not list((tmp_path / "out").glob("*.py"))
    again = trimtab.load(tmp_path / "out", device="cpu", dtype="float32")
    assert again.identity.architecture == engine.identity.architecture
    ours, plain, theirs = logits(engine, steering), logits(engine), logits(again)
    far, near = ((ours.exp() * (ours - other)).sum(-1).mean() for other in (plain, theirs))
    assert float(near) < 0.6 * float(far)
    found = baked.approximation
    assert found is not None
    assert found.divergence is not None
    assert found.divergence["baked"] < found.divergence["plain"]
    assert set(found.explained) == {1, 2}
    assert [len(shares) for shares in found.explained.values()] == [2, 1]


def test_what_is_linear_in_what_the_projection_is_given_is_exact() -> None:
    """Where the stream before the projection does not show in the gate, nothing is left to fit."""
    engine = tiny_engine("llama", max_position_embeddings=512)
    projection = engine.model.model.layers[1].mlp.down_proj
    numbers = torch.Generator().manual_seed(0)
    u, p = torch.randn(2, 32, generator=numbers)
    given, before = torch.randn(50, 48, generator=numbers), torch.zeros(50, 32)
    mine = of(engine, Edit(1, u, alpha=0.7, p=p), Edit.add(1, u.flip(0), 2.0))
    rows = [[3] * 5] * 10
    size = torch.ones(50, 1)

    def seen(*args: Any) -> Any:
        return {1: ([given], [before], [size])}

    original, fitted._seen = fitted._seen, seen  # type: ignore[assignment]
    try:
        found = fitted.fit(engine, mine, "mlp.down_proj", rows, with_bias=True, tell=silent)
    finally:
        fitted._seen = original
    hidden = given @ projection.weight.T
    wanted = (0.7 + hidden @ p)[:, None] * u + 2.0 * u.flip(0)
    change = given.double() @ found.weights[1].T + found.biases[1]
    assert torch.allclose(change.float(), wanted.detach(), atol=1e-3)


@pytest.mark.parametrize("tokens", [30, 90])
def test_the_regression_finds_what_is_there(tokens: int) -> None:
    """With fewer tokens than features, and with more."""
    numbers = torch.Generator().manual_seed(0)
    features = torch.randn(tokens, 60, generator=numbers, dtype=torch.float64)
    features[:, 20:] *= 1e-6
    factors = torch.randn(60, 2, generator=numbers, dtype=torch.float64)
    held_out = torch.arange(tokens) % 5 == 0
    found, shares = fitted._ridge(features, features @ factors, held_out)
    assert min(shares) > 0.99
    assert torch.allclose(features @ found, features @ factors, atol=0.05)


def test_the_record_says_how_near_it_is(tmp_path: Path) -> None:
    engine = tiny_engine("llama", max_position_embeddings=512)
    steering = of(engine, *random_steering(engine).edits)
    baking.bake(engine, steering, tmp_path / "out", **FIT)
    record = json.loads((tmp_path / "out" / "trimtab-baked.json").read_text(encoding="utf-8"))
    assert (record["way"], record["exact"], record["check"]) == ("fitted", False, None)
    answered = record["approximation"]["answered"]
    assert list(answered) == ["plain", "steered", "baked"]
    for one in answered.values():
        assert one["n"] == 4
        assert 0 <= one["followed"] <= 1
        assert one["quality"]["perplexity"] > 1
        assert one["quality"]["facts"] is not None
    assert "model.layers.1.mlp.down_proj.weight" in record["where"]
    assert "| baked |" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    for architecture, tokens, words in (
        ("gemma3", "all", "cannot be fitted: .*a norm, a factor"),
        ("llama", "prompt", "acts on prompt tokens only, and weights on all; the way"),
    ):
        engine = tiny_engine(architecture, max_position_embeddings=512)
        with pytest.raises(SteeringError, match=words):
            baking.bake(engine, random_steering(engine, tokens=tokens), tmp_path / "out", **FIT)
    assert not list(tmp_path.iterdir())


def test_the_last_projection_comes_first() -> None:
    engine = tiny_engine("gptj")  # attention and the rest side by side: both are added at the end
    assert bias.projections(engine.model, engine.decoder_blocks, [0, 2]) == ["mlp.fc_out", "attn.out_proj"]
