from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab import instructions, learn, prompts
from trimtab.engines.base import Engine
from trimtab.learn import Directions
from trimtab.steering import Steering

QUERIES = [
    f"{start} the {noun} {end}"
    for start, noun, end in itertools.product(
        ["what is", "tell me about", "who is in", "where is"],
        ["river", "city", "name"],
        ["?", ".", "and say it ."],
    )
]


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(QUERIES) + "\n")
    return file


@pytest.fixture
def settled(model_folder: Path, queries: Path) -> tuple[object, ...]:
    """Options that leave nothing to choose."""
    options = ("--model", model_folder, "--queries", queries, "--device", "cpu", "--pairs", 36)
    return (*options, "--block", 1, "--strength", 1.5, "--apply", "add")


def test_a_settled_choice_is_learned_and_saved_without_a_search(
    run: Callable[..., Any], settled: tuple[object, ...], engine: Engine, tmp_path: Path
) -> None:
    result = run("learn", "lowercase", *settled, "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["candidates"] == []

    instruction = instructions.get("lowercase")
    pairs = prompts.make_pairs(prompts.sample_queries(QUERIES, 36, 0), instruction, "learning")
    expected = learn.mean_difference(engine, pairs, instruction).add(1, 1.5)
    saved = Steering.load(tmp_path / "out", engine.identity)
    (edit,) = saved.edits
    assert edit.block == 1
    torch.testing.assert_close(edit.u * edit.alpha, expected.edits[0].u * expected.edits[0].alpha)
    assert saved.record.instructions == ({"name": "lowercase", "params": {}},)
    assert saved.record.prompts == prompts.digest(pairs)
    assert document["digest"] == saved.digest()


def test_the_directions_of_all_blocks_are_kept_beside_it(
    run: Callable[..., Any], settled: tuple[object, ...], engine: Engine, tmp_path: Path
) -> None:
    run("learn", "lowercase", *settled, "--out", tmp_path / "out", "--method", "pca")
    directions = Directions.load(tmp_path / "out", engine.identity)
    assert directions.blocks == (0, 1, 2)
    assert directions.method == "pca"
    plot = run("inspect", tmp_path / "out").stdout
    assert "mean difference per block" in plot


def test_an_exclusion_goes_against_its_inclusion(
    run: Callable[..., Any], settled: tuple[object, ...], tmp_path: Path
) -> None:
    vectors = []
    for name in ("include", "exclude"):
        result = run("learn", name, "--params", '{"word": "river"}', *settled, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        steering = Steering.load(tmp_path / name)
        assert steering.record.instructions[0]["name"] == name
        vectors.append(steering.edits[0].u * steering.edits[0].alpha)
    torch.testing.assert_close(vectors[1], -vectors[0])


def test_auto_searches_and_shows_the_candidates(
    run: Callable[..., Any], model_folder: Path, queries: Path, tmp_path: Path
) -> None:
    options = ("--model", model_folder, "--queries", queries, "--device", "cpu", "--out", tmp_path / "out")
    few = ("--strength", 2, "--apply", "set_projection", "--validation", 3, "--max-new-tokens", 6)
    result = run("learn", "lowercase", *options, *few, "--json", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "result.json").read_text())
    assert {one["strength"] for one in document["candidates"]} == {2.0}
    assert {one["application"] for one in document["candidates"]} == {"set_projection"}
    assert len({one["block"] for one in document["candidates"]}) == len(document["candidates"]) > 1
    best = document["candidates"][0]
    saved = Steering.load(tmp_path / "out")
    assert [edit.block for edit in saved.edits] == [best["block"]]
    assert saved.record.measurements["validation"]["followed"] == best["followed"]
    assert f"best of {len(document['candidates'])} candidates" in result.stdout
    assert "trimtab generate" in result.stdout


def test_the_same_command_learns_the_same_thing(
    run: Callable[..., Any], settled: tuple[object, ...], tmp_path: Path
) -> None:
    digests = []
    for name in ("first", "second"):
        run("learn", "json", *settled, "--out", tmp_path / name)
        digests.append(Steering.load(tmp_path / name).digest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shouting",), "shouting"),
        (("sentences", "--params", "{at_most: 2}"), "--params is not JSON"),
        (("sentences", "--params", "[2]"), "must be a JSON object"),
        (("sentences", "--params", '{"at_most": -2}'), "at_most"),
        (("json", "--block", "middle"), "takes auto or the number of a block"),
        (("json", "--strength", "nan"), "takes auto or a number"),
        (("json", "--apply", "multiply"), "multiply"),
        (("json", "--model", "./nowhere"), "nowhere"),
        (("json", "--block", "9"), "no block 9"),
        (("json", "--queries", "missing.txt"), "missing.txt"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing_behind(
    run: Callable[..., Any],
    settled: tuple[object, ...],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    name, *rest = arguments
    result = run("learn", name, *settled, *rest, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_refused_before_the_work(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "letters.txt").write_text("dear Ida")
    result = run("learn", "json", "--model", "./nowhere", "--out", tmp_path)
    assert result.exit_code == 2
    assert "holds other things" in " ".join(result.stderr.replace("│", " ").split())
    result = run("learn", "json", "--model", "./nowhere", "--out", tmp_path / "letters.txt")
    assert "is a file" in " ".join(result.stderr.replace("│", " ").split())


def test_too_few_queries_to_split_say_the_way_out(
    run: Callable[..., Any], model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("what is the river ?\n")
    options = ("--model", model_folder, "--queries", tmp_path / "one.txt", "--out", tmp_path / "out")
    result = run("learn", "json", *options)
    assert result.exit_code == 2
    assert "name --block, --strength and --apply yourself" in result.stderr
