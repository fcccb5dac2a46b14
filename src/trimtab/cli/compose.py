"""`trimtab compose`: several saved steerings become one that follows all their instructions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from trimtab.cli.learning import (
    Found,
    distillation,
    one_voice,
    read_queries,
    trials_table,
)
from trimtab.cli.models import Loading
from trimtab.cli.options import (
    BatchSizeOption,
    FileOption,
    MaxNewTokensOption,
    QueriesOption,
    steering_folder,
)
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, model_of


def command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR...", help="Folders with saved steerings.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", callback=steering_folder, help="Where to save the composition."
        ),
    ],
    fit: Annotated[
        Literal["auto", "never", "always"],
        typer.Option(
            help="Distil jointly: where the steerings disturb each other, never (nothing is measured), or always."
        ),
    ] = "auto",
    file: FileOption = None,
    model: SteeredModelOption = None,
    queries: QueriesOption = None,
    pairs: Annotated[int, typer.Option(min=8, help="Queries to distil on.")] = 48,
    validation: Annotated[int, typer.Option(min=1, help="Validation prompts to measure on.")] = 24,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the joint distillation, at most.", show_default="50")
    ] = None,
    max_new_tokens: MaxNewTokensOption = 192,
    seed: Annotated[int, typer.Option(help="Chooses queries, phrasings and the order of training.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Put steerings together, measure whether all is followed, and mend what is not."""
    with one_voice(output) as output:
        from dataclasses import replace

        from trimtab.engines.ranks import started_first
        from trimtab.learn.compose import SCHEDULE, compose, union_of
        from trimtab.steering.steering import Steering

        steerings = [Steering.load(folder) for folder in folders]
        union_of(steerings, fit)  # what is impossible is refused before a model is loaded
        start = time.perf_counter()
        model, loading = model_of(steerings[0], model, loading)
        engine = loading.open(output, model)
        learning, held_out, _ = read_queries(engine, queries, pairs, validation, seed)
        with output.progress() as tell:
            composed = compose(
                engine,
                steerings,
                fit=fit,
                queries=learning,
                validation=held_out,
                schedule=SCHEDULE if steps is None else replace(SCHEDULE, steps=steps),
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                progress=tell,
                seed=seed,
            )
        steering = composed.steering
        if started_first():
            Found(steering).save(out)
        seconds = time.perf_counter() - start
        output.print(steering.describe())
        output.print()
        shares = {
            "the union": composed.union_followed,
            "after joint distillation": composed.fitted_followed,
            "instructed": composed.instructed_followed,
        }
        for what, share in shares.items():
            if share is not None:
                output.print(f"follows everything, {what}: {share:.2f} of {len(held_out)} validation queries")
        if composed.distilled is not None:
            output.print(trials_table(composed.distilled))
        output.print(
            f"{'fitted and ' if composed.fitted else ''}saved in {out} after {seconds:.0f} s; try it:"
        )
        output.print(f'  trimtab generate --model {model} --steering {out} --compare "..."')
        output.result(
            {
                "steering": str(out),
                "digest": steering.digest(),
                "name": steering.name,
                **steering.record.to_dict(),
                "fitted": composed.fitted,
                "union_followed": composed.union_followed,
                "fitted_followed": composed.fitted_followed,
                "instructed_followed": composed.instructed_followed,
                "distillation": None if composed.distilled is None else distillation(composed.distilled),
                "seconds": round(seconds, 2),
            }
        )
