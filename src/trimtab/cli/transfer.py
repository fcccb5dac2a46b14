"""`trimtab transfer`: a steering made on one model, in another."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import Loading, facts_of
from trimtab.cli.options import (
    BatchSizeOption,
    FileOption,
    MaxNewTokensOption,
    QueriesOption,
    numbers,
    steering_folder,
)
from trimtab.cli.output import Output
from trimtab.cli.steerings import named_or_known
from trimtab.errors import SteeringError
from trimtab.measure.statistics import mean
from trimtab.progress import Tell, prefixed

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering
    from trimtab.transferring.compare import Compared
    from trimtab.transferring.linear_map import LinearMap
    from trimtab.transferring.move import Transferred


Refit = Literal["none", "strength", "edits"]
_COLUMNS = {
    "baseline": "baseline",
    "instructed": "instructed",
    "steered": "moved",
    "instructed+steered": "moved\n+instr.",
    "here, steered": "made here",
    "here, instructed+steered": "made here\n+instr.",
}


def command(
    steering: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A saved steering, a folder of several, or owner/name of the Hub."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="The model it shall steer: as in `trimtab generate`."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to save what came of it."),
    ] = None,
    refit: Annotated[
        Refit,
        typer.Option(
            help="What to fit again: the strength, or the edits by answers of the model they were made on."
        ),
    ] = "strength",
    strengths: Annotated[
        str | None,
        typer.Option(
            metavar="X[,X]", help="Strengths to try, 1 for the steering as it is.", show_default="by model"
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The model it was made on, for --refit edits and --map. Left out: that of the steering.",
        ),
    ] = None,
    use_map: Annotated[
        bool,
        typer.Option("--map", help="Carry it over by a linear map of activations, also to another width."),
    ] = False,
    map_prompts: Annotated[int, typer.Option(min=10, help="Prompts to learn the linear map from.")] = 400,
    here: Annotated[
        bool,
        typer.Option(help="Also make a mean-difference vector on the new model itself, to compare with."),
    ] = True,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    queries: QueriesOption = None,
    pairs: Annotated[
        int, typer.Option(min=2, help="Queries to make vectors from, and to train edits on.")
    ] = 48,
    validation: Annotated[int, typer.Option(min=1, help="Validation prompts to choose on.")] = 12,
    test: Annotated[int, typer.Option(min=0, help="Test prompts to measure on; 0 measures nothing.")] = 24,
    max_new_tokens: MaxNewTokensOption = 192,
    seed: Annotated[int, typer.Option(help="Chooses queries and phrasings.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Move a steering to another model: the base of its own, another fine-tune, or one of another shape.

    Every edit goes to the block of the same depth, its strength is fitted again, and what it does there is measured.
    """
    from trimtab import prompts
    from trimtab.measure.judges import judges_of
    from trimtab.measure.rows import with_test
    from trimtab.steering.collection import SteeringFolder
    from trimtab.transferring import compare, transfer
    from trimtab.transferring.move import check_move
    from trimtab.tune.vector import make_vector

    factors = None if strengths is None else numbers(strengths, "--strengths", float)
    found = SteeringFolder.found(steering).load()
    places = {name: out and (out if len(found) == 1 else out / name) for name in found}
    for place in places.values():
        steering_folder(place)
    wanted = _checked(
        found,
        refit,
        measured=test > 0,
        factors=factors,
        source=source,
        mapped=use_map,
        judged=judged_by is not None,
    )
    made_on, needs_source = next(iter(found.values())).record.model, use_map or refit == "edits"
    origin, at_origin = named_or_known(
        source if needs_source else model,
        made_on,
        dataclasses.replace(loading, revision=None),
        "what is to be moved",
        "--source",
    )
    parts: dict[str, Any] = {"learning": pairs, "validation": validation, "test": test, "seed": seed}
    own = queries and prompts.draw_queries(made_on, queries, **parts)
    output.note(f"loading {model}")
    engine = loading.open(output, model)
    for one in found.values():
        check_move(one, engine.identity, mapped=use_map)
    if judged_by is not None:
        choice = partial(judge_of, output, loading, judged_by, lambda: engine)
        wanted = dict(zip(wanted, judged(output, list(wanted.values()), choice), strict=True))
    drawn = own or prompts.draw_queries(engine.identity, **parts)
    mapped = teacher = None
    if needs_source:
        teacher = at_origin.open(output, origin)
        for one in found.values():
            one.check_model(teacher.identity)
    shared: dict[str, Any] = {
        "facts": facts_of(engine),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "seed": seed,
    }
    results: list[tuple[Transferred, Compared | None]] = []
    with output.progress() as tell:
        if use_map and teacher is not None:
            mapped = _map(teacher, engine, found, map_prompts, seed, batch_size, tell)
        for name, one in found.items():
            told = prefixed(tell, name)
            moved = transfer(
                one,
                engine,
                refit=refit,
                queries=drawn.validation,
                source=teacher,
                learning=drawn.learning,
                instruction=wanted.get(name),
                map=mapped,
                strengths=factors,
                progress=told,
                **shared,
            )
            compared = None
            if test:
                vector = None
                if here:
                    making = prefixed(told, "making a vector here")
                    vector = make_vector(
                        engine, wanted[name], drawn.learning, drawn.validation, progress=making, **shared
                    ).steering
                told("measuring", 0)
                compared = compare(
                    engine, moved.steering, drawn.test, instruction=wanted[name], here=vector, **shared
                )
                moved = dataclasses.replace(moved, steering=with_test(moved.steering, compared.rows))
            if place := places[name]:
                moved.steering.save_pretrained(place)
            results.append((moved, compared))
    rows = [
        {
            "steering": place and str(place),
            **moved.to_dict(),
            **({} if compared is None else compared.to_dict()),
        }
        for place, (moved, compared) in zip(places.values(), results, strict=True)
    ]
    judges = judges_of(wanted.values())
    document = {"model": engine.identity.to_dict(), "transfers": rows, "means": _means(results), **judges}
    output.result(document)
    _show(output, list(found), results, engine, out, model, judges.get("judges", {}))


