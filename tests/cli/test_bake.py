from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trimtab
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

PROMPT = "what is the river"


@pytest.fixture
def vectors_folder(engine: Any, tmp_path: Path) -> Path:
    """A steering that only adds vectors."""
    direction = torch.linspace(-1, 1, engine.identity.width)
    edits = (Edit.add(0, direction, 20.0), Edit.add(1, direction.flip(0) + 1, 20.0))
    return Steering("vectors", edits, Record(engine.identity)).save(tmp_path / "vectors")


def logits(engine: Any, steering: Steering | None = None) -> torch.Tensor:
    inputs = engine.tokenizer(PROMPT, return_tensors="pt")
    with engine.steered(steering), torch.no_grad():
        found: torch.Tensor = engine.model(input_ids=inputs["input_ids"]).logits
    return found


def test_vectors_become_biases(
    run: Callable[..., Any], engine: Any, vectors_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "baked"
    result = run(
        "bake", vectors_folder, "-m", model_folder, "-o", out, "--strength", "0.5", "--json", tmp_path / "r"
    )
    assert result.exit_code == 0, result.output
    assert "as biases: blocks 0, 1, exact but for rounding" in result.stdout
    assert "checked: on 4 answers" in result.stdout
    document = json.loads((tmp_path / "r").read_text())
    assert (document["way"], document["refused"]) == ("bias", {})
    assert document["where"] == [f"model.layers.{block}.mlp.down_proj.bias" for block in (0, 1)]
    assert json.loads((out / "config.json").read_text())["mlp_bias"] is True
    baked = trimtab.load(out, device="cpu")
    ours = logits(engine, Steering.load(vectors_folder) * 0.5)
    assert torch.allclose(logits(baked), ours, atol=1e-4)
    answer = run("generate", PROMPT, "-m", out, "--max-new-tokens", "4", "--device", "cpu")
    assert answer.exit_code == 0, answer.output


def test_several_steerings_become_a_module(
    run: Callable[..., Any],
    engine: Any,
    vectors_folder: Path,
    steering_folder: Path,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "baked"
    command = ("bake", steering_folder, vectors_folder, "-m", model_folder, "-o", out, "--strength", "1,0.5")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "not as a bias: what the edit of block 2 adds depends on the hidden state" in result.stderr
    assert "as a module behind each block: blocks 0, 1, 2" in result.stdout
    assert f"AutoModelForCausalLM.from_pretrained('{out}', trust_remote_code=True)" in result.stdout
    both = Steering.load(steering_folder) + Steering.load(vectors_folder) * 0.5
    baked = trimtab.load(out, device="cpu", trust_remote_code=True)
    assert torch.allclose(logits(baked), logits(engine, both), atol=1e-4)
    quiet = run(*command, "--quiet", "--check", "0", "--dtype", "bfloat16")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_mistakes_are_named_and_nothing_is_written(
    run: Callable[..., Any], steering_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "dear.txt").touch()
    for arguments, message in (
        ((steering_folder, "-o", tmp_path / "full"), "holds something else (dear.txt)"),
        ((steering_folder, "-o", tmp_path / "out", "--way", "bias"), "cannot be a bias"),
        ((steering_folder, "-o", tmp_path / "out", "--way", "lora"), "'lora' is not one of"),
        ((steering_folder, "-o", tmp_path / "out", "--strength", "0"), "changes nothing"),
        ((steering_folder, "-o", tmp_path / "out", "--strength", "1,2"), "2 strengths for 1 steerings"),
        ((steering_folder, "-o", tmp_path / "out", "--quantization", "8bit"), "held in fewer bits"),
        ((tmp_path / "missing", "-o", tmp_path / "out"), "missing"),
        (("-o", tmp_path / "out"), "missing argument"),
        ((steering_folder,), "missing option"),
    ):
        result = run("bake", *arguments, "-m", model_folder)
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_what_acts_on_some_prompts_only_is_refused(
    run: Callable[..., Any], steering_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    assert run("when", steering_folder, "--matching", "river").exit_code == 0
    result = run("bake", steering_folder, "-m", model_folder, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "trimtab when --remove" in result.stderr
    assert not (tmp_path / "out").exists()


def test_gates_are_fitted_where_that_is_asked_for(
    run: Callable[..., Any], steering_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "baked"
    command = ("bake", steering_folder, "-m", model_folder, "-o", out, "--way", "fitted")
    small = ("--fit-on", "12", "--test", "2", "--max-new-tokens", "4", "--json", tmp_path / "r")
    result = run(*command, *small)
    assert result.exit_code == 0, result.output
    assert (
        "as a change of each block's last projection: blocks 1, 2, which is near, not exact" in result.stdout
    )
    assert "the baked model" in result.stdout
    document = json.loads((tmp_path / "r").read_text())
    assert list(document["approximation"]["answered"]) == ["plain", "steered", "baked"]
    assert trimtab.load(out, device="cpu").identity.architecture == "llama"
    assert "greater than or equal to 10" in run(*command, "--fit-on", "3").stderr


def test_vectors_become_an_adapter(
    run: Callable[..., Any],
    engine: Any,
    vectors_folder: Path,
    steering_folder: Path,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "adapter"
    command = ("bake", "-m", model_folder, "-o", out, "--to", "peft")
    result = run(*command, vectors_folder, "--strength", 0.5, "--json", tmp_path / "r")
    assert result.exit_code == 0, result.output
    assert "an adapter of peft: blocks 0, 1, exact but for rounding" in result.stdout
    document = json.loads((tmp_path / "r").read_text())
    assert document["where"] == [f"model.layers.{block}.mlp.down_proj" for block in (0, 1)]
    assert document["use"] == f"PeftModel.from_pretrained(model, '{out}')"
    back = tmp_path / "back"
    assert run("import", out, "-m", model_folder, "-o", back).exit_code == 0
    half = Steering.load(vectors_folder) * 0.5
    assert torch.allclose(logits(engine, Steering.load(back)), logits(engine, half), atol=1e-4)
    refused = run(*command[:-4], "-o", tmp_path / "no", "--to", "peft", steering_folder)
    assert refused.exit_code == 2
    assert "export --approximate writes the nearest vectors" in " ".join(refused.stderr.split())
    mixed = run(*command[:-4], "-o", tmp_path / "no", "--to", "peft", vectors_folder, "--way", "module")
    assert mixed.exit_code == 2
    assert "are for checkpoints" in " ".join(mixed.stderr.replace("│", " ").split())
