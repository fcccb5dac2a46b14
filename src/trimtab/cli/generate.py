"""`trimtab generate`: answer prompts, plain or steered, or both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from trimtab._version import __version__
from trimtab.cli.answers import PORTION, AnswerFile, Row, digest_of_run, portions
from trimtab.cli.constraining import ConstraintChoice
from trimtab.cli.models import EngineChoice
from trimtab.cli.options import BatchSizeOption, FileOption, MaxNewTokensOption
from trimtab.cli.output import Output, to_json
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
from trimtab.cli.thoughts import Missing
from trimtab.errors import InstructionError
from trimtab.progress import part_of

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
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="With --prompts: keep the answers here as they come, JSON Lines; the same command goes on with them.",
        ),
    ] = None,
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
    if out is not None and prompts is None:
        raise typer.BadParameter("--out keeps the answers to many prompts; give them with --prompts FILE")
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
    if len(asked) == 1 and output.json is None and out is None and not compare:
        if steered is not None and steered.whens and acting[0] is None:
            output.note("the steering does not act on this prompt: it is answered unsteered")
        said = False
        for piece in engine.stream(asked[0], steering=acting[0], constraint=constraints[0], **sampling):
            output.text(piece, end="")
            said = said or bool(piece.strip())
        output.text("")
        if not said and engine.thoughts is not None and not engine.thoughts.is_trivial:
            output.note(
                f"warning: the answer is empty: the model was still thinking after {max_new_tokens} tokens, or "
                "called a tool; --json shows what it wrote, --max-new-tokens gives it more"
            )
        return
    conditions = (["baseline"] if compare or steered is None else []) + (["steered"] if steered else [])
    encoding = getattr(engine, "encoding", None)
    if encoding is not None:
        encoding.prompts(
            asked, max_new_tokens, raw=raw
        )  # one that is too long is found before the first is answered
    on_cpu = str(getattr(engine, "device", "")) == "cpu"
    size = max(batch_size or 1, PORTION // 4 if on_cpu else PORTION)
    kept = None
    if out is not None:
        parts = {
            "model": engine.identity.to_dict(),
            "steering": None if steered is None else steered.digest(),
            "conditions": conditions,
            "constraints": [None if one is None else [one.kind, one.text] for one in constraints],
            "sampling": sampling,
            "portion": size,
            "version": __version__,
        }
        kept = AnswerFile(out, digest_of_run(parts), asked, len(conditions), size)
    rows: list[Row] = []
    missing = Missing()
    lost: OSError | None = None  # nobody sees the answers: a closed pipe, a full disk
    try:
        with output.progress() as tell:
            for number, places in enumerate(portions(len(asked), size)):
                if kept is not None and number < kept.done:
                    continue
                job = _Portion(
                    [asked[place] for place in places],
                    [acting[place] for place in places],
                    [constraints[place] for place in places],
                )
                told = part_of(
                    tell, "writing answers", places[0] * len(conditions), len(asked) * len(conditions)
                )
                settings = {**sampling, "batch_size": batch_size, "progress": told}
                if seed is not None:  # each portion draws its own, whatever was answered before
                    settings["seed"] = seed if number == 0 else (seed + number) % 2**63
                found = _answer(engine, job, conditions, steered, settings)
                for row in found:
                    called = bool(row.get("calls"))
                    missing.add(row["response"], row.get("thought"), finished=row["finished"], calls=called)
                if kept is not None:
                    kept.append(found, to_json)
                else:
                    try:
                        if lost is None:
                            _show(output, found, compare=compare, several=len(asked) > 1)
                    except OSError as error:
                        if output.json in (None, "-"):
                            raise
                        lost = error
                    rows += found if output.json is not None else []
        if kept is not None:
            output.note(f"{len(asked) * len(conditions)} answers in {out}")
        if output.json is not None:
            rows = rows if kept is None else list(kept.rows())
            name = steered.name if steered else None
            output.result({"model": engine.identity.id, "steering": name, "responses": rows})
        missing.tell(output, max_new_tokens)
        if lost is not None:
            raise lost
    finally:
        if kept is not None:
            kept.close()


@dataclass(frozen=True)
class _Portion:
    prompts: Sequence[str]
    acting: Sequence[Steering | None]
    constraints: Sequence[Constraint | None]


def _answer(
    engine: Engine,
    portion: _Portion,
    conditions: Sequence[str],
    steering: Steering | None,
    settings: dict[str, Any],
) -> list[Row]:
    """Answer every prompt under every condition, all as rows of the same batches."""
    prompts, acting, constraints = portion.prompts, portion.acting, portion.constraints
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


def _show(output: Output, rows: Sequence[Row], *, compare: bool, several: bool) -> None:
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
        if several:
            idle = "  (not steered: it does not act here)" if row.get("acts") is False else ""
            output.print(Text(f"> {row['prompt']}{idle}", style="bold"))
        output.print(row["response"])
        if several:
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
