"""`trimtab instructions`: list the catalogue, or explain one instruction."""

from __future__ import annotations

import dataclasses
import json as json_format
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trimtab import instructions
from trimtab.cli.completion import instruction_names
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.instructions import SPLITS, InstructionType, Parameter, Question
from trimtab.instructions.wording import outline


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=instruction_names, help="Short name or IFEval id; all are listed without."
        ),
    ] = None,
    file: FileOption = None,
    *,
    output: Output,
) -> None:
    """List the instructions there are, or explain one of them."""
    if name is None:
        listed = instructions.catalogue()
        output.result([describe(kind) for kind in listed])
        output.print(_table(listed))
        output.print("`trimtab instructions NAME` shows parameters, phrasings and conflicts of one.")
    else:
        kind = instructions.get_type(name.partition("(")[0])  # of a spelling, whatever its parameters
        output.result(describe(kind, phrasings=True))
        output.print(_card(kind))


def describe(kind: InstructionType, *, phrasings: bool = False) -> dict[str, Any]:
    """Everything about an instruction type as data that JSON can hold."""
    data: dict[str, Any] = {
        "name": kind.name,
        "ifeval_id": kind.ifeval_id,
        "family": kind.family,
        "summary": kind.summary,
        "parameters": [_parameter(parameter) for parameter in kind.parameters],
        "conflicts": sorted(kind.conflicts),
        "example": kind.example,
        "abilities": list(kind.abilities),
        "judge": None if kind.question is None else dataclasses.asdict(kind.question),
    }
    if phrasings:
        data["phrasings"] = {
            case: {split: list(getattr(parts, split)) for split in SPLITS}
            for case, parts in kind.cases.items()
        }
    return data


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": parameter.kind,
        "help": parameter.help,
        "required": parameter.required,
        "default": None if parameter.required else parameter.default,
        "choices": list(parameter.choices),
        "minimum": parameter.minimum,
    }


def _table(listed: tuple[InstructionType, ...]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("name", no_wrap=True)
    table.add_column("what it asks for, (parameters), IFEval id", overflow="fold")
    for family in dict.fromkeys(kind.family for kind in listed):
        table.add_row(Text(family, style="bold"))
        for kind in (kind for kind in listed if kind.family == family):
            asks = Text(kind.summary)
            if kind.parameters:
                asks.append(f" ({', '.join(parameter.name for parameter in kind.parameters)})", style="green")
            if kind.ifeval_id:
                asks.append(f"\n{kind.ifeval_id}", style="dim")
            table.add_row(Text(f"  {kind.name}", style="cyan"), asks)
    return table


def _card(kind: InstructionType) -> RenderableType:
    parts: list[RenderableType] = [Text(kind.summary)]
    if kind.ifeval_id:
        parts.append(Text(f"IFEval id: {kind.ifeval_id}", style="dim"))
    if kind.parameters:
        parts += [Text("\nParameters", style="bold"), _parameters(kind)]
    if kind.example or not any(parameter.required for parameter in kind.parameters):
        parts += [Text("\nExample", style="bold"), *_example(kind)]
    if kind.question is not None:
        parts += [
            Text("\nIn the place of a check, a judge is asked", style="bold"),
            *_question(kind.question),
        ]
    if kind.abilities:
        parts += [Text("\nBeside its check", style="bold"), *_abilities(kind)]
    for case, phrasings in kind.cases.items():
        parts.append(Text(f"\nPhrasings, {case.replace('_', ' ')}" if case else "\nPhrasings", style="bold"))
        for split in SPLITS:
            parts.append(Text(split, style="italic"))
            parts += [Text(f"  {outline(template)}") for template in getattr(phrasings, split)]
    if kind.conflicts:
        parts.append(Text("\nCannot go with", style="bold"))
        parts += [Text(f"  {other}: {kind.clash_with(other)}") for other in sorted(kind.conflicts)]
    return Panel(Group(*parts), title=Text(kind.name, style="bold cyan"), title_align="left")


def _abilities(kind: InstructionType) -> list[RenderableType]:
    has = kind.abilities
    lines = []
    if "constraint" in has:
        sure = "all that it admits passes" if "exact" in has else "not all that it admits passes"
        lines.append(f"  constraint: decoding can be held to it (trimtab generate --constrain); {sure}")
    if "rewrite" in has:
        lines.append("  rewrite: a program can change an answer so that it passes")
    if "prefix_closed" in has:
        lines.append("  prefix_closed: an answer that was cut off can be judged by what there is of it")
    return [Text(line) for line in lines]


def _question(question: Question) -> list[RenderableType]:
    examples = f"{len(question.follows)} that follow and {len(question.fails)} that fail"
    return [
        Text(f"  {question.text}"),
        Text(f"  contrast examples: {examples if question.follows else 'none'}"),
    ]


def _parameters(kind: InstructionType) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for parameter in kind.parameters:
        default = "" if parameter.required or parameter.default is None else f"default {parameter.default}"
        table.add_row(
            Text(parameter.name, style="cyan"),
            Text(parameter.describe()),
            Text("required" if parameter.required else default),
            Text(parameter.help),
        )
    return table


def _example(kind: InstructionType) -> list[RenderableType]:
    example = kind(**kind.example)
    judge = "" if kind.question is None else " --judged-by JUDGE"
    params = f" --params '{json_format.dumps(kind.example, ensure_ascii=False)}'" if kind.example else ""
    return [
        Text(f"  {example.label}: {example.phrasings('learning')[0]}"),
        Text(f"  trimtab check {kind.name}{params} --responses answers.jsonl{judge}", style="dim"),
    ]
