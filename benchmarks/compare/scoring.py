"""The perplexity of every method's answers under another model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.cells import Cell
from benchmarks.real.scoring import add_scores
from trimtab.measure.quality import perplexity_of
from trimtab.measure.statistics import rounded
from trimtab.progress import Tell

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


def add_perplexity(
    cells: Iterable[Cell], scorer: str, load: Callable[[str], Engine], folder: Path, tell: Tell
) -> None:
    """Adds to the row of every method's own condition `scorer_perplexity`, computed where it is not known.

    Args:
        cells: What was measured; changed in place.
        scorer: The scorer's name.
        load: Loads it, if an answer is new.
        folder: Where scores are kept.
        tell: Is told of progress.
    """
    rows = [cell.rows[cell.condition] for cell in cells if cell.rows]
    measured = [{"conditions": {"steered": row["answers"]}} for row in rows]
    add_scores(measured, max(len(row["answers"]) for row in rows), scorer, load, folder, tell)
    for row in rows:
        row["scorer_perplexity"] = rounded(perplexity_of([one["scorer_nll"] for one in row["answers"]]))
