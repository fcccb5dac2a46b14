"""`trimtab instructions`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab import instructions
from trimtab.instructions.registry import REGISTER

Run = Callable[..., Any]


def test_lists_every_instruction_with_its_id(run: Run) -> None:
    result = run("instructions")
    assert result.exit_code == 0
    for kind in instructions.catalogue():
        assert kind.name in result.stdout
        assert (kind.ifeval_id or "") in result.stdout


def test_lists_as_json(run: Run) -> None:
    listed = json.loads(run("instructions", "--json", "-").stdout)
    assert [row["name"] for row in listed] == instructions.names()
    bullets = next(row for row in listed if row["name"] == "bullets")
    assert bullets["ifeval_id"] == "detectable_format:number_bullet_lists"
    assert bullets["parameters"][0]["name"] == "num_bullets"
    assert bullets["parameters"][0]["required"] is True
    assert "json" in bullets["conflicts"]


def test_a_spelling_is_explained_as_its_instruction(run: Run) -> None:
    spelled = run("instructions", "sentences(at_most=2)", "--json", "-").stdout
    assert spelled == run("instructions", "sentences", "--json", "-").stdout


@pytest.mark.parametrize("name", instructions.names())
def test_a_card_for_each(run: Run, name: str) -> None:
    kind = instructions.get_type(name)
    result = run("instructions", name)
    assert result.exit_code == 0
    flat = " ".join(result.stdout.replace("│", " ").split())
    for heading in ("learning", "validation", "test", "Example", kind.summary.split(".")[0]):
        assert heading in flat
    for parameter in kind.parameters:
        assert parameter.name in flat
    for other in kind.conflicts:
        assert f"{other}: " in flat
    assert "{" not in flat.split("Phrasings")[1]


def test_a_card_as_json_holds_the_phrasings(run: Run) -> None:
    data = json.loads(run("instructions", "punctuation:no_comma", "--json", "-").stdout)
    assert data["name"] == "no_commas"
    assert len(data["phrasings"][""]["learning"]) >= 10


def test_quiet_shows_nothing(run: Run) -> None:
    assert run("instructions", "--quiet").stdout == ""


def test_knows_the_instructions_of_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[calm]\nphrasings = ['Be calm.', 'Stay [calm] {please}.']\nsummary = 'Is calm.'")
    try:
        result = run("instructions", "calm", "--file", file)
    finally:
        REGISTER.remove("calm")
    assert "Is calm." in result.stdout
    assert "Stay [calm] {please}." in result.stdout


def test_an_unknown_name_gets_suggestions(run: Run) -> None:
    result = run("instructions", "bulets")
    assert result.exit_code == 2
    assert "did you mean bullets" in result.stderr
