from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import random_steering

PROMPT = "What is Langford?"


def test_an_instruction_and_a_pattern_hold_together(run: Callable[..., Any]) -> None:
    options = ("--constrain", "lowercase", "--constrain-regex", "[a-zA-Z]{2,5}[.]")
    result = run("generate", PROMPT, "-m", "nano", "--max-new-tokens", 12, *options)
    assert result.exit_code == 0, result.output
    assert re.fullmatch("[a-z]{2,5}[.]\n", result.stdout)


def test_what_was_taken_is_told(
    run: Callable[..., Any], engines: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "steering"
    random_steering(engines("nano"), 1).save(folder)
    options = ("--constrain-regex", "[a-z]{2,5}[.]", "--max-new-tokens", 12, "--json", "-")
    result = run("generate", PROMPT, "-m", "nano", "-s", folder, "--compare", *options)
    rows = json.loads(result.stdout)["responses"]
    assert [row["condition"] for row in rows] == ["baseline", "steered"]
    assert all(re.fullmatch("[a-z]{2,5}[.]", row["response"]) for row in rows)
    assert all(0 < row["taken"] < 1 for row in rows)
    free = run("generate", PROMPT, "-m", "nano", "--max-new-tokens", 2, "--json", "-")
    assert "taken" not in json.loads(free.stdout)["responses"][0]


def test_a_schema_and_a_grammar_come_from_files(run: Callable[..., Any], tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["yes", "no"]}')
    result = run("generate", PROMPT, "-m", "nano", "--constrain-schema", schema)
    assert json.loads(result.stdout) in ("yes", "no")
    grammar = tmp_path / "colour.lark"
    grammar.write_text('start: "red" | "blue"')
    result = run("generate", PROMPT, "-m", "nano", "--constrain-grammar", grammar)
    assert result.stdout.strip() in ("red", "blue")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--constrain", "nothing_such"), "nothing_such"),
        (("--constrain", "language(de)"), 'language(language="de") has no constraint'),
        (("--constrain-regex", "[a"), "unclosed character class"),
        (("--constrain-regex", ""), "--constrain-regex is empty"),
        (("--constrain-schema", "missing.json"), "cannot read missing.json: No such file"),
        (
            ("--constrain-schema", "{file}", "--constrain-regex", "a"),
            "cannot hold together: regex, json_schema",
        ),
        (("--constrain-schema", "{list}"), "is no JSON schema: that is an object, not list"),
        (("--constrain-grammar", "{list}"), "this constraint (lark) cannot be used"),
    ],
)
def test_what_cannot_be_held_is_one_line(
    run: Callable[..., Any], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "file.json").write_text("{}")
    (tmp_path / "list.json").write_text("[]")
    given = [
        one.format(file=tmp_path / "file.json", list=tmp_path / "list.json") if "{" in one else one
        for one in options
    ]
    result = run("generate", PROMPT, "-m", "nano", *given)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_vocabulary_of_words_is_refused_in_one_line(run: Callable[..., Any], model_folder: Path) -> None:
    result = run("generate", PROMPT, "-m", model_folder, "--max-new-tokens", 9, "--constrain-regex", "[a-z]+")
    assert result.exit_code == 2
    assert "does not tell the bytes of its tokens" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
