"""Finding the decoder blocks, and the hidden states in what they return."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import ARCHITECTURES, BLOCKS, WIDTH, tiny_model

from trimtab.errors import ModelError
from trimtab.steering.blocks import find_decoder_blocks, hidden_of, with_hidden

PATHS = {
    "gpt2": "transformer.h",
    "gptj": "transformer.h",
    "bloom": "transformer.h",
    "falcon": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
    "mpt": "transformer.blocks",
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_blocks_are_found(architecture: str) -> None:
    model = tiny_model(architecture)
    found = find_decoder_blocks(model)
    assert found.path == PATHS.get(architecture, "model.layers")
    assert len(found.blocks) == BLOCKS
    assert list(found.blocks) == list(model.get_submodule(found.path))
    assert any(child is found.blocks[0] for child in found.decoder.modules())


def test_an_explicit_path_is_taken() -> None:
    model = tiny_model("llama")
    model.extra = torch.nn.ModuleList([torch.nn.Identity() for _ in range(BLOCKS)])
    assert find_decoder_blocks(model).path == "extra"  # the shortest path wins, here by design of the test
    assert find_decoder_blocks(model, "model.layers").path == "model.layers"


def test_an_explicit_path_wins_over_what_the_config_says() -> None:
    model = tiny_model("llama")
    model.config.num_hidden_layers = BLOCKS + 1
    assert len(find_decoder_blocks(model, "model.layers").blocks) == BLOCKS


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("model.blocks", "has nothing there"),
        ("model", "has a LlamaModel there"),
        ("none", "has a ModuleList there"),
    ],
)
def test_a_wrong_path_is_named(path: str, words: str) -> None:
    model = tiny_model("llama")
    model.none = torch.nn.ModuleList()
    with pytest.raises(ModelError, match=words) as caught:
        find_decoder_blocks(model, path)
    assert path in str(caught.value)


def test_no_list_and_several_lists_are_refused() -> None:
    model = tiny_model("llama")
    model.model.others = torch.nn.ModuleList([torch.nn.Identity() for _ in range(BLOCKS)])
    with pytest.raises(ModelError, match=r"several lists \(model.layers, model.others\).*decoder_blocks="):
        find_decoder_blocks(model)
    model = tiny_model("llama")
    model.config.num_hidden_layers = BLOCKS + 1
    with pytest.raises(ModelError, match="no list of 4 modules"):
        find_decoder_blocks(model)


def test_of_a_multimodal_model_the_language_model_is_taken() -> None:
    """Here the vision tower has as many blocks as the language model, and its path is no longer."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": BLOCKS,
    }
    config = Gemma3Config(
        text_config={**shape, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 264},
        vision_config={**shape, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4,
    )
    model = Gemma3ForConditionalGeneration(config)
    found = find_decoder_blocks(model)
    assert found.path == "model.language_model.layers"
    assert found.decoder is model.model.language_model


def test_hidden_states_are_found_in_tensors_and_tuples() -> None:
    hidden, other = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    assert hidden_of(hidden) is hidden
    assert with_hidden(hidden, other) is other
    for kind in (tuple, list):
        output = kind([hidden, "rest"])
        assert hidden_of(output) is hidden
        changed = with_hidden(output, other)
        assert type(changed) is kind
        assert changed[0] is other
        assert changed[1] == "rest"


@pytest.mark.parametrize("output", [None, (), torch.zeros(2, 3), {"hidden": 1}, ("a",)])
def test_other_outputs_are_refused(output: Any) -> None:
    with pytest.raises(ModelError, match="cannot be steered"):
        hidden_of(output)
