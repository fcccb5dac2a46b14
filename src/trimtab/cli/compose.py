"""`trimtab compose`: several saved steerings become one that follows all their instructions."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.learning import (
    Found,
    OutOption,
    SeedOption,
    distillation,
    lesson_lines,
    one_voice,
    trials_table,
)
from trimtab.cli.models import Loading
from trimtab.cli.options import BatchSizeOption, FileOption, MaxNewTokensOption, QueriesOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, model_of, read_steering


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR DIR...", help="Folders with saved steerings, or owner/name of the Hub."),
    ],
    out: OutOption,
    fit: Annotated[
        Literal["auto", "never", "always"],
        typer.Option(
            help="Distil jointly: where the steerings disturb each other, never (nothing is measured), or always."
        ),
    ] = "auto",
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    model: SteeredModelOption = None,
    queries: QueriesOption = None,
    pairs: Annotated[int, typer.Option(min=8, help="Queries to distil on.")] = 48,
    validation: Annotated[int, typer.Option(min=1, help="Validation prompts to measure on.")] = 24,
    teacher: Annotated[
        Literal["told", "told+constrained", "constrained", "rewritten", "steered"] | None,
        typer.Option(
            help="Where the answers of the joint distillation come from.",
            show_default="chosen by what each gives",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the joint distillation, at most.", show_default="50")
    ] = None,
    max_new_tokens: MaxNewTokensOption = 192,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Put steerings together, measure whether all is followed, and mend what is not."""
    with one_voice(output) as output:
        from dataclasses import replace

        from trimtab import prompts
        from trimtab.learn.compose import SCHEDULE, compose, instructions_of, union_of

        steerings = [read_steering(folder) for folder in folders]
        # What is impossible is refused before a model is loaded.
        union_of(steerings, fit if judged_by is None else "never")
        start = time.perf_counter()
        model, loading = model_of(steerings[0], model, loading)
        engine = loading.open(output, model)
        judge = None
        if judged_by is not None and fit != "never":
            asked = [one for one in instructions_of(steerings) if one.question is not None]
            choice = partial(judge_of, output, loading, judged_by, lambda: engine)
            judge = next((one.judge_in_place for one in judged(output, asked, choice)), None)
        drawn = prompts.draw_queries(
            engine.identity, queries, learning=pairs, validation=validation, seed=seed
        )
        with output.progress() as tell:
            composed = compose(
                engine,
                steerings,
                fit=fit,
                judge=judge,
                queries=drawn.learning,
                validation=drawn.validation,
                teacher=teacher,
                schedule=SCHEDULE if steps is None else replace(SCHEDULE, steps=steps),
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                progress=tell,
                seed=seed,
            )
        shares = {
            "the union": composed.union_followed,
            "after joint distillation": composed.fitted_followed,
            "instructed": composed.instructed_followed,
        }
        distilled = composed.distilled
        shown = [
            f"follows everything, {what}: {share:.2f} of {len(drawn.validation)} validation queries"
            for what, share in shares.items()
            if share is not None
        ]
        more = {
            "fitted": composed.fitted,
            "union_followed": composed.union_followed,
            "fitted_followed": composed.fitted_followed,
            "instructed_followed": composed.instructed_followed,
            "distillation": None if distilled is None else distillation(distilled),
        }
        found = Found(
            composed.steering,
            [*shown, *([*lesson_lines(distilled), trials_table(distilled)] if distilled else [])],
            more,
        )
        found.hand_over(output, out, model, start, saved="fitted and saved" if composed.fitted else "saved")
