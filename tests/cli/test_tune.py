from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.report.html_check import check

from trimtab import instructions, learn, prompts
from trimtab.engines.base import Engine
from trimtab.learn import Directions
from trimtab.steering.steering import Steering

QUERIES = [
    f"{start} the {noun} ?" for start in ("what is", "where is", "who is in") for noun in ("river", "city")
]


@pytest.fixture
def options(model_folder: Path, tmp_path: Path) -> tuple[object, ...]:
    """A tiny model, few questions, short answers."""
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(QUERIES) + "\n")
    few = ("--validation", 3, "--first", 2, "--keep", 2, "--max-new-tokens", 4)
    return ("--model", model_folder, "--device", "cpu", "--queries", file, *few)


@pytest.fixture
def learned(engine: Engine, tmp_path: Path) -> Path:
    """A folder with directions, as `trimtab learn` leaves them beside a steering."""
    instruction = instructions.get("no_commas")
    pairs = prompts.make_pairs(QUERIES, instruction, "learning")
    directions = learn.mean_difference(engine, pairs, instruction)
    directions.save(tmp_path / "learned")
    directions.add(1).save(tmp_path / "learned")
    return tmp_path / "learned"


def test_learned_directions_are_searched_saved_and_reported(
    run: Callable[..., Any], options: tuple[object, ...], learned: Path, engine: Engine, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "search.html"
    grid = ("--blocks", "0,-1", "--strengths", "1,2", "--manual-weight", "0.5")
    result = run(
        "tune", learned, *options, *grid, "--out", out, "--report", page, "--json", tmp_path / "tuned.json"
    )
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "tuned.json").read_text())
    tried = {(one["application"], one["block"], one["strength"]) for one in document["candidates"]}
    assert tried == {
        (way, block, strength)
        for way in ("add", "set_projection")
        for block in (0, 2)
        for strength in (1.0, 2.0)
    }
    assert [one["n"] for one in document["candidates"][:3]] == [3, 3, 2]
    assert set(document["weights"]) == {"computed", "manual", "searched"}
    assert document["weights"]["manual"]["weight"] == pytest.approx(0.5)
    saved = Steering.load(out, engine.identity)
    assert saved.digest() == document["digest"]
    assert json.loads((out / "search.json").read_text()) == document
    assert saved.record.measurements["improved"] is document["improved"]
    assert Directions.load(out).digest() == Directions.load(learned).digest()
    check(page.read_text())
    assert "computed, manual and searched weight" in result.stdout
    assert "best of 8 candidates" in result.stdout


