"""`trimtab transfer`: a steering made on one model, in another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from trimtab.cli.models import Loading, facts_of
from trimtab.cli.options import BatchSizeOption, FileOption, MaxNewTokensOption, QueriesOption, numbers
from trimtab.cli.output import Output
from trimtab.cli.steerings import model_of
from trimtab.errors import PromptError, SteeringError
from trimtab.measure.statistics import mean

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.steering.steering import Steering
    from trimtab.transferring.compare import Comparison
    from trimtab.transferring.linear_map import LinearMap
    from trimtab.transferring.move import Transferred


_CONDITIONS = ("baseline", "instructed", "steered", "instructed+steered")


def command(
    steering: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A saved steering, or a folder of several."),
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
        Literal["none", "strength", "edits"],
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
    from trimtab.transferring import compare as transfer_comparison
    from trimtab.transferring import move as transferring

    factors = None if strengths is None else numbers(strengths, "--strengths", float)
    found = _steerings(steering)
    output.note(f"loading {model}")
    engine = loading.open(output, model)
    for one in found.values():
        if not use_map:
            transferring.move(one, engine.identity)  # what cannot be moved is refused before any work
    learning, held_out, tested = _queries(engine, queries, pairs, validation, test, seed)
    options: dict[str, Any] = {
        "facts": facts_of(engine),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "seed": seed,
    }
    results: list[tuple[Transferred, Comparison | None]] = []
    with output.progress() as tell:
        mapped = teacher = None
        if use_map or refit == "edits":
            unversioned = dataclasses.replace(loading, revision=None)
            first, at_source = model_of(next(iter(found.values())), source, unversioned)
            teacher = at_source.open(output, first)
        if use_map and teacher is not None:
            tell("learning the linear map", 0)
            mapped = _map(teacher, engine, found, map_prompts, seed, batch_size)
        for name, one in found.items():
            tell(f"{name}: moving", 0)
            moved = transferring.transfer(
                one,
                engine,
                refit=refit,
                queries=held_out,
                source=teacher,
                learning=learning,
                map=mapped,
                strengths=factors,
                **options,
            )
            compared = None
            if test:
                own = None
                if here:
                    tell(f"{name}: making one here", 0)
                    instruction = transferring.instruction_of(one)
                    own = transfer_comparison.make_here(engine, instruction, learning, held_out, **options)
                tell(f"{name}: measuring", 0)
                compared = transfer_comparison.compare(engine, moved.steering, tested, here=own, **options)
                moved = transfer_comparison.measured(moved, compared)
            if out is not None:
                moved.steering.save(out if len(found) == 1 else out / name)
            results.append((moved, compared))
    _show(output, list(found), results, engine, out, model)
    rows = [
        {
            "steering": None if out is None else str(out if len(found) == 1 else out / name),
            **moved.to_dict(),
            **({} if compared is None else compared.to_dict()),
        }
        for name, (moved, compared) in zip(found, results, strict=True)
    ]
    output.result({"model": engine.identity.to_dict(), "transfers": rows, "means": _means(results)})


def _steerings(folder: Path) -> dict[str, Steering]:
    """A saved steering, or those in a folder, by name."""
    from trimtab.steering.steering import Steering

    if not folder.is_dir() or (folder / "steering.json").exists():
        return {folder.name: Steering.load(folder)}
    inside = [path for path in sorted(folder.iterdir()) if (path / "steering.json").exists()]
    if not inside:
        raise SteeringError(f"there is no saved steering in {folder}; make one with `trimtab learn`")
    return {path.name: Steering.load(path) for path in inside}


def _queries(
    engine: Engine, source: str | None, pairs: int, validation: int, test: int, seed: int
) -> tuple[list[str], list[str], list[str]]:
    """Queries to make a vector from, to choose on and to measure on; no query is in two of them."""
    from trimtab import prompts

    if source is None:
        return (
            prompts.default_queries(engine.identity, "learning", pairs, seed),
            prompts.default_queries(engine.identity, "validation", validation, seed),
            prompts.default_queries(engine.identity, "test", test, seed) if test else [],
        )
    parts = prompts.split_queries(prompts.load_queries(source))
    found = []
    for split, count in zip(prompts.SPLITS, (pairs, validation, test), strict=True):
        if not parts[split]:
            raise PromptError(
                f"{source} has too few queries to set some aside for the {split} split; give more"
            )
        found.append(prompts.sample_queries(parts[split], min(count, len(parts[split])), seed))
    learning, held_out, tested = found
    return learning, held_out, tested


def _map(
    source: Engine,
    target: Engine,
    steerings: dict[str, Steering],
    count: int,
    seed: int,
    batch_size: int | None,
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
        spoken: dict[str, str] = (
            {pair.plain: pair.instructed for pair in prompts.make_pairs(part, instruction, "learning")}
            if part
            else {}
        )
        asked = [spoken.get(query, query) for query in asked]
    blocks = sorted({block for one in steerings.values() for block in one.blocks})
    return linear_map.fit(source, target, asked, blocks=blocks, batch_size=batch_size)


def _means(results: list[tuple[Transferred, Comparison | None]]) -> dict[str, float]:
    """The share followed by condition, mean over the steerings; those made on the new model under `here`."""
    found: dict[str, float] = {}
    for here in (False, True):
        for condition in _CONDITIONS:
            value = mean(one.followed(condition, here=here) for _, one in results if one is not None)
            if value is not None:
                found[f"here, {condition}" if here else condition] = round(value, 4)
    return found


def _show(
    output: Output,
    names: list[str],
    results: list[tuple[Transferred, Comparison | None]],
    engine: Engine,
    out: Path | None,
    model: str,
) -> None:
    table = Table(title=f"in {engine.identity}", title_justify="left", box=None, pad_edge=False)
    table.add_column("steering", overflow="fold")
    headings = (
        "strength",
        "baseline",
        "instructed",
        "moved",
        "moved\n+instr.",
        "made here",
        "made here\n+instr.",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, (moved, compared) in zip(names, results, strict=True):
        shares = (
            [None] * 6
            if compared is None
            else [compared.followed(condition) for condition in _CONDITIONS]
            + [compared.followed(condition, here=True) for condition in _CONDITIONS[2:]]
        )
        table.add_row(name, f"{moved.strength:g}", *("-" if one is None else f"{one:.2f}" for one in shares))
    means = _means(results)
    if means and len(results) > 1:
        table.add_section()
        keys = (*_CONDITIONS, *(f"here, {condition}" for condition in _CONDITIONS[2:]))
        table.add_row("mean", "", *(f"{means[key]:.2f}" if key in means else "-" for key in keys))
    output.print(table)
    for name, (moved, _) in zip(names, results, strict=True):
        if moved.improved is False:
            output.note(f"warning: {name}: no strength did better than no steering at all")
    if out is not None:
        output.print(f"saved in {out}; try it:")
        first = out if len(names) == 1 else out / names[0]
        output.print(f'  trimtab generate --model {model} --steering {first} --compare "..."')
