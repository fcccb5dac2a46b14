"""The tasks that measure what steering costs elsewhere, and the command, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.running import run
from benchmarks.side_effects import __main__ as side_effects
from benchmarks.side_effects.grammar import PHENOMENA, minimal_pairs
from benchmarks.side_effects.table import PLACE, markdown
from benchmarks.side_effects.tasks import fact_rows, grammar_rows
from tests.tiny import random_steering, tiny_engine

from trimtab.measure import facts


def test_minimal_pairs_are_many_different_and_always_the_same() -> None:
    pairs = list(minimal_pairs())
    assert len(pairs) >= 300
    assert len({pair for _, pair in pairs}) == len(pairs)
    assert pairs == list(minimal_pairs())
    for name, (right, wrong) in pairs:
        assert right != wrong
        assert len(right.split()) == len(wrong.split()), name
    assert {name for name, _ in pairs} == set(PHENOMENA)
    said = [pair for _, pair in minimal_pairs(each=3, seed=1)]
    assert said != [pair for _, pair in pairs][: len(said)]


@pytest.mark.parametrize("make", [fact_rows, grammar_rows])
def test_rows_have_one_right_choice_in_a_place_drawn(make: Any) -> None:
    rows = make(0)
    assert len(rows) >= 300
    assert rows == make(0)
    for row in rows:
        assert len({choice.casefold() for choice in row["choices"]}) == len(row["choices"])
    places = [row["gold"] for row in rows]
    assert min(places.count(place) for place in range(len(rows[0]["choices"]))) > len(rows) / 8


def test_no_wrong_choice_would_be_accepted_as_an_answer() -> None:
    known = {one.text: one for split in ("learning", "validation", "test") for one in facts.questions(split)}
    for row in fact_rows():
        question = known[row["text"]]
        assert [question.answered(choice) for choice in row["choices"]].count(True) == 1
        assert question.answered(row["choices"][row["gold"]])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The tiny model that the command runs, with a random steering of one instruction learned already."""
    engine = tiny_engine("llama", max_position_embeddings=256)
    steering = random_steering(engine, strength=2.0)

    class Loading:
        def __init__(self, dtype: Any) -> None:
            pass

        def open(self, output: Any, name: str) -> Any:
            return engine

    monkeypatch.setattr(side_effects, "Loading", Loading)
    folder = tmp_path / "steerings" / "lowercase"
    steering.save(folder)
    asked = {"model": "tiny", "learn": [], "seed": 0}
    (tmp_path / "steerings" / "lowercase.learned.json").write_text(json.dumps({"asked": asked, "told": {}}))
    return engine


def test_the_command_measures_and_goes_on_from_what_is_kept(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = ["--model", "tiny", "--instructions", "lowercase", "--items", "4"]
    arguments += ["--steerings", str(tmp_path / "steerings"), "--out", str(tmp_path / "out")]
    assert run(side_effects.command, "side_effects", arguments) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    (one,) = result["instructions"]
    assert list(one["conditions"]) == ["instructed", "steered", "instructed+steered"]
    for task in ("facts", "grammar"):
        plain = result["baseline"][task]
        assert plain["items"] == 4
        for found in (by_task[task] for by_task in one["conditions"].values()):
            assert found["difference"] == pytest.approx(found["accuracy"] - plain["accuracy"])
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert table.count("| `lowercase` |") == 3
    assert table.strip() == markdown(result).strip()
    capsys.readouterr()

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(side_effects, "under_lm_eval", never)
    page = tmp_path / "page.md"
    page.write_text("no place\n", "utf-8")
    assert run(side_effects.command, "side_effects", [*arguments, "--into", str(page)]) == 2
    page.write_text(f"Before.\n<!-- {PLACE} -->\nold\n<!-- end of the table -->\nAfter.\n", "utf-8")
    assert run(side_effects.command, "side_effects", [*arguments, "--into", str(page)]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8")) == result
    assert (
        page.read_text("utf-8")
        == f"Before.\n<!-- {PLACE} -->\n{table.strip()}\n<!-- end of the table -->\nAfter.\n"
    )


def test_what_is_counted_is_what_the_model_finds_likelier(quick: Any) -> None:
    rows = grammar_rows()[::40]
    right = side_effects.under_lm_eval(quick, "grammar", rows, None, None, 3, 0)
    for row, judged in zip(rows, right, strict=True):
        nats = [
            score * len(quick.tokenizer(choice, add_special_tokens=False)["input_ids"])
            for score, choice in zip(
                quick.score([row["text"]] * 2, row["choices"]), row["choices"], strict=True
            )
        ]
        assert judged == (nats.index(min(nats)) == row["gold"])
