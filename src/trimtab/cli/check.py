"""`trimtab check`: judge responses by one instruction's strict and loose checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from trimtab.cli.completion import instruction_names
from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice, ModelOption
from trimtab.cli.options import FileOption, ParamsOption, instruction_named
from trimtab.cli.output import Output, standard_input
from trimtab.errors import InstructionError, TrimtabError
from trimtab.files import json_lines, json_value, read_text
from trimtab.instructions import Instruction, Judgement
from trimtab.instructions.reasons import reason

_LINE = 'each line must be like {"response": "..."}'
_SHOWN = 10


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
        typer.Option(
            metavar="FILE",
            help='JSON Lines with {"response": ...}, or what generate wrote; - reads standard input.',
        ),
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
    tell, such as the language of a word or two, and a "reason" where strict is false. A line may also hold the "query"
    or "prompt" that was answered, which repeat_prompt needs. Files of generate --json and --out are read as they are.
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
    reasons = [
        None if judgement.strict else reason(_asked(instruction, row), row["response"])
        for judgement, (_, row) in zip(judgements, rows, strict=True)
    ]
    output.lines(map(_written, judgements, reasons))
    output.print(_summary(instruction, judgements))
    failing = [(where, row, why) for (where, row), why in zip(rows, reasons, strict=True) if why is not None]
    if failing:
        output.print(_failing(failing))
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
    return [(where, _checked(where, row)) for where, row in _listed(source, text)]


def _listed(source: str, text: str) -> Iterable[tuple[str, Any]]:
    """The rows of the document that `generate --json` writes, or of JSON Lines."""
    try:
        document = json_value(text) if text.lstrip()[:1] == "{" else None
    except ValueError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("responses"), list):
        return [(f"{source}, response {n}", row) for n, row in enumerate(document["responses"], start=1)]
    return json_lines(source, text, hint=_LINE)


def _checked(where: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("response"), str):
        raise TrimtabError(f'{where}: has no text "response"; {_LINE}')
    for key in ("query", "prompt"):
        if not isinstance(row.get(key, ""), str):
            raise TrimtabError(f'{where}: "{key}" must be a text')
    return row


def _asked(instruction: Instruction, row: dict[str, Any]) -> Instruction:
    query = row.get("query", row.get("prompt"))
    return instruction if query is None else instruction.for_query(query)


def _judge(instruction: Instruction, where: str, row: dict[str, Any]) -> Judgement:
    try:
        return _asked(instruction, row).judge(row["response"])
    except InstructionError as error:
        raise InstructionError(f"{where}: {error}") if "query" in row or "prompt" in row else error from None


def _written(judgement: Judgement, why: str | None) -> dict[str, bool | str]:
    verdicts: dict[str, bool | str] = {"strict": judgement.strict, "loose": judgement.loose}
    if judgement.undecided:
        verdicts["undecided"] = True
    if why is not None:
        verdicts["reason"] = why
    return verdicts | {"judge": judgement.notes["judge"]} if "judge" in judgement.notes else verdicts


def _failing(failing: Sequence[tuple[str, dict[str, Any], str]]) -> Table:
    """The first responses that the strict check fails, each with the reason."""
    table = Table(title="not followed (strict)", title_justify="left")
    table.add_column("where", overflow="fold")
    table.add_column("response", overflow="ellipsis", max_width=30)
    table.add_column("reason", overflow="fold")
    for where, row, why in failing[:_SHOWN]:
        condition = row.get("condition")
        place = where.rpartition(", ")[2] + (f", {condition}" if isinstance(condition, str) else "")
        table.add_row(Text(place), Text(" ".join(row["response"].split()), no_wrap=True), Text(why))
    if len(failing) > _SHOWN:
        table.caption = f"and {len(failing) - _SHOWN} more; --json has them all"
        table.caption_justify = "left"
    return table


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
