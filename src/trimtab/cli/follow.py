"""`trimtab follow`: answers that are checked, and tried again where the check fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice
from trimtab.cli.options import BatchSizeOption, FileOption, MaxNewTokensOption, numbers
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
from trimtab.cli.thoughts import Missing
from trimtab.errors import InstructionError
from trimtab.instructions import resolve_all

if TYPE_CHECKING:
    from trimtab.following import Attempt, Followed


def command(
    prompt: PromptArgument = None,
    instructions: Annotated[
        str | None,
        typer.Option(
            "--instructions",
            "-i",
            metavar="LIST",
            help="What to check, such as json,sentences(at_most=2). Left out: what the steering stands for.",
        ),
    ] = None,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    model: SteeredModelOption = None,
    steering: SteeringOption = None,
    prompts: PromptsOption = None,
    budget: Annotated[int, typer.Option(min=1, help="Most attempts for a prompt.")] = 8,
    strengths: Annotated[
        str, typer.Option(metavar="X[,X]", help="Strengths of the steering that are tried, in order.")
    ] = "1,1.5,2",
    constrain: Annotated[
        bool | None,
        typer.Option(
            "--constrain/--no-constrain",
            help="Hold the last attempt to the instructions' constraint.",
            show_default="where the model's answers can be held to one",
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.01, help="Of the attempts that sample.")] = 0.8,
    max_new_tokens: MaxNewTokensOption = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling, and which phrasings are used.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Answer prompts so that instructions are followed, and say which answers passed the check, or a judge.

    The last attempt is held to a constraint where the instructions have one, so that these are followed by all means.
    Exits with 1 if an answer could not be verified within the budget; the best that was found is shown all the same.
    """
    asked = read_prompts(prompt, prompts)
    steered = compose(folders_of(steering or []), "1")
    if instructions is None and (steered is None or not steered.record.instructions):
        raise InstructionError("name what to check: --instructions json, or a steering that stands for one")
    tried = numbers(strengths, "--strengths", float)
    wanted = None if instructions is None else resolve_all(instructions)
    engine = open_for(steered, model, loading, output)
    import trimtab
    from trimtab.instructions import from_dict
    from trimtab.measure.judges import judges_of

    if judged_by is not None:
        if wanted is None and steered is not None:
            wanted = [from_dict(item) for item in steered.record.instructions]
        wanted = judged(output, wanted or [], lambda: judge_of(output, loading, judged_by, lambda: engine))
    rows = trimtab.follow(
        engine,
        asked,
        wanted,
        steering=steered,
        budget=budget,
        strengths=tried,
        constrain=constrain,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        progress=not output.quiet,
    )
    judges = judges_of(wanted or [])
    verified = sum(row.verified for row in rows)
    output.result(
        {
            "model": engine.identity.id,
            "steering": steered.name if steered else None,
            "instructions": list(rows[0].instructions),
            **judges,
            "verified": verified,
            "n": len(rows),
            "constrained": sum(row.constrained for row in rows),
            "tokens": sum(row.tokens for row in rows),
            "responses": [row.to_dict() for row in rows],
        }
    )
    _show(output, rows, judges.get("judges", {}))
    thinks = engine.thoughts is not None and not engine.thoughts.is_trivial
    missing = Missing()
    for row in rows:
        missing.add(row.text, "" if thinks else None, finished=row.attempt.finished)
    missing.tell(output, max_new_tokens)
    if verified < len(rows):
        raise typer.Exit(1)


def _show(output: Output, rows: Sequence[Followed], judges: Mapping[str, str]) -> None:
    for row in rows:
        if len(rows) > 1:
            output.print(Text(f"> {row.prompt}", style="bold"))
        output.text(row.text)
        if len(rows) > 1:
            output.print()
    forced = sum(row.verified and row.constrained for row in rows)
    title = f"{sum(row.verified for row in rows)} of {len(rows)} verified"
    if forced:
        title += f", {forced} of them held to a constraint"
    for label, judge in judges.items():
        title += f"\n{label}: judged by {judge}, not checked"
    table = Table(title=title, title_justify="left")
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("verified")
    table.add_column("attempts", justify="right")
    table.add_column("by")
    table.add_column("tokens", justify="right")
    for row in rows:
        table.add_row(
            Text(str(row.prompt)),
            "yes" if row.verified else "no",
            str(len(row.attempts)),
            _way(row.attempt),
            str(row.tokens),
        )
    output.print()
    output.print(table)


def _way(attempt: Attempt) -> str:
    strength = "" if attempt.strength is None else f" x{attempt.strength:g}"
    return f"{attempt.condition}{strength}{', sampled' if attempt.sampled else ''}"
