"""What following costs, by instruction: the quality of steered answers beside plain ones, and what is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.measure.bounds import Comparison
from trimtab.measure.quality import Quality
from trimtab.measure.rows import Row, compare_with_plain
from trimtab.measure.statistics import mean
from trimtab.report.pages import format_perplexity
from trimtab.report.plots import by_instruction

MEASURES = {
    "tokens": "tokens",
    "repetition": "repeats",
    "perplexity": "perpl.",
    "scorer_perplexity": "scorer perpl.",
    "relevance": "relevance",
    "facts": "facts",
}
"""What is shown of a quality, by its fields, with a short heading each."""


@dataclass(frozen=True)
class Cell:
    """One measure of one line.

    Attributes:
        text: Its value.
        out: Whether it is out of bounds.
    """

    text: str
    out: bool = False


@dataclass(frozen=True)
class QualityView:
    """The quality of steered answers by instruction.

    Attributes:
        measures: The fields of `Quality` that were measured, in order.
        plain: That of plain answers, mean over instructions.
        lines: Of each instruction, by label: the cells in the order of the measures.
        outside: How many instructions are out of bounds.
    """

    measures: tuple[str, ...]
    plain: tuple[Cell, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]
    outside: int

    @property
    def headings(self) -> list[str]:
        """The measures in a word or two."""
        return [MEASURES[one] for one in self.measures]


def quality_view(rows: Sequence[Row]) -> QualityView | None:
    """The view of measured rows; None where no instruction has both a baseline and a steered row."""
    found: list[tuple[str, Comparison]] = []
    for label, conditions in by_instruction(rows):
        if "baseline" in conditions and "steered" in conditions:
            compared = compare_with_plain(
                conditions["steered"], conditions["baseline"], conditions.get("instructed")
            )
            found.append((label, compared))
    if not found:
        return None
    every = [one for _, compared in found for one in (compared.quality, compared.plain)]
    measures = tuple(name for name in MEASURES if any(getattr(one, name) is not None for one in every))
    means = {name: mean(getattr(compared.plain, name) for _, compared in found) for name in measures}
    return QualityView(
        measures,
        tuple(Cell(_written(name, means[name])) for name in measures),
        tuple((label, _cells(compared, measures)) for label, compared in found),
        sum(not compared.within for _, compared in found),
    )


def _cells(compared: Comparison, measures: Sequence[str]) -> tuple[Cell, ...]:
    out = {one.field for one in compared.departures}
    return tuple(Cell(_written(name, _value(compared.quality, name)), name in out) for name in measures)


def _value(quality: Quality, name: str) -> float | None:
    value: float | None = getattr(quality, name)
    return value


def _written(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "tokens":
        return f"{value:.0f}"
    return format_perplexity(value) if name.endswith("perplexity") else f"{value:.2f}"
