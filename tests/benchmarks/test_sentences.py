from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from benchmarks.sentences import count, splitters
from typer.testing import CliRunner

from benchmarks import sentences


def by_full_stops(text: str, language: str) -> list[str]:
    return text.split(".")


@pytest.mark.parametrize(
    ("answer", "as_it_is", "prose"),
    [
        ("It rained. We read.", 2, 2),
        ("1. It rained.", 2, 1),
        ("Do.\n\n```\na. b.\n```", 3, 1),
        ("It rained. 🎉", 1, 1),
    ],
)
def test_it_counts_the_answer_or_its_prose(answer: str, as_it_is: int, prose: int) -> None:
    assert count(by_full_stops, answer, "en", prose=False) == as_it_is
    assert count(by_full_stops, answer, "en", prose=True) == prose


def test_it_prints_a_table_and_leaves_out_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Callable[[str, str], list[str]]:
        raise ImportError("no such module")

    kept = {name: made for name, made in splitters().items() if name in ("punkt, English", "trimtab")}
    monkeypatch.setattr(sentences, "splitters", lambda: kept | {"other": ("other", missing)})
    app = typer.Typer()
    app.command()(sentences.command)
    file = tmp_path / "found.json"
    result = CliRunner().invoke(app, ["--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "| trimtab | 0." in result.output
    assert "other: left out" in result.output
    found = json.loads(file.read_text())
    assert set(found) == {"punkt, English", "trimtab"}
    assert found["punkt, English"]["prose"] < found["trimtab"]["prose"]
