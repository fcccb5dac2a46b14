"""What `benchmarks.distilled` measured, as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from trimtab.measure.rows import CONDITIONS


def tables(found: dict[str, Any]) -> list[Table]:
    """The rows and their summary.

    Args:
        found: What a measurement gave: `rows` and `summary`.
    """
    rows = found["rows"]
    shown = [_combinations(rows) if "union" in rows[0] else _conditions(rows)]
    tempted = [
        {"instruction": f"{row['instruction']}, {row['tempted']['n']} questions", **row["tempted"]}
        for row in rows
        if "tempted" in row
    ]
    if tempted:
        shown.append(_conditions(tempted, title="where the word tempts"))
    return [*shown, _summary(found["summary"])]


def _conditions(rows: list[dict[str, Any]], title: str | None = None) -> Table:
    table = _table(title)
    table.add_column("instruction", overflow="fold", max_width=46)
    for condition in CONDITIONS:
        table.add_column(condition.replace("+", "\n+"), justify="right")
    for name in ("steered\nfacts", "perplexity\nratio", "seconds"):
        table.add_column(name, justify="right", style="dim")
    for row in rows:
        steered, instructed = row["steered"], row["instructed"]
        known = steered["perplexity"] and instructed["perplexity"]
        table.add_row(
            row["instruction"],
            *(f"{row[condition]['followed']:.2f}" for condition in CONDITIONS),
            "-" if steered["facts"] is None else f"{steered['facts']:.2f}",
            f"{steered['perplexity'] / instructed['perplexity']:.2f}" if known else "-",
            f"{row['seconds']:.0f}" if "seconds" in row else "",
        )
    return table


def _combinations(rows: list[dict[str, Any]]) -> Table:
    table = _table(None)
    table.add_column("instructions", overflow="fold", max_width=52)
    for name in ("instructed", "union", "composed"):
        table.add_column(name, justify="right")
    table.add_column("fit", overflow="ellipsis", no_wrap=True, max_width=18)
    table.add_column("seconds", justify="right", style="dim")
    for row in sorted(rows, key=lambda row: row["composed"]):
        table.add_row(
            " + ".join(row["instructions"]),
            *(f"{row[name]:.2f}" for name in ("instructed", "union", "composed")),
            row["fit"],
            f"{row['seconds']:.0f}",
        )
    return table


def _summary(summary: dict[str, Any]) -> Table:
    table = _table("summary")
    table.add_column("")
    for name in ("mean", "worst", "most"):
        table.add_column(name, justify="right")
    for name, value in summary.items():
        values = value if isinstance(value, dict) else {"mean" if isinstance(value, int) else "most": value}
        table.add_row(
            name,
            *(_number(values[key]) if key in values else "" for key in ("mean", "worst", "most")),
        )
    return table


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _table(title: str | None) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