def test_only_the_strength_of_a_finished_steering_is_tuned(
    run: Callable[..., Any], options: tuple[object, ...], steering_folder: Path, tmp_path: Path
) -> None:
    page = tmp_path / "search.html"
    result = run("tune", steering_folder, *options, "--strengths", "0.5,1", "--report", page, "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {one["strength"] for one in document["candidates"]} == {0.5, 1.0}
    assert "block" not in document["best"]
    assert document["weights"] is None
    assert document["steering"] is None
    assert document["instruction"] == {"name": "uppercase", "params": {}}
    check(page.read_text())


def test_beside_directions_the_steering_is_kept_when_asked(
    run: Callable[..., Any], options: tuple[object, ...], learned: Path
) -> None:
    result = run("tune", learned, *options, "--strength-only", "--strengths", "1,2", "--json", "-")
    assert result.exit_code == 0, result.output
    assert {one["strength"] for one in json.loads(result.stdout)["candidates"]} == {1.0, 2.0}


def test_an_instruction_is_learned_first_and_its_exclusion_goes_backwards(
    run: Callable[..., Any], options: tuple[object, ...], tmp_path: Path
) -> None:
    many = tmp_path / "many.txt"
    many.write_text(
        "\n".join(f"{query} {word}" for query in QUERIES for word in ("a", "the", "of", "name")) + "\n"
    )
    result = run(
        "tune", "exclude", "--params", '{"word": "river"}', *options, "--queries", many, "--json", "-"
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["instruction"]["name"] == "exclude"
    assert max(one["strength"] for one in document["candidates"]) < 0


def test_the_papers_rule_with_and_without_a_model_of_its_own(
    run: Callable[..., Any], options: tuple[object, ...], learned: Path, model_folder: Path
) -> None:
    alone = run("tune", learned, *options, "--rule", "paper", "--json", "-")
    assert alone.exit_code == 0, alone.output
    assert "the unsteered model stands in" in alone.stderr
    named = run(
        "tune", learned, *options, "--rule", "paper", "--perplexity-model", model_folder, "--json", "-"
    )
    first, second = json.loads(alone.stdout), json.loads(named.stdout)
    assert first["candidates"] == second["candidates"], "here it is the same model"
    assert {(one["application"], one["strength"]) for one in first["candidates"]} == {("set_projection", 1.0)}
    assert "under the unsteered model" in first["settings"]["rule"]
    assert str(model_folder) in second["settings"]["rule"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "nonsense"),
        (("nonsense", "--strength-only"), "there is no folder nonsense"),
        (("{learned}", "--params", "{}"), "a folder says its own"),
        (("{learned}", "--blocks", "first"), "--blocks takes numbers"),
        (("{learned}", "--blocks", "7"), "no block 7"),
        (("{learned}", "--strengths", "1,inf"), "--strengths takes numbers"),
        (("{learned}", "--report", "missing/page.html"), "a folder that exists"),
        (("{learned}", "--perplexity-model", "nano"), "is for --rule paper"),
        (("{shout}", "--rule", "paper"), "only its strength can be tuned"),
        (("{shout}", "--blocks", "1"), "only its strength can be tuned"),
        (("{shout}", "--manual-weight", "3"), "only its strength can be tuned"),
        (("{learned}", "--threshold", "2.5"), "--threshold is for --rule paper"),
        (("json",), "too few queries"),
    ],
)
def test_mistakes_exit_with_2(
    run: Callable[..., Any],
    options: tuple[object, ...],
    learned: Path,
    steering_folder: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    given = [
        argument.replace("{learned}", str(learned)).replace("{shout}", str(steering_folder))
        for argument in arguments
    ]
    result = run("tune", given[0], *options, *given[1:])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_a_folder_with_other_things_is_refused_before_the_work(
    run: Callable[..., Any], learned: Path, tmp_path: Path
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear Ida")
    result = run("tune", learned, "--out", tmp_path / "letters")
    assert result.exit_code == 2
    assert "holds something else" in " ".join(result.stderr.replace("│", " ").split())


def test_a_steering_for_several_instructions_has_no_single_judge(
    run: Callable[..., Any], options: tuple[object, ...], learned: Path, steering_folder: Path, tmp_path: Path
) -> None:
    both = Steering.load(learned) + Steering.load(steering_folder)
    both.save(tmp_path / "both")
    result = run("tune", tmp_path / "both", *options)
    assert result.exit_code == 2
    assert "stands for 2 instructions" in result.stderr


def test_a_folder_of_a_local_model_says_that_the_model_must_be_named(
    run: Callable[..., Any], learned: Path
) -> None:
    result = run("tune", learned)
    assert result.exit_code == 2
    assert "say where it is: --model FOLDER" in result.stderr


def test_candidates_are_scored_by_another_model(
    run: Callable[..., Any], options: tuple[object, ...], learned: Path, model_folder: Path, tmp_path: Path
) -> None:
    grid = ("--blocks", "0", "--strengths", "1", "--scorer", model_folder, "--out", tmp_path / "out")
    result = run("tune", learned, *options, *grid, "--json", tmp_path / "tuned.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "tuned.json").read_text())
    assert all(one["quality"]["relevance"] is not None for one in document["candidates"])
    assert all(isinstance(one["out_of_bounds"], list) for one in document["candidates"])
    assert document["settings"]["scorer"] == str(model_folder)
    saved = Steering.load(tmp_path / "out").record.measurements["validation"]
    assert saved["quality"]["scorer_perplexity"] is not None
