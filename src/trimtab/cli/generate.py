"""`trimtab generate`: answer prompts, plain or steered, or both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from trimtab.cli.constraining import ConstraintChoice
from trimtab.cli.models import EngineChoice
from trimtab.cli.options import BatchSizeOption, FileOption, MaxNewTokensOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import (
    PromptArgument,
    PromptsOption,
    SteeredModelOption,
    SteeringOption,
    compose,
    folders_of,
    open_for,
    read_prompts,
)
from trimtab.errors import InstructionError

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Engine
    from trimtab.steering.steering import Steering


def command(
    prompt: PromptArgument = None,
    model: SteeredModelOption = None,
    steering: SteeringOption = None,
    strength: Annotated[
        str,
        typer.Option(metavar="X[,X]", help="Multiply the steerings by this: one number, or one for each."),
    ] = "1",
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the answer without and with the steering, side by side.")
    ] = False,
    prompts: PromptsOption = None,
    max_new_tokens: MaxNewTokensOption = 256,
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample; without this and the next three, greedy.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Temperature of sampling.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Sample from the smallest set with this probability."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="Sample from so many likeliest tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="The prompts go in as they are, without the model's chat template.")
    ] = False,
    batch_size: BatchSizeOption = None,
    file: FileOption = None,
    *,
    held: ConstraintChoice,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Answer a prompt, plain or steered. One prompt streams to the terminal as it is written."""
    asked = read_prompts(prompt, prompts)
    folders = folders_of(steering or [])
    if compare and not folders:
        raise typer.BadParameter("there is nothing to compare with; name a steering: --steering DIR")
    steered = compose(folders, strength)
    constraints = held.of(asked)
    engine = open_for(steered, model, loading, output)
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "do_sample": sample or temperature is not None or top_p is not None or top_k is not None,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "raw": raw,
    }
    acting = engine.decided(steered, asked, batch_size=batch_size, raw=raw)
    if len(asked) == 1 and output.json is None and not compare:
        if steered is not None and steered.whens and acting[0] is None:
            output.note("the steering does not act on this prompt: it is answered unsteered")
        for piece in engine.stream(asked[0], steering=acting[0], constraint=constraints[0], **sampling):
            output.text(piece, end="")
        output.text("")
        return
    conditions = (["baseline"] if compare or steered is None else []) + (["steered"] if steered else [])
    settings = {**sampling, "batch_size": batch_size, "progress": not output.quiet}
    rows = _answer(engine, asked, conditions, steered, acting, constraints, settings)
    _show(output, rows, compare=compare)
    output.result(
        {"model": engine.identity.id, "steering": steered.name if steered else None, "responses": rows}
    )


def _answer(
    engine: Engine,
    prompts: Sequence[str],
    conditions: Sequence[str],
    steering: Steering | None,
    acting: Sequence[Steering | None],
    constraints: Sequence[Constraint | None],
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    """Answer every prompt under every condition, all as rows of the same batches."""
    jobs = [(number, condition) for number in range(len(prompts)) for condition in conditions]
    generations = engine.generate(
        [prompts[number] for number, _ in jobs],
        steering=[acting[number] if condition == "steered" else None for number, condition in jobs],
        constraints=[constraints[number] for number, _ in jobs],
        **settings,
    )
    wanted = steering.record.instructions if steering is not None else ()
    rows = []
    for (number, condition), generation in zip(jobs, generations, strict=True):
        row = {
            "prompt": prompts[number],
            "condition": condition,
            "response": generation.text,
            "finished": generation.finished,
            "tokens": len(generation.token_ids),
            "followed": _followed(prompts[number], generation.text, wanted),
        }
        if generation.thought is not None:
            row["thought"] = generation.thought
        if generation.calls:
            row["calls"] = list(generation.calls)
        if constraints[number] is not None:
            row["taken"] = generation.taken
        if condition == "steered" and steering is not None and steering.whens:
            row["acts"] = acting[number] is not None
        rows.append(row)
    return rows


def _followed(prompt: str, response: str, wanted: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Which of the steering's instructions the response follows; those that cannot be checked here are left out."""
    from trimtab import instructions

    followed = {}
    for item in wanted:
        try:
            instruction = instructions.from_dict(item).for_query(prompt)
            followed[instruction.label] = bool(instruction.check(response))
        except InstructionError:  # of a plug-in that is not installed here, or one without a check
            continue
    return followed


def _show(output: Output, rows: Sequence[dict[str, Any]], *, compare: bool) -> None:
    if not output.speaks:
        if not compare:
            for row in rows:
                output.text(row["response"])
        return
    if compare:
        for pair in zip(rows[::2], rows[1::2], strict=True):
            output.print(_columns(pair))
            output.print()
        return
    for row in rows:
        if len(rows) > 1:
            idle = "  (not steered: it does not act here)" if row.get("acts") is False else ""
            output.print(Text(f"> {row['prompt']}{idle}", style="bold"))
        output.print(row["response"])
        if len(rows) > 1:
            output.print()


def _columns(pair: Sequence[dict[str, Any]]) -> Table:
    """The same prompt answered twice, side by side, with what was followed below."""
    table = Table(title=Text(pair[0]["prompt"], style="bold"), title_justify="left", expand=True)
    for row in pair:
        idle = " (it does not act here)" if row.get("acts") is False else ""
        table.add_column(row["condition"] + idle, ratio=1, overflow="fold")
    table.add_row(*(Text(row["response"]) for row in pair), end_section=True)
    verdicts = [
        [f"{label}: {'followed' if one else 'not followed'}" for label, one in row["followed"].items()]
        for row in pair
    ]
    if verdicts[0]:
        table.add_row(*(Text("\n".join(lines)) for lines in verdicts))
    return table
