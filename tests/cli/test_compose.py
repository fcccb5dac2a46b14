from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.engines.base import Engine
from trimtab.instructions.registry import REGISTER
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

# Words that a model of a few dozen others cannot say.
ABSENT = ({"name": "exclude", "params": {"word": "zeppelin"}}, {"name": "exclude", "params": {"word": "owl"}})


@pytest.fixture
def save(engine: Engine, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, instruction: dict[str, Any] | None, block: int = 1) -> Path:
        direction = torch.linspace(-1, 1, engine.identity.width)
        record = Record(engine.identity, () if instruction is None else (instruction,))
        return Steering(name, (Edit.add(block, direction, 0.001),), record).save(tmp_path / name)

    return write


@pytest.fixture
def options(model_folder: Path) -> tuple[object, ...]:
    return ("--model", model_folder, "--device", "cpu", "--validation", 3, "--max-new-tokens", 24)


def test_a_union_that_follows_is_saved_with_what_was_measured(
    run: Callable[..., Any], save: Callable[..., Path], options: tuple[object, ...], tmp_path: Path
) -> None:
    folders = [save("one", ABSENT[0]), save("two", ABSENT[1], 2)]
    result = run("compose", *folders, *options, "--out", tmp_path / "both", "--json", tmp_path / "both.json")
    assert result.exit_code == 0, result.output
    assert "follows everything, the union: 1.00 of 3 validation queries" in result.stdout
    document = json.loads((tmp_path / "both.json").read_text())
    assert (document["union_followed"], document["fitted"], document["distillation"]) == (1.0, False, None)
    saved = Steering.load(tmp_path / "both")
    assert [edit.block for edit in saved.edits] == [1, 2]
    assert saved.digest() == document["digest"]
    assert saved.record.instructions == ABSENT


def test_never_adds_up_and_measures_nothing(
    run: Callable[..., Any], save: Callable[..., Path], options: tuple[object, ...], tmp_path: Path
) -> None:
    folders = [save("one", ABSENT[0]), save("two", None)]
    result = run("compose", *folders, *options, "--fit", "never", "--out", tmp_path / "both", "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["union_followed"] is None
    assert len(Steering.load(tmp_path / "both").edits) == 2


def test_instructions_of_a_file_are_composed(
    run: Callable[..., Any], save: Callable[..., Path], options: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text("[terse]\nphrasings = ['Be terse.']\nregex = '.'\n")
    folders = [save("one", ABSENT[0]), save("two", {"name": "terse", "params": {}}, 2)]
    try:
        command = ("compose", *folders, *options, "--out", tmp_path / "both")
        result = run(*command, "--file", tmp_path / "own.toml")
    finally:
        REGISTER.remove("terse")
    assert result.exit_code == 0, result.output
    assert len(Steering.load(tmp_path / "both").record.instructions) == 2
    result = run(*command)
    assert result.exit_code == 2
    assert "there is no instruction 'terse'" in result.stderr


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        (("lowercase", "uppercase"), (), "lowercase and uppercase cannot be followed at once: "),
        (("lowercase", "uppercase"), ("--fit", "never"), "cannot be followed at once: "),
        (("lowercase",), (), "two steerings or more, not 1"),
        (("lowercase", None), (), "names no instruction"),
        (("lowercase", "json"), ("--fit", "often"), "often"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing_behind(
    run: Callable[..., Any],
    save: Callable[..., Path],
    tmp_path: Path,
    names: tuple[str | None, ...],
    more: tuple[str, ...],
    words: str,
) -> None:
    folders = [
        save(f"part-{number}", None if name is None else {"name": name, "params": {}})
        for number, name in enumerate(names)
    ]
    # No such model: what is impossible is refused before one is loaded.
    result = run("compose", *folders, "--model", "./nowhere", *more, "--out", tmp_path / "both")
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "both").exists()
