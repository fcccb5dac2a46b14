"""What an experiment gives: tables and charts in the form of the paper's, as JSON, Markdown and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.files import write_text
from trimtab.reproduce.charts import Chart, draw

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        columns: The headings; the first is that of the row names.
        rows: A cell for each column; None where nothing was measured.
        note: What to know when reading it.
        form: The table or figure of the paper that it has the form of, in words; empty for none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    form: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON: one object for each row."""
        return {
            "title": self.title,
            "note": self.note,
            "form": self.form,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }

    def to_markdown(self) -> str:
        """The table as Markdown, numbers to the right."""
        numeric = [
            all(not isinstance(row[number], str) for row in self.rows) for number in range(len(self.columns))
        ]
        lines = [
            "| " + " | ".join(self.columns) + " |",
            "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
        ]
        lines += [
            "| " + " | ".join(shown(cell).replace("|", "\\|") for cell in row) + " |" for row in self.rows
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Reproduction:
    """An experiment's outcome on one model.

    Attributes:
        experiment: Which one.
        model: The model, with its shape.
        settings: What was set, plain JSON.
        tables: The tables, the main one first.
        charts: The charts.
        seconds: How long it took.
    """

    experiment: str
    model: str
    settings: dict[str, Any]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "experiment": self.experiment,
            "model": self.model,
            "settings": self.settings,
            "tables": [table.to_dict() for table in self.tables],
            "seconds": round(self.seconds, 1),
        }

    def to_markdown(self) -> str:
        """A page to read: tables, charts by file name, settings."""
        lines = [f"# {self.experiment}: {self.model}", ""]
        for table in self.tables:
            lines += [f"## {table.title}", "", table.to_markdown(), ""]
            lines += [table.note, ""] if table.note else []
            lines += [f"It has the form of {table.form} in the paper.", ""] if table.form else []
        for chart in self.charts:
            lines += [f"![{chart.title}]({self.file_of(chart)})", ""]
        lines += ["## Settings", "", *(f"- {key}: {value}" for key, value in self.settings.items()), ""]
        return "\n".join(lines)

    def file_of(self, chart: Chart) -> str:
        """The file name of a chart."""
        return f"{self.experiment}-{chart.name}.svg"


def shown(cell: Cell) -> str:
    """A cell as text: shares and other fractions with two digits, a dash for nothing."""
    if cell is None:
        return "–"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def save(result: Reproduction, folder: Path) -> list[Path]:
    """Write `EXPERIMENT.md` and, where matplotlib is there, an SVG for each chart; what was written."""
    written = [write_text(folder / f"{result.experiment}.md", result.to_markdown(), make_folder=True)]
    for chart in result.charts:
        picture = draw(chart)
        if picture is not None:
            written.append(write_text(folder / result.file_of(chart), picture))
    return written


def bars(name: str, title: str, label: str, table: Table, columns: Sequence[str]) -> Chart:
    """A bar chart of some columns of a table, its rows as groups."""
    places = [table.columns.index(column) for column in columns]
    return Chart(
        name,
        title,
        "bars",
        {
            column: tuple(_number(row[place]) for row in table.rows)
            for column, place in zip(columns, places, strict=True)
        },
        label,
        tuple(str(row[0]) for row in table.rows),
    )


def _number(cell: Cell) -> float | None:
    return None if cell is None or isinstance(cell, str) else float(cell)
