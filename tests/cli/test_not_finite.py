"""A model with a weight that is no number: every command that runs it says so in one line, and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

PROMPT = "what is the name of the river ?"
COMMANDS: dict[str, tuple[str, ...]] = {
    "generate": ("generate", PROMPT, "--max-new-tokens", "4"),
    "generate --sample": ("generate", PROMPT, "--max-new-tokens", "4", "--sample"),
    "generate --json": ("generate", PROMPT, "--max-new-tokens", "4", "--json", "{out}"),
    "follow": ("follow", PROMPT, "-i", "json", "--max-new-tokens", "4"),
    "evaluate": ("evaluate", "--suite", "{rows}", "-s", "{steering}", "--max-new-tokens", "4", "--no-cache"),
    "learn": (
        "learn",
        "json",
        "--out",
        "{out}",
        "--pairs",
        "8",
        "--validation",
        "2",
        "--max-new-tokens",
        "4",
    ),
    "learn --method": ("learn", "json", "--out", "{out}", "--method", "mean_difference", "--pairs", "4"),
    "tune": ("tune", "json", "--out", "{out}", "--pairs", "4", "--validation", "2"),
    "transfer": ("transfer", "{steering}", "--out", "{out}", "--map", "--source", "{model}"),
}


@pytest.fixture(scope="module")
def damaged(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "tiny"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 4] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so(
    run: Callable[..., Any],
    damaged: Path,
    model_folder: Path,
    steering_folder: Path,
    tmp_path: Path,
    command: str,
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"query": "what is a river ?", "instructions": ["uppercase"]}\n')
    places = {"rows": tmp_path / "rows.jsonl", "steering": steering_folder, "out": tmp_path / "out"}
    words = [word.format(**places, model=model_folder) for word in COMMANDS[command]]
    result = run(*words, "--model", damaged, "--device", "cpu")
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if not line.startswith(("[", "loading"))]
    assert line.startswith("error: tiny ")
    assert "not finite" in line
    assert "block 1" in line
    assert result.stdout.strip() == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("sampled", [(), ("--sample",)])
def test_a_strength_that_leaves_the_numbers_is_refused(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, sampled: tuple[str, ...]
) -> None:
    strong = ("-s", steering_folder, "--strength", "1e36", "--max-new-tokens", "4")
    result = run("generate", PROMPT, "-m", model_folder, *strong, *sampled)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "lower the strength of the steering" in result.stderr
