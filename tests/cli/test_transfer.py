from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
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


@pytest.mark.parametrize("strengths", [".5,1e-1", " 0.5, 0.1"])
def test_strengths_are_numbers_in_any_spelling(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path, strengths: str
) -> None:
    options = ["--strengths", strengths, *SMALL, "--test", "0", "--json", "-"]
    result = run("transfer", steering_folder, "-m", other_folder, *options)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["transfers"]
    assert {one["strength"] for one in row["validation"]["candidates"]} == {0.5, 0.1}


def test_an_instruction_of_a_file_is_known_and_fitted(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "ours.toml"
    file.write_text('[greets]\nphrasings = ["Say hello.", "Greet me.", "Hello?"]\nregex = "hi"\n')
    named(steering_folder, {"name": "greets", "params": {}})
    command = ("transfer", steering_folder, "-m", other_folder, *SMALL, "--no-here", "--json", "-")
    unknown = run(*command)
    assert (unknown.exit_code, "greets" in unknown.stderr) == (2, True)
    result = run(*command, "--file", file)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["transfers"][0]["instruction"]["name"] == "greets"


def named(folder: Path, *instructions: dict[str, Any], **changes: Any) -> None:
    """Have a saved steering stand for these instructions."""
    steering = Steering.load(folder)
    record = replace(steering.record, instructions=instructions)
    replace(steering, record=record, **changes).save(folder)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be loaded: what is refused without one is refused before any work."""
    monkeypatch.setattr("trimtab.load", None)


JSON = {"name": "json", "params": {}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strengths", "1,two"], "--strengths takes numbers"),
        (["--strengths", "1,inf"], "--strengths takes numbers"),
        (["--strengths", "1", "--refit", "none"], "--strengths is for --refit strength"),
        (["--source", "nano"], "--source is for --refit edits and --map"),
        (["--refit", "edits"], "say where it is: --source FOLDER"),
        (["--refit", "all"], "none"),
        (["--out", "{file}"], "is a file"),
        (["--out", "{file}/moved"], "is a file"),
        (["--out", "{other}"], "holds something else (dear.txt)"),
        (["--queries", "{missing}"], "missing.txt"),
        (["--queries", "{file}"], "too few queries"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_mistakes_are_named_before_a_model_is_loaded(
    run: Callable[..., Any], steering_folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file.txt").write_text("what is a river ?\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dear.txt").write_text("dear Ida")
    names = {"{file}": "file.txt", "{other}": "other", "{missing}": "missing.txt"}
    given = list(arguments)
    for name, path in names.items():
        given = [argument.replace(name, str(tmp_path / path)) for argument in given]
    result = run("transfer", steering_folder, "-m", "nano", *SMALL, *given)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("instructions", "options", "message"),
    [
        ([JSON, {"name": "lowercase", "params": {}}], [], "names 2 instructions"),
        ([], ["--refit", "none"], "names no instruction"),
        ([JSON], ["--refit", "edits"], "different models"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_a_steering_that_cannot_be_fitted_or_measured_is_named_before_a_model_is_loaded(
    run: Callable[..., Any],
    steering_folder: Path,
    instructions: list[dict[str, Any]],
    options: list[str],
    message: str,
) -> None:
    other = steering_folder.parent / "whisper"
    steering = Steering.load(steering_folder)
    elsewhere = replace(steering.record, model=replace(steering.record.model, id="another", blocks=7))
    replace(steering, record=elsewhere).save(other)
    named(other, *instructions)
    result = run("transfer", steering_folder.parent, "-m", "nano", *SMALL, *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


@pytest.mark.usefixtures("no_model")
def test_without_edits_there_is_nothing_to_fit(run: Callable[..., Any], steering_folder: Path) -> None:
    named(steering_folder, JSON, edits=())
    result = run("transfer", steering_folder, "-m", "nano", *SMALL)
    assert (result.exit_code, "nothing to fit again" in result.stderr) == (2, True)


def test_a_source_that_it_was_not_made_on_is_refused_before_the_map(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path
) -> None:
    options = ("--map", "--source", other_folder, "--map-prompts", "12", *SMALL)
    result = run("transfer", steering_folder, "-m", other_folder, *options)
    assert result.exit_code == 2
    assert "names differ" in result.stderr or "for tiny" in result.stderr
    assert "reading" not in result.stderr


def test_progress_is_told_line_by_line_where_nobody_watches_a_bar(
    run: Callable[..., Any], steering_folder: Path, other_folder: Path
) -> None:
    result = run("transfer", steering_folder, "-m", other_folder, *SMALL)
    assert result.exit_code == 0, result.output
    for stage in ("shout: answering steered", "shout: making a vector here: reading", "shout: measuring"):
        assert stage in result.stderr


def test_a_folder_without_steerings_is_refused(
    run: Callable[..., Any], other_folder: Path, tmp_path: Path
) -> None:
    result = run("transfer", tmp_path, "-m", other_folder)
    assert result.exit_code == 2
    assert "there is no steering in" in result.stderr


def test_another_width_is_refused_before_any_work(run: Callable[..., Any], steering_folder: Path) -> None:
    result = run("transfer", steering_folder, "-m", "nano", "--device", "cpu")
    assert result.exit_code == 2
    assert "widths differ" in result.stderr
    assert "answering" not in result.stderr
