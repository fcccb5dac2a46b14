"""A checkpoint that lacks a weight, or has one of another shape, is refused: it would run with random ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import tiny_model, tiny_tokenizer

from trimtab.engines.loading import load
from trimtab.errors import ModelError

_DOWN = "model.layers.2.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "my-llama"
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def _changed(folder: Path, into: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(folder, into)
    weights = load_file(into / "model.safetensors")
    change(weights)
    save_file(weights, into / "model.safetensors", {"format": "pt"})
    return into


def _without_block(weights: dict[str, Any]) -> None:
    for name in [name for name in weights if name.startswith("model.layers.2.")]:
        del weights[name]


def _without_head(weights: dict[str, Any]) -> None:
    del weights["lm_head.weight"]


def _cut(weights: dict[str, Any]) -> None:
    weights[_DOWN] = weights[_DOWN][:, :-1].contiguous()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_block, r"my-llama is incomplete: .* lacks model\.layers\.2\.\S+, .* and \d+ more"),
        (_without_head, r"lacks lm_head\.weight, which would be random"),
        (_cut, r"model\.layers\.2\.mlp\.down_proj\.weight is \[32, 47\] in the checkpoint and \[32, 48\]"),
    ],
)
def test_it_is_refused_in_one_line_and_without_a_table(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    damaged = _changed(folder, tmp_path / "my-llama", change)
    with pytest.raises(ModelError, match=words):
        load(damaged, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_tied_are_not_missed(tmp_path: Path) -> None:
    tiny_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
    tiny_tokenizer().save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    engine = load(tmp_path / "tied", device="cpu")
    assert torch.equal(engine.model.lm_head.weight, engine.model.model.embed_tokens.weight)


def test_weights_that_are_not_used_are_told_of_by_transformers(folder: Path, tmp_path: Path) -> None:
    more = _changed(
        folder, tmp_path / "more", lambda weights: weights.update({"model.surplus.weight": torch.zeros(3)})
    )
    assert load(more, device="cpu").identity.blocks == 3
