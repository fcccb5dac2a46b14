from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions, learn, prompts
from trimtab.cli.inspect import bar
from trimtab.engines.base import Engine
from trimtab.steering.steering import Steering


def test_the_card_names_model_edits_and_norms(run: Callable[..., Any], steering_folder: Path) -> None:
    result = run("inspect", steering_folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "shout"
    assert "tiny" in lines[1]
    assert "3 blocks of width 16" in lines[1]
    bars = {line.split()[0]: line.count("█") for line in lines[-3:]}
    assert bars["0"] == 0
    assert bars["1"] == 32
    assert 0 < bars["2"] < 32


def test_json_has_the_record_and_the_norms(run: Callable[..., Any], steering_folder: Path) -> None:
    result = run("inspect", steering_folder, "--json", "-")
    card = json.loads(result.stdout)
    steering = Steering.load(steering_folder)
    assert card["digest"] == steering.digest()
    assert card["instructions"] == [{"name": "uppercase", "params": {}}]
    assert [edit["block"] for edit in card["edits"]] == [1, 2]
    added, projected = card["edits"]
    assert added["added_norm"] == pytest.approx(40 * float(steering.edits[0].u.norm()))
    assert added["p_norm"] == 0
    assert projected["p_norm"] == pytest.approx(1)
    assert projected["alpha"] == 3


def test_directions_of_something_else_are_not_shown_as_its_own(
    run: Callable[..., Any], steering_folder: Path, engine: Engine
) -> None:
    pairs = prompts.make_pairs(
        ["what is a river ?", "who is in the city ?"], instructions.get("json"), "learning"
    )
    learn.mean_difference(engine, pairs, instructions.get("json")).save(steering_folder)
    result = run("inspect", steering_folder)
    assert result.exit_code == 0
    assert "mean difference" not in result.stdout


@pytest.mark.parametrize("damage", ["missing", "foreign", "cut"])
def test_what_is_no_steering_is_refused_in_one_line(
    run: Callable[..., Any], steering_folder: Path, damage: str
) -> None:
    document = steering_folder / "steering.json"
    if damage == "missing":
        steering_folder = steering_folder / "elsewhere"
    elif damage == "foreign":
        document.write_text('{"format": "something else"}')
    else:
        document.write_text(document.read_text()[:100])
    result = run("inspect", steering_folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6), st.integers(1, 80))
def test_a_bar_fits_and_shows_what_is_there(value: float, longest: float, width: int) -> None:
    drawn = bar(min(value, longest), longest, width)
    assert len(drawn) <= width
    assert (len(drawn) > 0) == (value > 0)
    assert bar(longest, longest, width) == "█" * width
