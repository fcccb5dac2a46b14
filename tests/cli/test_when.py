from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.engines.base import Engine
from trimtab.steering.steering import Steering
from trimtab.steering.when import Matches, Resembles

RIVER, CITY = "what is the name of the river ?", "tell me about the city ."


def test_a_pattern_is_attached_and_kept_to(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, engine: Engine, tmp_path: Path
) -> None:
    out = tmp_path / "when"
    result = run("when", steering_folder, "--matching", "river", "--out", out)
    assert result.exit_code == 0, result.output
    assert "acts only if the prompt matches /river/" in result.stdout
    assert Steering.load(out).whens == (Matches("river"),)
    assert Steering.load(steering_folder).whens == ()
    (tmp_path / "prompts.txt").write_text(f"{RIVER}\n{CITY}\n")
    options = ("--prompts", tmp_path / "prompts.txt", "-m", model_folder, "-s", out, "--max-new-tokens", 8)
    rows = json.loads(run("generate", *options, "--json", "-").stdout)["responses"]
    assert [row["acts"] for row in rows] == [True, False]
    expected = engine.generate(
        [RIVER, CITY], steering=[Steering.load(steering_folder), None], max_new_tokens=8
    )
    assert [row["response"] for row in rows] == [one.text for one in expected]
    shown = run("generate", *options).stdout
    assert f"> {CITY}  (not steered: it does not act here)" in shown
    assert f"> {RIVER}\n" in shown
    streamed = run("generate", CITY, "-m", model_folder, "-s", out, "--max-new-tokens", 8)
    assert streamed.stdout == expected[1].text + "\n"
    assert "does not act on this prompt" in streamed.stderr


def test_it_is_replaced_turned_round_and_removed(run: Callable[..., Any], steering_folder: Path) -> None:
    plain = Steering.load(steering_folder).digest()
    run("when", steering_folder, "--matching", "river")
    result = run("when", steering_folder, "--matching", "city", "--unless")
    assert "what was said before is gone" in result.stdout
    assert Steering.load(steering_folder).whens == (~Matches("city"),)
    card = json.loads(run("inspect", steering_folder, "--json", "-").stdout)
    assert card["conditions"][0]["acts_if"] == "not (the prompt matches /city/)"
    assert [edit["condition"] for edit in card["edits"]] == [0, 0]
    assert "acts on every prompt" in run("when", steering_folder, "--remove").stdout
    assert Steering.load(steering_folder).digest() == plain


def test_a_condition_is_learned_from_files_of_prompts(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, tmp_path: Path
) -> None:
    kinds = {"steer": "what is the {} ?", "leave": "tell me about the {} ."}
    for name, form in kinds.items():
        lines = [form.format(word) for word in "river city name one two of and a in it".split()]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    files = ("--steer", tmp_path / "steer.txt", "--leave", tmp_path / "leave.txt", "-m", model_folder)
    asked = ("--ask", "what is the word ?", "--ask", "tell me about the word .")
    result = run("when", steering_folder, *files, *asked, "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["conditions"][0]["kind"] == "resembles"
    assert document["conditions"][0]["measurements"]["f1"] == 1.0
    assert [row["acts"] for row in document["asked"]] == [True, False]
    [when] = Steering.load(steering_folder).whens
    assert isinstance(when, Resembles)
    shown = run("when", steering_folder, "-m", model_folder, *asked).stdout
    assert "learned direction" in shown
    assert "yes" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give --matching REGEX"),
        (("--matching", "x", "--remove"), "give --matching, or"),
        (("--steer", "x.txt"), "give --matching, or"),
        (("--ask", "x", "--unless"), "changes and saves nothing"),
        (("--matching", "("), "not a regular expression"),
        (("--steer", "no.txt", "--leave", "no.txt", "-m", "MODEL"), "there is no file no.txt"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(
    run: Callable[..., Any],
    steering_folder: Path,
    model_folder: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    given = [model_folder if one == "MODEL" else one for one in arguments]
    before = Steering.load(steering_folder).digest()
    result = run("when", steering_folder, *given)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert Steering.load(steering_folder).digest() == before
