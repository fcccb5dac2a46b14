from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from trimtab.steering.steering import Steering

SMALL = ["--pairs", "2", "--validation", "2", "--test", "2", "--max-new-tokens", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def other_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tune of the tiny model: the same shape, other weights and another name."""
    import shutil

    folder = tmp_path_factory.mktemp("other") / "tuned"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: 1.1 * value for name, value in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def test_a_steering_is_moved_measured_and_saved(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "moved"
    result = run(
        "transfer",
        steering_folder,
        "--model",
        other_folder,
        "--out",
        out,
        *SMALL,
        "--json",
        tmp_path / "r.json",
    )
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    (row,) = document["transfers"]
    assert document["model"]["id"] == "tuned"
    assert row["source"]["id"] == "tiny"
    assert row["refit"] == "strength"
    assert [one["condition"] for one in row["rows"]] == [
        "baseline",
        "instructed",
        "steered",
        "instructed+steered",
    ]
    assert [one["condition"] for one in row["here"]] == ["steered", "instructed+steered"]
    assert set(document["means"]) >= {"steered", "here, steered"}
    saved = Steering.load(out)
    assert saved.record.model.id == "tuned"
    assert set(saved.record.measurements) >= {"test"}
    assert "made here" in result.stdout
    assert f"saved in {out}" in result.stdout.replace("\n", "")


def test_several_steerings_are_moved_by_name(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    options = ["--refit", "none", "--no-here", "--test", "0", "--device", "cpu", "--quiet"]
    Steering.load(steering_folder).save(steering_folder.parent / "whisper")
    out = tmp_path / "moved"
    result = run("transfer", steering_folder.parent, "-m", other_folder, "-o", out, *options)
    assert (result.exit_code, result.stdout) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["shout", "whisper"]
    moved = Steering.load(out / "shout")
    assert [edit.block for edit in moved.edits] == [1, 2]
    assert moved.record.settings["moved_from"]["id"] == "tiny"


def test_a_linear_map_carries_a_steering_over(
    run: Callable[..., Any], steering_folder: Path, model_folder: Path, other_folder: Path
) -> None:
    options = ["--map", "--source", model_folder, "--map-prompts", "12", "--refit", "none", "--test", "0"]
    result = run("transfer", steering_folder, "-m", other_folder, *options, "--device", "cpu", "--json", "-")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["transfers"]
    assert set(row["explained"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strengths", "1,two"], "takes numbers separated"),
        (["--refit", "all"], "none"),
    ],
)
def test_mistakes_are_named_with_code_2(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path, arguments: list[str], message: str
) -> None:
    result = run("transfer", steering_folder, "-m", other_folder, *SMALL, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_without_steerings_is_refused(
    run: Callable[..., Any], other_folder: Path, tmp_path: Path
) -> None:
    result = run("transfer", tmp_path, "-m", other_folder)
    assert result.exit_code == 2
    assert "no saved steering" in result.stderr


def test_another_width_is_refused_before_any_work(run: Callable[..., Any], steering_folder: Path) -> None:
    result = run("transfer", steering_folder, "-m", "nano", "--device", "cpu")
    assert result.exit_code == 2
    assert "widths differ" in result.stderr
    assert "answering" not in result.stderr
