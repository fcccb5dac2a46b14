"""`trimtab check`: judge responses by one instruction's strict and loose checks."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table

from trimtab.cli.completion import instruction_names
from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice, ModelOption
from trimtab.cli.options import FileOption, ParamsOption, instruction_named
from trimtab.cli.output import Output, standard_input
from trimtab.errors import InstructionError, TrimtabError
from trimtab.files import json_lines, read_text
from trimtab.instructions import Instruction, Judgement

_LINE = 'each line must be like {"response": "..."}'


def command(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=instruction_names,
            help="Short name or IFEval id of the instruction, or sentences(at_most=2).",
        ),
    ],
    responses: Annotated[
        str,
        typer.Option(metavar="FILE", help='JSON Lines with {"response": ...}; - reads standard input.'),
    ],
    params: ParamsOption = None,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    model: ModelOption = "nano",
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Judge responses by an instruction's strict and loose checks, or by a judge where it has none.

    --json writes one line {"strict": ..., "loose": ...} for each response, with "undecided": true where neither can
    tell, such as the language of a word or two. A line may also hold the "query" that was answered, which repeat_prompt
    needs.
    """
    instruction = instruction_named(name, params)
    rows = _read_rows(responses)
    if judged_by is not None:
        from trimtab.measure.judges import known

        opened = partial(loading.open, output, model)
        (instruction,) = judged(output, [instruction], partial(judge_of, output, loading, judged_by, opened))
        with output.progress() as tell:
            known([instruction], [row["response"] for _, row in rows], progress=tell)
    judgements = [_judge(instruction, where, row) for where, row in rows]
    output.lines(_written(judgement) for judgement in judgements)
    output.print(_summary(instruction, judgements))
    if any("simple" in judgement.notes.values() for judgement in judgements):
        output.note(
            "note: a simple rule split the text, which can differ from IFEval's; pip install 'trimtab[checks]'"
        )


def _read_rows(responses: str) -> list[tuple[str, dict[str, Any]]]:
    """Read and validate every line, so that nothing is judged when one is wrong."""
    if responses == "-":
        source, text = "standard input", standard_input()
    else:
        source, text = responses, read_text(responses)
    return [(where, _checked(where, row)) for where, row in json_lines(source, text, hint=_LINE)]


def _checked(where: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("response"), str):
        raise TrimtabError(f'{where}: has no text "response"; {_LINE}')
    if not isinstance(row.get("query", ""), str):
        raise TrimtabError(f'{where}: "query" must be a text')
    return row


def _judge(instruction: Instruction, where: str, row: dict[str, Any]) -> Judgement:
    try:
        return (instruction.for_query(row["query"]) if "query" in row else instruction).judge(row["response"])
    except InstructionError as error:
        raise InstructionError(f"{where}: {error}") if "query" in row else error from None


def _written(judgement: Judgement) -> dict[str, bool | str]:
    verdicts: dict[str, bool | str] = {"strict": judgement.strict, "loose": judgement.loose}
    if judgement.undecided:
        verdicts["undecided"] = True
    return verdicts | {"judge": judgement.notes["judge"]} if "judge" in judgement.notes else verdicts


def _summary(instruction: Instruction, judgements: list[Judgement]) -> Table:
    judge = instruction.judge_in_place
    title = instruction.label if judge is None else f"{instruction.label}, judged by {judge.name}"
    table = Table(title=title, title_justify="left")
    table.add_column("check" if judge is None else "judge")
    table.add_column("followed", justify="right")
    table.add_column("share", justify="right")
    count = len(judgements)
    kinds = ("strict", "loose", "undecided")
    for kind in kinds if any(judgement.undecided for judgement in judgements) else kinds[:2]:
        followed = sum(getattr(judgement, kind) for judgement in judgements)
        table.add_row(kind, f"{followed} of {count}", f"{followed / count:.2f}" if count else "-")
    notes = {f"{what}: {by}" for judgement in judgements for what, by in judgement.notes.items()}
    if notes and judge is None:
        table.caption = "judged by " + ", ".join(sorted(notes))
        table.caption_justify = "left"
    return table
