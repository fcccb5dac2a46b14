"""The measured rows as a table for the terminal: shares by instruction and condition, quality beside them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from trimtab.measure.quality import Quality
from trimtab.measure.rows import CONDITIONS, Condition, Row
from trimtab.measure.statistics import mean
from trimtab.report.page import (
    format_perplexity,
    mean_followed,
    method_in_words,
    worse_than_baseline,
)
from trimtab.report.plots import by_instruction

STYLES: dict[Condition, str] = {
    "baseline": "dim",
    "instructed": "blue",
    "steered": "bold dark_orange",
    "instructed+steered": "magenta",
}
_AFTER_STEERED = CONDITIONS.index("steered") + 1


def table_of(rows: Sequence[Row], beside: Sequence[Row] = ()) -> Table:
    """The share followed under each condition, and the quality of the steered answers.

    Args:
        rows: The four conditions of one or more instructions, those of one instruction side by side.
        beside: Steered rows of another method; they get a column after `steered`.

    Returns:
        A table that fits 80 columns, with a mark where steering is worse than the same prompt without it.
    """
    worse = worse_than_baseline(rows)
    judged = _judged(rows)
    # Two columns of quality fit beside four of shares: the exact one where there is one.
    second = "facts" if judged else "repeats"
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("instruction", overflow="fold")
    others = {row.label: row for row in beside}
    for condition in CONDITIONS:
        table.add_column(condition.replace("+", "\n+"), justify="right", style=STYLES[condition])
        if others and condition == "steered":
            named = method_in_words(beside).replace("difference", "diff.").replace(" ", "\n")
            table.add_column(named, justify="right", style="yellow")
    for name in ("perpl.", second):
        # With one more column there is no room to say of which condition: the caption does.
        table.add_column(name if others else f"steered\n{name}", justify="right", style="dim")
    for label, found in by_instruction(rows):
        quality = found["steered"].quality
        shares = [_share(found[condition], marked=(label, condition) in worse) for condition in CONDITIONS]
        if others:
            other = others.get(label)
            shares.insert(_AFTER_STEERED, Text(_number(None if other is None else other.followed)))
        table.add_row(
            Text(label),
            *shares,
            "-" if quality.perplexity is None else format_perplexity(quality.perplexity),
            _number(quality.facts if judged else quality.repetition),
        )
    means = mean_followed(rows)
    shown = [_number(means[condition]) for condition in CONDITIONS]
    if others:
        shown.insert(_AFTER_STEERED, _number(mean(row.followed for row in beside)))
    table.add_section()
    table.add_row(Text("mean", "bold"), *shown)
    return table


def caption_of(rows: Sequence[Row]) -> str:
    """What the numbers of the table are, and what to compare the quality columns with.

    Args:
        rows: As for :func:`table_of`.

    Returns:
        Three lines, and a fourth where the table has marks.
    """
    lines = [f"Share of answers that follow the instruction, {rows[0].n} test questions each."]
    judged = _judged(rows)
    named = ("baseline", "instructed")
    qualities = (
        f"{name} {_described([r.quality for r in rows if r.condition == name], judged)}" for name in named
    )
    what = "facts" if judged else "repetition"
    lines.append(f"Perplexity and {what} are of steered; to compare with:\n{'; '.join(qualities)}.")
    if worse_than_baseline(rows):
        lines.append("▼ steering does worse here than the same prompt without it.")
    return "\n".join(lines)


def _described(qualities: Sequence[Quality], judged: bool) -> str:
    """The mean quality of rows, in the two numbers of the table."""
    perplexity = mean(quality.perplexity for quality in qualities)
    second = mean(quality.facts if judged else quality.repetition for quality in qualities)
    return f"{'-' if perplexity is None else format_perplexity(perplexity)}, {_number(second)}"


def _share(row: Row, *, marked: bool) -> Text:
    return Text(f"▼{row.followed:.2f}", "red") if marked else Text(f"{row.followed:.2f}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _judged(rows: Sequence[Row]) -> bool:
    return any(row.quality.facts is not None for row in rows)
