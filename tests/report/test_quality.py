"""What following costs, as tables show it: every measure that was taken, and what is out of bounds."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from tests.evaluate.fakes import FakeEngine, steering

from trimtab import instructions
from trimtab.measure.rows import Row, evaluate_instruction
from trimtab.report.page import Report, render
from trimtab.report.quality import Cell, quality_view
from trimtab.report.tables import quality_caption, quality_table

QUERIES = ["What is the River?", "Tell me about the River."]


def rows_of(*chosen: str) -> list[Row]:
    return [
        row
        for name in chosen
        for row in evaluate_instruction(FakeEngine(), name, steering(), QUERIES, facts=lambda *_: 0.5)
    ]


def changed(row: Row, **changes: Any) -> Row:
    return replace(row, responses=tuple(replace(one, **changes) for one in row.responses))


def scored(rows: list[Row], **of_steered: Any) -> list[Row]:
    common = {"scorer_nll": 1.0, "relevance": 0.5}
    return [changed(row, **common | (of_steered if row.condition == "steered" else {})) for row in rows]


def test_every_measure_that_was_taken_is_shown_beside_plain() -> None:
    view = quality_view(rows_of("lowercase"))
    assert view is not None
    assert view.measures == ("tokens", "repetition", "perplexity", "facts")
    assert view.headings == ["tokens", "repeats", "perpl.", "facts"]
    assert [cell.text for cell in view.plain] == ["60", "0.00", "2.72", "0.50"]
    # Odder than plain, as instructed answers that follow are.
    assert view.lines == (("lowercase", (Cell("60"), Cell("0.00"), Cell("4.48"), Cell("0.50"))),)
    assert view.outside == 0


@pytest.mark.parametrize(
    ("changes", "out"),
    [
        ({"relevance": 0.1}, ["0.10"]),
        ({"scorer_nll": 3.0}, ["20.1"]),
        ({"tokens": 20, "repetition": 0.6}, ["20", "0.60"]),
        ({"facts": 0.0}, ["0.00"]),
    ],
)
def test_what_is_out_of_bounds_is_marked(changes: dict[str, float], out: list[str]) -> None:
    rows = scored(rows_of("lowercase"), **changes)
    view = quality_view(rows)
    assert view is not None
    assert [cell.text for _, cells in view.lines for cell in cells if cell.out] == out
    assert view.outside == 1
    page = render(Report("t", "l", rows))
    for text in out:
        assert f'<td class="worse">▼ {text}</td>' in page
    assert "1 of 1 instructions out of bounds" in " ".join(page.split())


def test_the_table_fits_80_columns() -> None:
    rows = scored(rows_of("lowercase", 'include(word="lantern")'), relevance=0.2)
    table = quality_table(rows)
    assert isinstance(table, Table)
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(table)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["plain", "60", "0.00", "2.72", "2.72", "0.50", "0.50"]
    assert lines[3].split() == ["lowercase", "60", "0.00", "4.48", "2.72", "▼0.20", "0.50"]
    caption = quality_caption(rows)
    assert "under another model" in caption
    assert "▼ out of bounds: 2 of 2." in caption


def test_a_page_shows_a_scorer_only_where_there_was_one() -> None:
    rows = rows_of("lowercase")
    assert "relevance</th>" not in render(Report("t", "l", rows))
    page = render(Report("t", "l", scored(rows)))
    assert page.count("relevance</th>") == 2
    assert "<b>relevance</b>" in page
    assert "0 of 1 instructions out of bounds" in " ".join(page.split())


def test_without_a_steering_there_is_nothing_to_compare() -> None:
    rows = evaluate_instruction(FakeEngine(), instructions.get("lowercase"), None, QUERIES)
    assert quality_view(rows) is None
    assert quality_table(rows) is None
    assert quality_caption(rows) == ""
    assert "steered answers</th>" not in render(Report("t", "l", rows))
