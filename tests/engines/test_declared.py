"""A checkpoint that says absurd things of itself is refused in one line, before anything is built of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import tiny_model, tiny_tokenizer
from transformers import GenerationConfig

from trimtab.engines import declared
from trimtab.engines.loading import load
from trimtab.errors import ModelError

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "my-llama"
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(whole, tmp_path / "my-llama")


def _set(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _refused(folder: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load(folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**12),
        ("num_hidden_layers", 1.5),
        ("num_hidden_layers", True),
        ("num_labels", 10**12),
        ("sliding_window", "x"),
        ("sliding_window", 10**400),
        ("text_config", {"num_layers": 10**9}),
    ],
)
def test_numbers_that_no_model_has(folder: Path, key: str, value: Any) -> None:
    _set(folder / "config.json", **{key: value})
    _refused(
        folder, r"config\.json says that \w+ is .*, which must be a whole number from .*; download or save"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", "[" * 100_000, '{"a":' * 100_000])
def test_a_config_that_is_no_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    _refused(folder, r"config\.json (is not JSON|must hold an object)")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_config_in_another_encoding(folder: Path, encoding: str) -> None:
    path = folder / "config.json"
    path.write_bytes(path.read_text().encode(encoding))
    _refused(folder, r"config\.json is not JSON")


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 10**12), ("intermediate_size", 10**12), ("vocab_size", 10**13)]
)
def test_sizes_that_no_memory_holds(folder: Path, key: str, value: int) -> None:
    _set(folder / "config.json", **{key: value})
    _refused(folder, r"there is not enough memory for it|does not fit its own config\.json|can't be loaded")


def _in_shards(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda weight_map: None) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    weight_map: dict[str, Any] = {}
    for number, shard in enumerate(SHARDS):
        own = names[number::2]
        save_file({name: weights[name] for name in own}, folder / shard, {"format": "pt"})
        weight_map.update(dict.fromkeys(own, shard))
    change(weight_map)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))


def test_a_model_in_shards_is_loaded(folder: Path) -> None:
    _in_shards(folder)
    assert load(folder, device="cpu").identity.blocks == 3


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    _in_shards(folder)
    (folder / SHARDS[1]).unlink()
    _refused(folder, rf"is incomplete: it lacks {SHARDS[1]}, which {INDEX} names")


@pytest.mark.parametrize(
    "place", ["../out.safetensors", "/etc/passwd", "", ".", "..", "a/b", "a\0", 5, None, []]
)
def test_an_index_that_points_out_of_the_folder(folder: Path, place: Any) -> None:
    save_file({"lm_head.weight": torch.zeros(264, 32)}, folder.parent / "out.safetensors", {"format": "pt"})
    _in_shards(folder, lambda weight_map: weight_map.update({"lm_head.weight": place}))
    _refused(folder, r"says that lm_head\.weight is in .*, which is no file of the folder")


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": "x"}])
def test_an_index_without_a_map(folder: Path, content: Any) -> None:
    _in_shards(folder)
    (folder / INDEX).write_text(json.dumps(content))
    _refused(folder, "has no 'weight_map' of weights and files")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: (2**63).to_bytes(8, "little") + content[8:],
        lambda content: content.replace(b'"F32"', b'"F31"', 1),
    ],
    ids=["empty", "seven bytes", "cut", "longer", "a head of 2**63 bytes", "another dtype"],
)
def test_damaged_weights_are_named(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    _refused(folder, r"model\.safetensors is damaged \(.*\); download or save the model anew")


def test_more_blocks_than_the_config_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _set(folder / "config.json", num_hidden_layers=2)
    _refused(folder, r"holds model\.layers\.2\.\S+, .* and \d+ more, of blocks that the config does not have")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_k", "x"),
        ("top_k", -1),
        ("temperature", float("nan")),
        ("temperature", [1]),
        ("top_p", 2),
        ("repetition_penalty", 0),
        ("repetition_penalty", 10**400),
        ("eos_token_id", "x"),
        ("eos_token_id", {"a": 1}),
        ("bos_token_id", 1e308),
        ("suppress_tokens", "x"),
        ("bad_words_ids", []),
        ("bad_words_ids", [1]),
        ("min_length", 1e308),
        ("penalty_alpha", 0.6),
        ("prefill_chunk_size", -1),
        ("num_beams", True),
    ],
)
def test_generation_settings_that_cannot_be(key: str, value: Any) -> None:
    settings = GenerationConfig()
    setattr(settings, key, value)
    with pytest.raises(
        ModelError, match=rf"my-llama .*generation_config\.json says that {key} is .*; mend it, or"
    ):
        declared.check_generation("my-llama", settings)


def test_a_penalty_that_is_a_whole_number_is_taken(folder: Path) -> None:
    _set(folder / "generation_config.json", repetition_penalty=2)
    (one,) = load(folder, device="cpu").generate(["why"], max_new_tokens=2)
    assert len(one.token_ids) > 0
    declared.check_generation("plain", GenerationConfig())
    _set(folder / "generation_config.json", top_k="x")
    _refused(folder, "top_k is 'x', which must be a whole number, 0 or more")


@pytest.mark.parametrize("template", ["{}", "hello", "{{ messages[0].role }}"])
def test_a_template_that_leaves_out_what_is_asked(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    _refused(folder, "leaves out what the user says")


def test_a_tokenizer_whose_limit_is_no_number(folder: Path) -> None:
    _set(folder / "tokenizer_config.json", model_max_length="x")
    _refused(folder, "model_max_length is 'x', and no number")
