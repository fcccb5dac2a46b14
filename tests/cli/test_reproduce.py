from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reproduce.files import write

SMALL = ["--limit", "1", "--validation", "2", "--pairs", "2", "--max-new-tokens", "4", "--device", "cpu"]


def test_an_experiment_on_any_model(run: Callable[..., Any], model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    options = ["--data", write(data), "--like", "mistral-7b", "--perplexity-model", model_folder]
    result = run(
        "reproduce",
        "format",
        "-m",
        model_folder,
        *options,
        *SMALL,
        "--out",
        tmp_path / "out",
        "--json",
        tmp_path / "r.json",
    )
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert document["experiment"] == "format"
    assert document["settings"]["settings of"] == "mistral-7b"
    assert [row["condition"] for row in document["tables"][0]["rows"]] == [
        "baseline",
        "instructed",
        "steered",
        "instructed+steered",
    ]
    assert (tmp_path / "out" / "format.md").exists()
    assert "choosing the block" in result.stderr
    assert "Chosen block" in result.stdout
    beside = document["tables"][-2]
    assert beside["title"] == "Beside the published outputs: format, Mistral-7B-Instruct-v0.1"
    assert beside["rows"][0]["measured"] == document["tables"][0]["rows"][0]["loose"]


def test_transfer_between_two_folders(run: Callable[..., Any], model_folder: Path, tmp_path: Path) -> None:
    options = ["--data", write(tmp_path), "--base", model_folder, "--perplexity-model", model_folder]
    result = run("reproduce", "transfer", "-m", model_folder, *options, *SMALL, "--quiet", "--json", "-")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["tables"][0]["rows"]
    assert [row["steering"] for row in rows] == ["no steering", "same-model vector", "cross-model vector"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["format", "-m", "MODEL"], "--data"),
        (["transfer", "-m", "MODEL"], "--base"),
        (["format", "--base", "nano-base"], "for the experiment transfer"),
        (["format", "--distilled"], "for the experiment transfer"),
        (["format", "--like", "gpt-9"], "there are phi-3"),
        (["colour"], "colour"),
        (["format", "--published"], "no outputs of nano were published"),
        (["length", "--published", "-m", "mistral-7b"], "there are: format"),
        (["format", "--published", "-m", "gpt2"], "no model of the paper"),
    ],
)
def test_mistakes_are_named_with_code_2(
    run: Callable[..., Any], model_folder: Path, arguments: list[str], message: str
) -> None:
    given = [model_folder if one == "MODEL" else one for one in arguments]
    result = run("reproduce", *given, "--device", "cpu")
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_published_figures_alone(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("reproduce", "keywords", "-m", "phi-3", "--published", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "recomputed from the outputs that the authors published" in said
    assert "include: steered 0.55 86" in said
    assert "recomputed" in (tmp_path / "keywords.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nano_brings_its_own_questions(run: Callable[..., Any]) -> None:
    result = run("reproduce", "length", "--limit", "3", "--device", "cpu", "--json", "-")
    assert result.exit_code == 0, result.output
    concise, verbose, within = json.loads(result.stdout)["tables"]
    assert [row["weight"] for row in concise["rows"]] == ["0", "1", "2", "4", "8"]
    assert concise["rows"][0] == verbose["rows"][0]
    assert all(row["instructed"] >= 0.5 for row in within["rows"])
