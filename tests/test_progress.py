"""Progress is told in one way, and shown as a bar or in lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trimtab import progress
from trimtab.progress import _Lines, prefixed, shown


def test_a_function_is_told_itself() -> None:
    told: list[tuple[object, ...]] = []

    def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        told.append((stage, done, of, note))

    with shown(tell) as given:
        prefixed(given, "json")("learning", 1, 4, "loss 0.5")
    assert told == [("json: learning", 1, 4, "loss 0.5")]


def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(False) as tell:
        tell("learning", 1, 4)
    assert capsys.readouterr() == ("", "")


def test_where_nobody_watches_there_is_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True) as tell:
        tell("answering", 0, 8)
        tell("answering", 4, 8)
        tell("learning", 1, 4, "loss 0.5")
        tell("counting", 3)
    lines = capsys.readouterr().err.splitlines()
    assert [line[9:] for line in lines] == ["answering", "learning, 1 of 4, loss 0.5", "counting, 3"]


def test_a_long_stage_gets_a_line_every_half_minute() -> None:
    clock = iter([0.0, 0.0, 10.0, 29.0, 30.0, 31.0, 65.0])
    file = io.StringIO()
    tell = _Lines(Console(file=file), lambda: next(clock))
    for done in range(6):
        tell("[learning]", done, 6)
    assert file.getvalue().splitlines() == [
        "[   0 s] [learning]",
        "[  30 s] [learning], 3 of 6",
        "[  65 s] [learning], 5 of 6",
    ]


def test_a_terminal_gets_one_bar_that_names_the_stage() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with shown(True, console) as tell:
        tell("answering", 0, 8)
        tell("learning", 3, 4, "loss 0.5")
    assert "learning, loss 0.5" in file.getvalue()
    assert "3/4" in file.getvalue()


def test_silence_takes_what_is_told() -> None:
    assert progress.silent("learning", 1, 2, "loss") is None  # type: ignore[func-returns-value]
