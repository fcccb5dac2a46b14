"""The tables, for the terminal and for the documentation: a row per method.

The first has a column per instruction, the second what following costs. Before both stands what is better than ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.compare.cells import Cell
from benchmarks.compare.task import Settings
from trimtab.measure.statistics import Interval, mean, wilson

NOT_BETTER = "°"
"""Marks a cell whose best candidate did not beat steering nothing on validation."""

OURS = "trimtab"
"""The key of the method that the others are compared with."""

MARK = "the table of benchmarks/compare"
"""What the comment in front of a table in a page says, with the name of its place."""

Grid = list[list[str]]
"""A table as text: a list of cells per row, the titles first."""


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        title: The method.
        cells: Its cells by the label of the instruction.
    """

    title: str
    cells: Mapping[str, Cell]

    def values(self, condition: str | None, *names: str) -> list[float | None]:
        """A measured number of each cell, None where the condition wasn't measured; of its own condition for None."""
        found = []
        for cell in self.measured:
            value: Any = cell.rows.get(condition or cell.condition)
            for name in names:
                value = None if value is None else value.get(name)
            found.append(value)
        return found

    @property
    def measured(self) -> list[Cell]:
        """The cells of the instructions that the method did not refuse."""
        return [cell for cell in self.cells.values() if cell.rows]

    @property
    def method(self) -> str:
        """The method's key."""
        return next(iter(self.cells.values())).method

    @property
    def is_complete(self) -> bool:
        """Whether it refused no instruction."""
        return len(self.measured) == len(self.cells)

    @property
    def followed(self) -> float | None:
        """Share of answers that follow, mean over the instructions."""
        return mean(self.values(None, "followed"))

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the share of all answers that follow."""
        strict = [one["strict"] for cell in self.measured for one in cell.rows[cell.condition]["answers"]]
        return wilson(sum(strict), len(strict))

    @property
    def facts(self) -> float | None:
        """Share of true sentences, or of closed-book questions answered rightly; mean over the instructions."""
        judged = mean(self.values(None, "quality", "facts"))
        return self.cost("facts") if judged is None else judged

    @property
    def seconds(self) -> float | None:
        """To learn and choose, mean over the instructions."""
        return mean(None if cell.seconds is None else sum(cell.seconds.values()) for cell in self.measured)

    @property
    def learning(self) -> float | None:
        """Seconds to learn alone, mean over the instructions."""
        return mean(None if cell.seconds is None else cell.seconds["learn"] for cell in self.measured)

    def cost(self, name: str) -> float | None:
        """One of the fields of `costs.Costs`, mean over the instructions."""
        return mean(cell.costs.get(name) for cell in self.measured)

    def to_dict(self) -> dict[str, Any]:
        """The means as JSON, and every cell."""
        return {
            "title": self.title,
            "followed": self.followed,
            "interval": self.interval.to_list(),
            "instructed+steered": mean(self.values("instructed+steered", "followed")),
            "facts": self.facts,
            "perplexity": mean(self.values(None, "quality", "perplexity")),
            "repetition": mean(self.values(None, "quality", "repetition")),
            "seconds": self.seconds,
            "cells": [cell.to_dict() for cell in self.cells.values()],
        }


def shares(lines: Sequence[Line]) -> Grid:
    """How often each instruction is followed, then what is averaged over them."""
    labels = list(dict.fromkeys(label for line in lines for label in line.cells))
    head = ["method", *labels, "mean", "instructed+steered", "facts", "perpl.", "sec."]
    rows = [
        [
            line.title,
            *(_share(line, label) for label in labels),
            _number(line.followed),
            _number(mean(line.values("instructed+steered", "followed"))),
            _number(line.facts),
            _number(mean(line.values(None, "quality", "perplexity"))),
            _number(line.seconds, 0),
        ]
        for line in lines
    ]
    return [head, *rows]


def costs(lines: Sequence[Line]) -> Grid:
    """What following costs."""
    scored = any(value is not None for line in lines for value in line.values(None, "scorer_perplexity"))
    grid = [
        ["method", "followed", "interval", "repetition"]
        + (["other perpl."] if scored else [])
        + ["prompt tokens", "sec. to learn", "parameters", "bytes", "speed"]
    ]
    for line in lines:
        interval = f"{line.interval.low:.2f}-{line.interval.high:.2f}" if line.measured else "-"
        cells = [line.title, _number(line.followed), interval]
        cells.append(_number(mean(line.values(None, "quality", "repetition"))))
        if scored:
            cells.append(_number(mean(line.values(None, "scorer_perplexity"))))
        cells += [_number(line.cost("prompt_tokens"), 0), _number(line.learning, 0)]
        cells += [_whole(line.cost("parameters")), _whole(line.cost("bytes")), _number(line.cost("speed"))]
        grid.append(cells)
    return grid


def better_than_ours(lines: Sequence[Line]) -> str:
    """What is better than ours, column by column; nothing where ours is not among the rows.

    Not counted are plain answers, other rows of ours, and methods that refused an instruction.
    """
    ours = next((line for line in lines if line.method == OURS and line.measured), None)
    if ours is None:
        return ""
    rivals = [
        line
        for line in lines
        if line.method != "baseline" and line.is_complete and not line.method.startswith(OURS)
    ]
    columns: list[tuple[str, int, Any]] = [
        ("followed", 1, lambda line: line.followed),
        ("repetition", -1, lambda line: mean(line.values(None, "quality", "repetition"))),
        ("other perplexity", -1, lambda line: mean(line.values(None, "scorer_perplexity"))),
        ("facts", 1, lambda line: line.facts),
        ("prompt tokens", -1, lambda line: line.cost("prompt_tokens")),
        ("seconds to learn", -1, lambda line: line.learning or 0.0),
        ("bytes", -1, lambda line: line.cost("bytes")),
        ("speed", 1, lambda line: line.cost("speed")),
    ]
    said = []
    for name, sign, value in columns:
        own = value(ours)
        better = [
            (value(line), line.title)
            for line in rivals
            if own is not None and value(line) is not None and sign * (value(line) - own) > 0
        ]
        digits = 2 if name in ("followed", "repetition", "facts", "speed", "other perplexity") else 0
        named = "; ".join(
            f"{title} {_number(one, digits)}" for one, title in sorted(better, reverse=sign > 0)
        )
        alike = [line.title for line in rivals if name == "followed" and value(line) == own]
        equal = f"; as often: {', '.join(alike)}" if alike else ""
        if own is not None:
            said.append(f"- {name} ({_number(own, digits)}): {named or 'nothing'}{equal}")
    return "\n".join([f"Better than *{ours.title}*, whose own figure stands in brackets:", "", *said])


def terminal_table(grid: Grid) -> Table:
    """A table for a terminal, aligned; long names are folded at their brackets."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    head, *rows = grid
    table.add_column(head[0], overflow="fold", min_width=20)
    for name in head[1:]:
        # A name is broken where its parameters begin, so that a column is as narrow as its numbers allow.
        table.add_column(re.sub(r"(?<=\w)(?=[(+])", "\n", name), justify="right", no_wrap=True)
    for row in rows:
        style = "dim" if row[0] in ("baseline", "instructed") else "bold" if row[0].startswith(OURS) else ""
        table.add_row(*(Text(text, style) for text in row))
    return table