def _checked(
    found: dict[str, Steering],
    refit: Refit,
    *,
    measured: bool,
    factors: list[float] | None,
    source: str | None,
    mapped: bool,
    judged: bool,
) -> dict[str, Instruction]:
    """By which instruction each steering is fitted and measured; refuses what can be seen before a model is loaded."""
    from trimtab.transferring.move import fitted_by

    if factors is not None and refit != "strength":
        raise typer.BadParameter(f"--strengths is for --refit strength, not for --refit {refit}")
    needs_source = mapped or refit == "edits"
    if source is not None and not needs_source:
        raise typer.BadParameter("--source is for --refit edits and --map")
    first, *others = found.values()
    if needs_source:
        for one in others:
            if reason := first.record.model.refusal(one.record.model):
                raise SteeringError(
                    f"'{first.name}' and '{one.name}' were made on different models ({reason}); move the steerings of "
                    "each model by themselves"
                )
    if refit == "none" and not measured:
        return {}
    return {name: fitted_by(one, refit, judged=judged) for name, one in found.items()}


def _map(
    source: Engine,
    target: Engine,
    steerings: dict[str, Steering],
    count: int,
    seed: int,
    batch_size: int | None,
    tell: Tell,
) -> LinearMap:
    """A linear map learned from learning queries, every other one with an instruction of one of the steerings."""
    from trimtab import instructions as catalogue
    from trimtab import prompts
    from trimtab.transferring import linear_map

    known = len(prompts.default_queries(source.identity, "learning"))
    queries = prompts.default_queries(source.identity, "learning", min(count, known), seed)
    items = [item for one in steerings.values() for item in one.record.instructions]
    named = list(dict.fromkeys(catalogue.from_dict(item) for item in items))
    asked = list(queries)
    for number, instruction in enumerate(named):
        part = queries[1 + 2 * number :: 2 * len(named)]
        pairs = prompts.make_pairs(part, instruction, "learning") if part else []
        spoken = {pair.plain: pair.instructed for pair in pairs}
        asked = [spoken.get(query, query) for query in asked]
    blocks = sorted({block for one in steerings.values() for block in one.blocks})
    progress = prefixed(tell, "linear map")
    return linear_map.fit(source, target, asked, blocks=blocks, batch_size=batch_size, progress=progress)


def _shares(compared: Compared | None) -> dict[str, float]:
    """The share followed by condition; of the steering that was made on the new model under `here`."""
    if compared is None:
        return {}
    own = {f"here, {row.condition}": row.followed for row in compared.here}
    return {row.condition: row.followed for row in compared.rows} | own


def _means(results: list[tuple[Transferred, Compared | None]]) -> dict[str, float]:
    """The shares, mean over the steerings."""
    shares = [_shares(compared) for _, compared in results]
    found = {key: mean(one.get(key) for one in shares) for key in _COLUMNS}
    return {key: round(value, 4) for key, value in found.items() if value is not None}


def _show(
    output: Output,
    names: list[str],
    results: list[tuple[Transferred, Compared | None]],
    engine: Engine,
    out: Path | None,
    model: str,
    judges: dict[str, str],
) -> None:
    table = Table(title=f"in {engine.identity}", title_justify="left", box=None, pad_edge=False)
    table.add_column("steering", overflow="fold")
    for heading in ("strength", *_COLUMNS.values()):
        table.add_column(heading, justify="right")

    def line(name: str, strength: str, shares: dict[str, float]) -> None:
        table.add_row(name, strength, *(f"{shares[key]:.2f}" if key in shares else "-" for key in _COLUMNS))

    for name, (moved, compared) in zip(names, results, strict=True):
        line(name, f"{moved.strength:g}", _shares(compared))
    if len(results) > 1 and (means := _means(results)):
        table.add_section()
        line("mean", "", means)
    output.print(table)
    for label, judge in judges.items():
        output.print(f"{label}: judged by {judge}, not checked")
    for name, (moved, _) in zip(names, results, strict=True):
        if moved.improved is False:
            output.note(f"warning: {name}: no strength did better than no steering at all")
    if out is not None:
        output.print(f"saved in {out}; try it:")
        first = out if len(names) == 1 else out / names[0]
        output.print(f'  trimtab generate --model {model} --steering {first} --compare "..."')
