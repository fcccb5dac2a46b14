"""The table, for the terminal and for the documentation: a row per method, a column per instruction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.compare.cells import Cell
from benchmarks.compare.task import Settings
from trimtab.measure.statistics import mean

_BEGIN, _END = "<!-- the table of benchmarks/compare -->", "<!-- end of the table -->"

NOT_BETTER = "°"
"""Marks a cell whose best candidate did not beat steering nothing on validation."""


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        title: The method.
        cells: Its cells by the label of the instruction.
    """

    title: str
    cells: Mapping[str, Cell]

    def values(self, condition: str, *names: str) -> list[float | None]:
        """A measured number of each cell, None where the condition wasn't measured."""
        found = []
        for cell in self.cells.values():
            value: Any = cell.rows.get(condition)
            for name in names:
                value = None if value is None else value[name]
            found.append(value)
        return found

    @property
    def condition(self) -> str:
        """What its shares were measured under, instruction on top left out."""
        cell = next(iter(self.cells.values()))
        return cell.method if cell.method in ("baseline", "instructed") else "steered"

    def to_dict(self) -> dict[str, Any]:
        """The means as JSON, and every cell."""
        return {
            "title": self.title,
            "followed": mean(self.values(self.condition, "followed")),
            "instructed+steered": mean(self.values("instructed+steered", "followed")),
            "facts": mean(self.values(self.condition, "quality", "facts")),
            "perplexity": mean(self.values(self.condition, "quality", "perplexity")),
            "seconds": self.seconds,
            "cells": [cell.to_dict() for cell in self.cells.values()],
        }

    @property
    def seconds(self) -> float | None:
        """To learn and choose, mean over the instructions."""
        return mean(
            None if cell.seconds is None else sum(cell.seconds.values()) for cell in self.cells.values()
        )


def columns_of(lines: Sequence[Line]) -> list[str]:
    """The instructions, in order, then what is averaged over them."""
    labels = list(dict.fromkeys(label for line in lines for label in line.cells))
    return [*labels, "mean", "instructed+steered", "facts", "perpl.", "sec."]


def texts_of(lines: Sequence[Line]) -> list[list[str]]:
    """The table as text, a list of cells per row, the titles first."""
    labels = columns_of(lines)[:-5]
    rows = []
    for line in lines:
        shares = [_share(line, label) for label in labels]
        rows.append(
            [
                line.title,
                *shares,
                _number(mean(line.values(line.condition, "followed"))),
                _number(mean(line.values("instructed+steered", "followed"))),
                _number(mean(line.values(line.condition, "quality", "facts"))),
                _number(mean(line.values(line.condition, "quality", "perplexity"))),
                "-" if line.seconds is None else f"{line.seconds:.0f}",
            ]
        )
    return rows


def terminal_table(lines: Sequence[Line]) -> Table:
    """The table for a terminal, aligned; long names are folded at their brackets."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("method", overflow="fold", min_width=20)
    for name in columns_of(lines):
        # A name is broken where its parameters begin, so that a column is as narrow as its numbers allow.
        table.add_column(re.sub(r"(?<=\w)(?=[(+])", "\n", name), justify="right", no_wrap=True)
    for row, line in zip(texts_of(lines), lines, strict=True):
        style = "dim" if line.condition != "steered" else "bold" if line is lines[-1] else ""
        table.add_row(*(Text(text, style) for text in row))
    return table


def markdown_table(lines: Sequence[Line]) -> str:
    """The same table in Markdown, its columns aligned in the source too."""
    rows = [["method", *columns_of(lines)], *texts_of(lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]

    def line(texts: Sequence[str]) -> str:
        first, *rest = (
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *(line(row) for row in rows[1:])])


def put_into(page: str, text: str) -> str:
    """A page with the text between its marks, in place of what was there; a page without marks becomes the text.

    Args:
        page: Markdown, or nothing.
        text: The table and its caption.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        return f"{text}\n"
    return f"{before}{begin}\n{text}\n{end}{after}"


def caption(lines: Sequence[Line], settings: Settings, model: str) -> str:
    """What the numbers are."""
    parts = [
        f"{model}: share of answers to {settings.test} test questions that follow the instruction.",
        "It is in the prompt only in the row and the column called `instructed`.",
        f"Every method learned from the same {settings.pairs} pairs; where it acts and how strongly was chosen by one",
        f"rule on {settings.validation} validation questions. `facts`: share of true sentences. `perpl.`: perplexity",
        "of the answer to the bare question under the unsteered model. `sec.`: seconds to learn and to choose.",
        "What stands right of `mean` is a mean over the instructions, too.",
    ]
    if any(not cell.improved for line in lines for cell in line.cells.values()):
        parts.append(f"{NOT_BETTER} on validation, no candidate was better than steering nothing.")
    if different := [
        f"{line.title} on {cell.instruction} ({cell.same:.2f})"
        for line in lines
        for cell in line.cells.values()
        if cell.same is not None and cell.same < 1
    ]:
        parts.append(
            "Another library's own code gives other texts than its vectors as edits: "
            + ", ".join(different)
            + "."
        )
    return "\n".join(parts)


def _share(line: Line, label: str) -> str:
    cell = line.cells.get(label)
    if cell is None:
        return "-"
    return _number(cell.rows[line.condition]["followed"]) + ("" if cell.improved else NOT_BETTER)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
