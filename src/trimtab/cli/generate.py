"""`trimtab generate`: answer prompts, plain or steered, or both side by side."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from trimtab.cli.models import (
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    RevisionOption,
    TrustOption,
    open_engine,
)
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import InstructionError, PromptError, SteeringError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine, Generation
    from trimtab.steering import Steering


def command(
    prompt: Annotated[
        str | None, typer.Argument(help="What to ask; '-' reads it from standard input.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="nano, nano-base, a model of the Hub, or a folder. Left out: that of the steering, or nano.",
            show_default=False,
        ),
    ] = None,
    steering: Annotated[
        list[str] | None,
        typer.Option(
            "--steering",
            "-s",
            metavar="DIR[,DIR]",
            help="Apply these steerings, all at once. May be repeated.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        str,
        typer.Option(metavar="X[,X]", help="Multiply the steerings by this: one number, or one for each."),
    ] = "1",
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the answer without and with the steering, side by side.")
    ] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="Answer all prompts of a file: one a line, or .jsonl with 'prompt'.",
            show_default=False,
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample; without this and the next three, greedy.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Temperature of sampling.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Sample from the smallest set with this probability.", show_default=False
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, help="Sample from so many likeliest tokens.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.", show_default=False)] = None,
    batch_size: BatchSizeOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    trust_remote_code: TrustOption = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Answer a prompt, plain or steered. One prompt streams to the terminal as it is written."""
    output = Output(json, quiet)
    asked = _prompts(prompt, prompts)
    folders = _folders(steering or [])
    if compare and not folders:
        raise typer.BadParameter("there is nothing to compare with; name a steering: --steering DIR")
    steered = _compose(folders, strength)
    if model is None:
        model, revision = _model_of(steered, revision)
    engine = open_engine(
        output,
        model,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    if steered is not None:
        steered.check_model(engine.identity)
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "do_sample": sample or temperature is not None or top_p is not None or top_k is not None,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
    }
    if len(asked) == 1 and json is None and not compare:
        for piece in engine.stream(asked[0], steering=steered, **sampling):
            output.text(piece, end="")
        output.text("")
        return
    conditions: list[tuple[str, Steering | None]] = [("baseline", None)] if compare or steered is None else []
    if steered is not None:
        conditions.append(("steered", steered))
    rows = _answer(engine, asked, conditions, {**sampling, "batch_size": batch_size}, output.shows_progress)
    _show(output, rows, compare=compare)
    output.result(
        {"model": engine.identity.id, "steering": steered.name if steered else None, "responses": rows}
    )


def _prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts asked for: exactly one of the argument, standard input and the file."""
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give one prompt (or - to read it from standard input), or --prompts FILE")
    if file is not None:
        from trimtab.prompts import load_queries

        if not file.exists():
            raise PromptError(f"there is no file {file}; give one with a prompt a line, or .jsonl")
        return load_queries(file)
    text = sys.stdin.read().strip() if prompt == "-" else prompt
    if not text:
        raise PromptError("the prompt is empty; give the model something to answer")
    return [text]


def _folders(given: Sequence[str]) -> list[Path]:
    """The folders of `--steering A,B --steering C`; a folder may have a comma in its own name."""
    folders = []
    for text in given:
        folders += [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(",") if part]
    return folders


def _compose(folders: Sequence[Path], strength: str) -> Steering | None:
    """Load the steerings and add them up, each at its strength."""
    try:
        strengths = [float(part) for part in strength.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--strength takes numbers separated by commas, not {strength!r}") from error
    if len(strengths) not in (1, max(1, len(folders))):
        raise typer.BadParameter(
            f"there are {len(strengths)} strengths for {len(folders)} steerings; give one for all, or one for each"
        )
    if not folders:
        return None
    from trimtab.steering import Steering

    if len(strengths) == 1:
        strengths *= len(folders)
    parts = [Steering.load(folder) * factor for folder, factor in zip(folders, strengths, strict=True)]
    return functools.reduce(operator.add, parts)


def _model_of(steering: Steering | None, revision: str | None) -> tuple[str, str | None]:
    """The model to load when none was named: that of the steering, if its record says where to get it."""
    if steering is None:
        return "nano", revision
    from trimtab import nano

    model = steering.record.model
    if nano.is_built_in(model.id):
        return model.id, revision
    if model.revision is not None or "/" in model.id:
        return model.id, revision or model.revision
    # A model from a folder is recorded by the folder's name only: paths mean nothing on another machine.
    raise SteeringError(
        f"the steering '{steering.name}' is for {model}, which came from a folder; say where it is: --model FOLDER"
    )


def _answer(
    engine: Engine,
    prompts: Sequence[str],
    conditions: Sequence[tuple[str, Steering | None]],
    settings: dict[str, Any],
    progress: bool,
) -> list[dict[str, Any]]:
    """Answer every prompt under every condition, all as rows of the same batches."""
    generations = engine.generate(
        [prompt for prompt in prompts for _ in conditions],
        steering=[steering for _ in prompts for _, steering in conditions],
        progress=progress,
        **settings,
    )
    wanted = [item for _, steering in conditions if steering for item in steering.record.instructions]
    rows = []
    for number, generation in enumerate(generations):
        query, (condition, _) = prompts[number // len(conditions)], conditions[number % len(conditions)]
        rows.append(_row(query, condition, generation, wanted))
    return rows


def _row(
    prompt: str, condition: str, generation: Generation, wanted: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "condition": condition,
        "response": generation.text,
        "finished": generation.finished,
        "tokens": len(generation.token_ids),
        "followed": _followed(prompt, generation.text, wanted),
    }


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
            output.print(Text(f"> {row['prompt']}", style="bold"))
        output.print(row["response"])
        if len(rows) > 1:
            output.print()


def _columns(pair: Sequence[dict[str, Any]]) -> Table:
    """The same prompt answered twice, side by side, with what was followed below."""
    table = Table(title=Text(pair[0]["prompt"], style="bold"), title_justify="left", expand=True)
    for row in pair:
        table.add_column(row["condition"], ratio=1, overflow="fold")
    table.add_row(*(Text(row["response"]) for row in pair), end_section=True)
    labels = list(pair[0]["followed"])
    if labels:
        table.add_row(*(Text("\n".join(_verdict(label, row) for label in labels)) for row in pair))
    return table


def _verdict(label: str, row: dict[str, Any]) -> str:
    return f"{label}: {'followed' if row['followed'].get(label) else 'not followed'}"
