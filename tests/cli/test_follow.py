from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab import instructions

PROMPT = "what is the name of the river ?"


def test_what_is_verified_passes_and_what_it_took_is_told(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path
) -> None:
    options = ("-m", model_folder, "-s", steering_folder, "--max-new-tokens", 6, "--budget", 3)
    result = run("follow", PROMPT, *options, "-i", "no_commas,words(at_most=300)", "--json", "-")
    document = json.loads(result.stdout)
    [row] = document["responses"]
    checks = [instructions.get("no_commas"), instructions.get("words", at_most=300)]
    assert row["verified"] == all(one.check(row["response"]) for one in checks)
    assert result.exit_code == (0 if row["verified"] else 1)
    assert document["verified"] == int(row["verified"])
    assert row["tokens"] == sum(one["tokens"] for one in row["attempts"])
    assert set(row["followed"]) == {one.label for one in checks}


def test_an_answer_that_is_not_verified_exits_with_1_and_is_shown(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text(f"{PROMPT}\ntell me about the city .\n")
    options = ("--prompts", tmp_path / "prompts.txt", "-m", model_folder, "--max-new-tokens", 4)
    result = run("follow", *options, "-s", steering_folder, "-i", "json", "--budget", 4, "--strengths", "1,2")
    assert result.exit_code == 1
    assert "0 of 2 verified" in result.stdout
    assert f"> {PROMPT}" in result.stdout
    quiet = run("follow", *options, "-i", "json", "--budget", 1, "--quiet")
    assert quiet.exit_code == 1
    assert "verified" not in quiet.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PROMPT,), "name what to check"),
        ((PROMPT, "-i", "moon"), "moon"),
        ((PROMPT, "-i", "json", "--strengths", "much"), "takes numbers"),
        ((PROMPT, "-i", "json", "--budget", "0"), "--budget"),
        (("-i", "json"), "give one prompt"),
        ((PROMPT, "-i", "lowercase,uppercase", "-m", "MODEL"), "cannot both be followed"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(
    run: Callable[..., Any], model_folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run("follow", *[model_folder if one == "MODEL" else one for one in arguments])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_the_last_resort_is_a_constraint_and_the_table_says_so(run: Callable[..., Any]) -> None:
    asked = ("follow", "What is Harrowmere?", "-m", "nano", "-i", "uppercase", "--budget", 2)
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "1 of 1 verified, 1 of them held to a constraint" in result.stdout
    document = json.loads(run(*asked, "--json", "-").stdout)
    assert (document["constrained"], document["responses"][0]["constrained"]) == (1, True)
    assert document["responses"][0]["attempts"][-1]["taken"] > 0
    free = json.loads(run(*asked, "--no-constrain", "--json", "-").stdout)
    assert free["constrained"] == 0
