"""Adapters of peft: what adds vectors is one exactly, in each architecture that the table names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.formats.damage import FUZZED, damaged, is_refused_or_read, model, path_tricks
from tests.tiny import ARCHITECTURES, tiny_model

from trimtab import formats
from trimtab.baking import bias
from trimtab.errors import SteeringError
from trimtab.formats import peft as adapters
from trimtab.steering.blocks import find_decoder_blocks
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

D = torch.linspace(-1, 1, 16)
INNER = {"inner": 48}


def steering(*edits: Edit, architecture: str = "llama") -> Steering:
    return Steering("shout", edits, Record(model(architecture=architecture)))


def changed(folder: Path, **changes: Any) -> Path:
    """The config with other values."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    formats.write(steering(Edit.add(1, D, 2.0), Edit.add(2, D)), tmp_path / "a", "peft", options=INNER)
    return tmp_path / "a"


@pytest.mark.parametrize("architecture", sorted(adapters._LAST))
def test_each_projection_of_the_table_is_added_as_it_is(architecture: str) -> None:
    net = tiny_model(architecture).eval()
    place = find_decoder_blocks(net)
    exact = bias.projections(net, place, [0, 1, 2])
    assert not isinstance(exact, str)
    assert adapters._LAST[architecture] == f"{place.path}.{{}}.{exact[0]}"


def test_others_have_none_that_is_known() -> None:
    others = set(ARCHITECTURES) - set(adapters._LAST)
    assert {"gemma2", "gemma3", "mixtral"} <= others
    with pytest.raises(SteeringError, match=r"is known of llama, mistral, .* not of gemma2"):
        formats.write(steering(Edit.add(1, D), architecture="gemma2"), Path("x"), "peft", options=INNER)


def test_what_is_written_comes_back(folder: Path) -> None:
    again = formats.read(folder, model())
    assert [(edit.block, edit.alpha) for edit in again.edits] == [(1, 1.0), (2, 1.0)]
    assert torch.equal(again.edits[0].u, 2 * D)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.1.mlp.down_proj", "model.layers.2.mlp.down_proj"]
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {
        name.rpartition(".layers.")[2]: list(one.shape) for name, one in tensors.items() if ".2." in name
    } == {
        "2.mlp.down_proj.lora_A.weight": [1, 48],
        "2.mlp.down_proj.lora_B.weight": [16, 1],
        "2.mlp.down_proj.lora_B.bias": [16],
    }
    for changes, factor in (
        ({"lora_alpha": 6, "r": 2}, 3.0),
        ({"lora_alpha": 6, "r": 4, "use_rslora": True}, 3.0),
    ):
        assert formats.read(changed(folder, **changes), model()).edits[0].alpha == factor


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "of the type 'IA3'; of LORA"),
        ({"use_dora": True}, "has use_dora in its config"),
        ({"rank_pattern": {"x": 2}}, "has rank_pattern in its config"),
        ({"bias": "all"}, "has bias in its config"),
        ({"lora_alpha": "1"}, "lora_alpha must be a finite number"),
        ({"r": 0}, "r is a rank from 1 on, not 0"),
    ],
)
def test_a_config_that_says_more_is_refused(folder: Path, changes: Any, words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        formats.read(changed(folder, **changes), model())


def test_weights_that_say_more_are_refused(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    own = load_file(path)
    name = "base_model.model.model.layers.1.mlp.down_proj"
    for more, words in (
        (
            {f"{name}.lora_A.weight": torch.ones(1, 48), f"{name}.lora_B.weight": torch.ones(16, 1)},
            "merge_and_unload",
        ),
        ({"x.lora_A.weight": torch.ones(1)}, "'x.lora_A.weight', which is of no LoRA"),
        ({f"{name}.lora_B.bias": torch.ones(4, 4)}, r"has the shape \[4, 4\]"),
        ({f"{name}.lora_B.bias": torch.ones(4)}, "vectors of width 4"),
        (
            {
                "base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight": torch.zeros(1, 16),
                "base_model.model.model.layers.1.self_attn.o_proj.lora_B.bias": D,
            },
            "bias at model.layers.1.self_attn",
        ),
    ):
        save_file({**own, **more}, path)
        with pytest.raises(SteeringError, match=words):
            formats.read(folder, model())
    save_file({f"{name}.lora_A.weight": torch.zeros(1, 48)}, path)
    with pytest.raises(SteeringError, match="has no biases"):
        formats.read(folder, model())
    save_file(own, path)
    with pytest.raises(SteeringError, match=r"bias at model.layers.1.mlp.down_proj, and .* is one at x"):
        formats.read(folder, model(), options={"module": "x.{}"})


def test_what_it_cannot_say_is_refused(tmp_path: Path) -> None:
    for edits, options, words in (
        ((Edit.ablate(1, D),), INNER, "removes the direction.*--approximate"),
        ((Edit.add(1, D, tokens="prompt"),), INNER, "on prompt tokens only"),
        ((Edit.add(1, D),), {}, "trimtab bake --to peft finds it"),
        ((Edit.add(1, D),), {"inner": 48, "module": "model"}, "module is a path with {}"),
    ):
        with pytest.raises(SteeringError, match=words):
            formats.write(steering(*edits), tmp_path / "a", "peft", options=options)
    assert not list(tmp_path.iterdir())


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "a"
    if not folder.exists():
        formats.write(steering(Edit.add(1, D)), folder, "peft", options=INNER)
    hit = data.draw(st.sampled_from(("adapter_config.json", "adapter_model.safetensors")))
    whole = (folder / hit).read_bytes()
    try:
        (folder / hit).write_bytes(data.draw(damaged(whole)))
        adapters.recognises(folder)
        is_refused_or_read(lambda: adapters.read(folder, model()), 2000)
    finally:
        (folder / hit).write_bytes(whole)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not adapters.recognises(place)
            with pytest.raises(SteeringError, match="cannot read"):
                adapters.read(place, model())
