"""`trimtab agreement`: how often a judge agrees with a person, tone by tone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from trimtab.cli.judging import judge_of
from trimtab.cli.models import EngineChoice, ModelOption
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.measure.judges import Agreement


def command(
    judged_by: Annotated[
        str,
        typer.Argument(
            metavar="JUDGE",
            help="self or probe (of --model), another model, or NAME@URL of an OpenAI-compatible endpoint.",
        ),
    ],
    model: ModelOption = "nano",
    instructions: Annotated[
        str | None,
        typer.Option("--instructions", "-i", metavar="LIST", help="Of which tones; all when left out."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Answers that a person judged, one a line: {"tone": "formal", "answer": "...", "verdict": true}.',
            show_default="124 of trimtab's own",
        ),
    ] = None,
    file: FileOption = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Compare a judge with a person on labelled answers, so that nobody takes it for a check."""
    from trimtab.errors import PromptError
    from trimtab.instructions import parse_instructions
    from trimtab.measure.judges import agreement, labelled

    known = labelled(answers)
    wanted = None if instructions is None else [one.name for one in parse_instructions(instructions)]
    judge = judge_of(output, loading, judged_by, lambda: loading.open(output, model))
    with output.progress() as tell:
        found = agreement(judge, known, wanted, progress=tell)
    if not found:
        raise PromptError(
            f"there are no labelled answers of {', '.join(wanted or ())}; give some: --answers FILE"
        )
    agreed, n = sum(one.agreed for one in found), sum(one.n for one in found)
    output.result(
        {
            "judge": judge.name,
            "n": n,
            "agreed": agreed,
            "share": round(agreed / n, 4),
            "tones": [one.to_dict() for one in found],
        }
    )
    output.print(_table(judge.name, found))
    output.print("contrast: the share of its own examples that it gets right, each left out in turn.")
    if any(not one.believable for one in found):
        output.print("▼ too low for it to be asked: the judge is refused for this tone.")


def _table(name: str, found: list[Agreement]) -> Table:
    table = Table(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), title=f"{name} and a person", title_justify="left"
    )
    table.add_column("tone")
    for heading in ("n", "agree", "95 %", "wrongly\npassed", "wrongly\nfailed", "contrast"):
        table.add_column(heading, justify="right")
    for one in found:
        right = "-" if one.right is None else f"{'' if one.believable else '▼'}{one.right:.2f}"
        table.add_row(
            Text(one.tone),
            str(one.n),
            f"{one.share:.2f}",
            f"{one.interval.low:.2f} to {one.interval.high:.2f}",
            str(one.wrongly_passed),
            str(one.wrongly_failed),
            right,
        )
    agreed, n = sum(one.agreed for one in found), sum(one.n for one in found)
    table.add_section()
    table.add_row(Text("all", "bold"), str(n), f"{agreed / n:.2f}")
    return table
