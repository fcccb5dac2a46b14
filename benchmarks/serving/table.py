"""One table for all benchmarks of serving: as text for a person, as Markdown to paste."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trimtab.cli.output import Output
from trimtab.files import write_text

MarkdownOption = Annotated[
    str | None,
    typer.Option(
        "--markdown",
        metavar="PATH",
        help="Write the table as Markdown to PATH, or to standard output for '-' in place of the other.",
        show_default=False,
    ),
]


def show(output: Output, rows: Sequence[Sequence[str]], caption: str, markdown: str | None) -> None:
    """Prints a table with what it says below it, and writes it as Markdown where that was asked for.

    Args:
        output: Where a person reads.
        rows: The cells, the header first.
        caption: What is below it.
        markdown: The value of `--markdown`.
    """
    if markdown == "-":
        output.text(as_markdown(rows, caption))
        return
    header, *body = rows
    table = Table(box=None, pad_edge=False)
    for number, title in enumerate(header):
        table.add_column(title, justify="left" if number == 0 else "right")
    for row in body:
        table.add_row(*row)
    output.print(table)
    output.print(caption)
    if markdown is not None:
        write_text(Path(markdown), as_markdown(rows, caption) + "\n")


def as_markdown(rows: Sequence[Sequence[str]], caption: str) -> str:
    """The same as Markdown.

    Args:
        rows: The cells, the header first.
        caption: What is below it.
    """
    header, *body = rows
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (header, rule, *body)]
    return "\n".join([*lines, "", caption])
