"""`python -m benchmarks.real`: learn instructions on a real model, measure them, and write the table.

Everything that is finished is kept in the folder `--out`: a run that was interrupted goes on from there, and its result
and table are written anew after each instruction. `python -m benchmarks.real.table` puts the table into pages.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.pages import TABLE, keep
from benchmarks.real.answering import Bench
from benchmarks.real.figures import figures_of, pair_of, summary_of
from benchmarks.real.settings import SCORER, Settings, instructions_for
from benchmarks.real.table import markdown, pairs_table
from benchmarks.running import ModelOption, QueriesOption, ShareOption, TokensOption, precision, run
from trimtab.cli.models import DtypeOption, Loading
from trimtab.cli.output import Output
from trimtab.progress import Tell, shown

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


def command(
    model: ModelOption = "smollm2",
    instructions: Annotated[
        str | None,
        typer.Option(
            "--instructions", "-i", help="What to learn; when left out, one of every kind, or four."
        ),
    ] = None,
    queries: QueriesOption = 48,
    tokens: TokensOption = 160,
    constrained: Annotated[
        bool, typer.Option(help="Also hold answers to the instruction's constraint, plain and steered.")
    ] = True,
    facts: Annotated[int, typer.Option(min=0, help="Closed-book questions; 0 for none.")] = 138,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of instructions; 0 for none.")] = 15,
    scorer: Annotated[str, typer.Option(help="What scores answers; none for nothing.")] = SCORER,
    scored: Annotated[int, typer.Option(min=1, help="Answers it scores, plain and steered.")] = 12,
    learn: Annotated[str, typer.Option(help="Options of trimtab learn beside its defaults.")] = "",
    compose: Annotated[
        str | None,
        typer.Option(help="Also put pairs together by trimtab compose, with these options ('' for none)."),
    ] = None,
    dtype: DtypeOption = None,
    share: ShareOption = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses queries, phrasings and pairs.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="What is finished is kept here.", show_default="build/real/MODEL")
    ] = None,
) -> None:
    """Measure steerings of a real model."""
    settings = Settings(
        model=model,
        instructions=instructions_for(model, instructions),
        queries=queries,
        tokens=tokens,
        constrained=constrained,
        facts=facts,
        pairs=pairs,
        scorer=None if scorer == "none" else scorer,
        scored=scored,
        learn=(*shlex.split(learn), *precision(dtype)),
        compose=None if compose is None else tuple(shlex.split(compose)),
        seed=seed,
    ).shared(share)
    folder = out or Path("build/real") / Path(model).name
    output = Output()

    def load(name: str) -> Engine:
        return Loading(dtype=dtype).open(output, name)

    with shown(True) as tell:
        bench = Bench(settings, folder, lambda: load(model), tell)
        measured = []
        for instruction in settings.instructions:
            measured.append(bench.instruction(instruction))
            _write(settings, measured, [], folder)
        both = [found for pair in settings.combinations() if (found := bench.pair(pair)) is not None]
        _write(settings, measured, both, folder)
        if settings.scorer is not None:
            bench.forget_model()
            _score(settings, measured, load, folder, tell)
        _write(settings, measured, both, folder)
    typer.echo((folder / TABLE).read_text("utf-8"))


def _score(
    settings: Settings, measured: Sequence[dict[str, Any]], load: Any, folder: Path, tell: Tell
) -> None:
    from benchmarks.real.scoring import add_scores

    add_scores(measured, settings.scored, str(settings.scorer), load, folder / "scores", tell)


def _write(
    settings: Settings, measured: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]], folder: Path
) -> None:
    """The result and the table of what was measured so far."""
    instructions = [figures_of(one) for one in measured]
    both = [pair_of(one) for one in pairs]
    result = {
        "model": settings.model,
        "settings": settings.to_dict(),
        "scored": max(one["conditions"]["baseline"]["scored"] for one in instructions),
        "instructions": instructions,
        "pairs": both,
        "summary": summary_of(instructions, both),
    }
    tables = [markdown(result), *([pairs_table(result)] if both else [])]
    keep(folder, result, "\n\n".join(tables))


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.real"))
