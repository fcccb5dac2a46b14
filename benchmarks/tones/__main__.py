"""`python -m benchmarks.tones`: learn tones on a real model by each method, and have another model judge them.

Steerings, answers and verdicts that are there are not made again: a run that was interrupted goes on from there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.pages import TABLE, keep
from benchmarks.running import ModelOption, QueriesOption, ShareOption, TokensOption, precision, run
from benchmarks.tones.measuring import Bench
from benchmarks.tones.settings import CHECKED, COMPOSED, JUDGE, METHODS, TONES, Settings
from benchmarks.tones.table import markdown
from trimtab.cli.judging import judge_of
from trimtab.cli.models import DtypeOption, Loading
from trimtab.cli.output import Output
from trimtab.errors import PromptError
from trimtab.instructions.spelling import resolve_all
from trimtab.progress import shown


def command(
    model: ModelOption = "smollm2",
    tones: Annotated[str, typer.Option("--instructions", "-i", help="Which tones.")] = TONES,
    composed: Annotated[
        str, typer.Option(help="What the first tone is composed with, one by one; none for nothing.")
    ] = COMPOSED,
    judged_by: Annotated[str, typer.Option(help="Who judges, as in trimtab evaluate.")] = JUDGE,
    queries: QueriesOption = 8,
    tokens: TokensOption = 80,
    methods: Annotated[str, typer.Option(help="By which methods tones are learned.")] = ",".join(METHODS),
    learn: Annotated[str, typer.Option(help="More options of trimtab learn, for all.")] = "",
    dtype: DtypeOption = None,
    share: ShareOption = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses queries and phrasings.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="What is finished is kept here.", show_default="build/tones/MODEL")
    ] = None,
) -> None:
    """Measure tones of a real model, judged by another."""
    wanted = methods.split(",")
    if unknown := [name for name in wanted if name not in METHODS]:
        raise typer.BadParameter(f"--methods are {', '.join(METHODS)}, not {unknown[0]}")
    more = (*learn.split(), *precision(dtype))
    settings = Settings(
        model=model,
        tones=tuple(resolve_all(tones)),
        composed=() if composed == "none" else tuple(resolve_all(composed)),
        queries=queries,
        tokens=tokens,
        judge=judged_by,
        methods={name: (*METHODS[name].split(), *more) for name in wanted},
        checked=(*CHECKED.split(), *more),
        seed=seed,
    ).trial_of(share)
    if checked := [one.label for one in settings.tones if one.question is None]:
        raise PromptError(f"{checked[0]} has a check and no question for a judge; name tones")
    folder = out or Path("build/tones") / Path(model).name
    output, loading = Output(), Loading(dtype=dtype)
    typer.echo(f"the judge reads up to {settings.judgements} answers", err=True)
    with shown(True) as tell:
        engine = loading.open(output, model)
        judge = judge_of(output, loading, judged_by, lambda: engine)
        bench = Bench(settings, folder, engine, judge, tell)
        result: dict[str, Any] = {"settings": settings.to_dict(), "tones": [], "composed": []}
        for tone in settings.tones:
            judge.require(tone.question, progress=tell)  # type: ignore[arg-type]
            result["tones"].append(bench.tone(tone))
            keep(folder, result, markdown(result))
            for other in settings.composed if tone == settings.tones[0] else ():
                if (both := bench.composed(tone, other, wanted[-1])) is not None:
                    result["composed"].append(both)
                keep(folder, result, markdown(result))
    typer.echo((folder / TABLE).read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.tones"))
