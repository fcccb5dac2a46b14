"""What `trimtab tune` shows to a person and hands to a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.report.search import Line
    from trimtab.tune.tuned import Measured, Tuned

_SHOWN = 8


def show(
    output: Output,
    instruction: Instruction,
    found: Tuned,
    out: Path | None,
    report: Path | None,
    model: str,
    seconds: float,
) -> None:
    """Print what a search found, and what was written; `model` is named in the command to try next."""
    from trimtab.report import search as search_report

    output.print(search_report.summary(search_report.SearchReport(instruction, found)))
    if instruction.judge_in_place is not None:
        output.print(f"judged by {instruction.judge_in_place.name}, not checked")
    output.print()
    compared = search_report.weights(found)
    if compared:
        output.print(candidates_table("computed, manual and searched weight", compared, named=True))
        output.print()
    lines = search_report.lines(found)
    output.print(candidates_table(f"best of {len(lines)} candidates", lines))
    output.print()
    output.print(f"{seconds:.0f} seconds, {found.rows} steered answers")
    if report is not None:
        output.print(f"the whole search, with its heat map: {report}")
    if out is not None:
        output.print(f'saved; try it: trimtab generate --model {model} --steering {out} --compare "..."')
    if found.best.rejected:
        output.note("warning: every finalist wrote degenerate text, so the steering has no edits")
    elif not found.improved:
        output.note(
            "warning: nothing that was tried did better than no steering at all; this is the least bad"
        )


def candidates_table(title: str, lines: Sequence[Line], *, named: bool = False) -> Table:
    """One line for each of the first candidates, also in a narrow terminal; the rest is in the page and in the JSON."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    if named:
        table.add_column("", no_wrap=True)
    # A finished steering is only scaled: it has no single block, nor a weight.
    placed = any(line.block for line in lines)
    for heading in ("way", "block") if placed else ():
        table.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for heading in ("strength", *(["weight"] if placed else []), "n", "followed", "score", "perplexity"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("objections")
    for line in lines[:_SHOWN]:
        one = line.measured
        table.add_row(
            *([line.name] if named else []),
            *([line.way.removesuffix(" projection"), line.block] if placed else []),
            _short(line.strength),
            *([_short(line.weight)] if placed else []),
            str(one.n),
            f"{one.followed:.2f}",
            f"{one.score:.2f}",
            _short(one.quality.perplexity),
            _objections(one),
        )
    return table


def _objections(one: Measured) -> str:
    """The first of them, and how many more there are."""
    more = f" (+{len(one.objections) - 1})" if len(one.objections) > 1 else ""
    return ("rejected: " if one.rejected else "") + "".join(one.objections[:1]) + more


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def document(
    instruction: Instruction,
    found: Tuned,
    out: Path | None,
    settings: dict[str, str],
    seconds: float,
) -> dict[str, Any]:
    """The document of `trimtab tune --json`."""
    from trimtab.measure.judges import judges_of

    return {
        "instruction": instruction.to_dict(),
        **judges_of([instruction]),
        "steering": out,
        "digest": found.steering.digest(),
        "improved": found.improved,
        "baseline_followed": round(found.baseline.followed, 4),
        "instructed_followed": round(found.instructed.followed, 4),
        "unsteered": found.unsteered,
        "best": found.best,
        "weights": found.weights,
        "candidates": found.candidates,
        "settings": settings,
        "seconds": round(seconds, 2),
    }
