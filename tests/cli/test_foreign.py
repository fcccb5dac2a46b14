"""Steerings go to other libraries' files and come from them, by the commands a user has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.engines.base import Engine
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

Run = Callable[..., Any]


@pytest.fixture
def added(engine: Engine, tmp_path: Path) -> Path:
    """A steering that only adds, strongly enough to be seen."""
    direction = torch.linspace(-1, 1, engine.identity.width)
    edits = (Edit.add(1, direction, 40.0), Edit.add(2, direction.flip(0), 3.0))
    return Steering("shout", edits, Record(engine.identity)).save(tmp_path / "added")


def test_there_and_back_steers_alike(run: Run, model_folder: Path, added: Path, tmp_path: Path) -> None:
    file, back = tmp_path / "v.gguf", tmp_path / "back"
    sent = run("export", added, "--format", "gguf", "--out", file, "--json", "-")
    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout)["use"] == f"llama-cli -m MODEL.gguf --control-vector {file}"
    command = (
        "import",
        file,
        "--model",
        model_folder,
        "--out",
        back,
        "--instruction",
        "uppercase",
        "--name",
        "loud",
    )
    result = run(*command, "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["format"], document["name"], document["method"]) == ("gguf", "loud", "imported")
    assert document["instructions"] == [{"name": "uppercase", "params": {}}]
    assert "after the final norm" in document["notes"][0]
    assert "after the final norm" in result.stderr
    asked = ("what is the river ?", "-m", model_folder, "--max-new-tokens", 6)
    plain, *steered = (
        run("generate", *asked, *("-s", place) * bool(place)).stdout for place in ("", added, back)
    )
    assert steered[0] == steered[1] != plain


def test_strength_and_blocks_are_chosen_on_the_way(
    run: Run, model_folder: Path, added: Path, tmp_path: Path
) -> None:
    file, back = tmp_path / "v.gguf", tmp_path / "back"
    assert run("export", added, "--format", "gguf", "-o", file, "--strength", -0.5).exit_code == 0
    options = ("--blocks", "1", "--strength", 2, "--format", "gguf", "--option", "layer_offset=0")
    result = run("import", file, "-m", model_folder, "-o", back, *options)
    assert result.exit_code == 0, result.output
    first = Steering.load(added).edits[0]
    (edit,) = Steering.load(back).edits
    assert torch.allclose(edit.alpha * edit.u, -first.alpha * first.u)


def test_the_list_names_each_format_with_its_options(run: Run) -> None:
    for command in (("import", "x"), ("export", "x")):
        result = run(*command, "--format", "list")
        assert result.exit_code == 0
        assert "gguf" in result.stdout
        assert "import --option layer_offset=0" in result.stdout
        assert "export --option reader=llama.cpp" in result.stdout


def test_what_cannot_be_said_is_one_line(run: Run, steering_folder: Path, tmp_path: Path) -> None:
    result = run("export", steering_folder, "--format", "gguf", "--out", tmp_path / "v.gguf")
    assert result.exit_code == 2
    assert "sets the projection to 3" in result.stderr
    assert not (tmp_path / "v.gguf").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "{added}", "--out", "v"), "--format with one of gguf"),
        (("export", "{added}", "--out", "v", "--format", "gufg"), "did you mean gguf"),
        (("export", "{added}", "--out", "v", "--format", "gguf", "--option", "reader"), "NAME=VALUE"),
        (("export", "{added}", "--out", "no/folder/v", "--format", "gguf"), "cannot write no/folder/v"),
        (("import", "{added}", "--out", "v", "--format", "gguf", "-m", "nano"), "it is not a file"),
        (("import", "{added}/steering.json", "--out", "v", "-m", "nano"), "of no format that is known"),
        (("import", "nowhere", "--out", "v"), "there is no file nowhere"),
    ],
)
def test_mistakes_are_one_line(run: Run, added: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*(one.format(added=added) for one in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
