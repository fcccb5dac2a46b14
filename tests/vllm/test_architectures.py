"""`trimtab architectures` over the vLLM that is installed: which of its models can be steered, and why not."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.vllm.architectures import TESTED

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM has an environment of its own")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """What the command says, by the name of the architecture."""
    result = CliRunner().invoke(app, ["architectures", "--json", "-"])
    assert result.exit_code == 0, result.stderr
    return {one["name"]: one for one in json.loads(result.stdout)["architectures"]}


def test_most_are_found_and_those_that_are_tested(found: dict[str, dict[str, Any]]) -> None:
    assert {name for name, one in found.items() if one["tested"]} == TESTED
    assert all(one["found"] for one in found.values() if one["tested"])
    assert sum(one["found"] for one in found.values()) > 100


@pytest.mark.parametrize(
    ("name", "layer", "returned"),
    [
        ("LlamaForCausalLM", "LlamaDecoderLayer", "the stream in two parts"),
        # A type that is handed on to the class of another model.
        ("Qwen3ForCausalLM", "Qwen3DecoderLayer", "the stream in two parts"),
        # It returns a pair, of which the second is stale.
        ("CohereForCausalLM", "CohereDecoderLayer", "the whole stream"),
        ("OPTForCausalLM", "OPTDecoderLayer", "the whole stream"),
    ],
)
def test_how_a_layer_returns_its_stream(
    name: str, layer: str, returned: str, found: dict[str, dict[str, Any]]
) -> None:
    assert (found[name]["layers"], found[name]["reason"]) == ([layer], returned)


def test_a_dictionary_of_kinds_of_layers(found: dict[str, dict[str, Any]]) -> None:
    assert len(found["JambaForCausalLM"]["layers"]) == 2


def test_more_than_one_stream_is_not_steered(found: dict[str, dict[str, Any]]) -> None:
    assert not found["Gemma3nForCausalLM"]["found"]
    assert "more than one residual stream" in found["Gemma3nForCausalLM"]["reason"]