def markdown_table(grid: Grid) -> str:
    """The same table in Markdown, its columns aligned in the source too."""
    widths = [max(len(row[place]) for row in grid) for place in range(len(grid[0]))]

    def line(texts: Sequence[str]) -> str:
        first, *rest = (
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(grid[0]), line(rule), *(line(row) for row in grid[1:])])


def put_into(page: str, text: str, place: str = "nano") -> str:
    """A page with the text between its marks, in place of what was there; a page without marks becomes the text.

    Args:
        page: Markdown, or nothing.
        text: The tables and their caption.
        place: What its first mark names, such as the model; that of nano names nothing.
    """
    begin_mark = f"<!-- {MARK}{'' if place == 'nano' else f': {place}'} -->"
    end_mark = "<!-- end of the table -->"
    before, begin, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        return f"{text}\n"
    return f"{before}{begin}\n{text}\n{end}{after}"


def caption(lines: Sequence[Line], settings: Settings, model: str, scorer: str | None = None) -> str:
    """What the numbers are."""
    real = any(cell.costs.get("facts") is not None for line in lines for cell in line.measured)
    asked = (
        f"share of {settings.questions} closed-book questions answered rightly"
        if real
        else "share of true sentences"
    )
    parts = [
        f"{model}: share of answers (greedy, at most {settings.max_new_tokens} tokens) to {settings.test} test",
        "questions that follow the instruction. It is in the prompt only where a row or a column says so.",
        f"Every method learned from the same {settings.pairs} questions (what trains, from others for up to half of",
        "them where the model mostly follows by itself); where it acts and how strongly was chosen by one rule on",
        f"{settings.validation} validation questions{_tried(settings)}.",
        f"`facts`: {asked}. `perpl.`: perplexity of the answer to the bare question under the unsteered model.",
        "`sec.`: seconds to learn and to choose. What stands right of `mean` is a mean over the instructions.",
        "`interval`: Wilson's 95 % interval of the share of all answers. `repetition`: share of repeated word 4-grams.",
        "`prompt tokens`: how many more than the bare question. `bytes`: what is kept, weights, words or grammar.",
    ]
    if settings.speed:
        parts.append("`speed`: tokens per second against plain answers, eight questions at once.")
    if scorer is not None:
        parts.append(f"`other perpl.`: perplexity of the answers under {scorer}.")
    if settings.steps is not None:
        parts.append(f"What trains was given {settings.steps} steps.")
    if (versions := len({cell.code for line in lines for cell in line.cells.values()})) > 1:
        parts.append(
            f"Put together from rows that {versions} versions of the code measured, on the same questions."
        )
    in_dtype: dict[str, list[str]] = {}
    for line in lines:
        for dtype in dict.fromkeys(cell.dtype for cell in line.cells.values() if cell.dtype):
            in_dtype.setdefault(dtype, []).append(line.title)
    if len(in_dtype) > 1:
        usual = max(in_dtype, key=lambda dtype: len(in_dtype[dtype]))
        others = "; ".join(
            f"{dtype}: {', '.join(titles)}" for dtype, titles in in_dtype.items() if dtype != usual
        )
        parts.append(f"Measured in {usual}, but in {others}.")
    if any(not cell.improved for line in lines for cell in line.measured):
        parts.append(f"{NOT_BETTER} on validation, no candidate was better than steering nothing.")
    parts += [
        f"{line.title} refused {cell.instruction}: {cell.refused}."
        for line in lines
        for cell in line.cells.values()
        if cell.refused
    ]
    if different := [
        f"{line.title} on {cell.instruction} ({cell.same:.2f})"
        for line in lines
        for cell in line.measured
        if cell.same is not None and cell.same < 1
    ]:
        parts.append(
            "Another library's own code gives other texts than its vectors as edits: "
            + ", ".join(different)
            + "."
        )
    return "\n".join(parts)


def _tried(settings: Settings) -> str:
    if settings.candidates is None:
        return ""
    return f", from at most {settings.candidates} settings of each method, its first and others from all over its list"


def _share(line: Line, label: str) -> str:
    cell = line.cells.get(label)
    if cell is None or not cell.rows:
        return "-"
    return _number(cell.rows[cell.condition]["followed"]) + ("" if cell.improved else NOT_BETTER)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
