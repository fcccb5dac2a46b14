"""`python -m benchmarks.compare`: the comparison as one command and one table."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.models import DeviceOption, DtypeOption, Loading, ModelOption, facts_of
from trimtab.cli.options import BatchSizeOption
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import TrimtabError
from trimtab.files import read_text, write_text

INSTRUCTIONS = "sentences(at_most=2),no_commas,json,include(dragon)"
"""A length, a punctuation, a format and a word: two that a mean difference moves on nano, and two that it does not."""


def command(
    model: ModelOption = "nano",
    instructions: Annotated[
        str, typer.Option("--instructions", "-i", metavar="LIST", help="What is to be followed.")
    ] = INSTRUCTIONS,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Keys of methods, such as paper,repeng,trimtab; all when left out."
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Prompt pairs to learn from.")] = 64,
    validation: Annotated[int, typer.Option(min=1, help="Questions to choose block and strength on.")] = 12,
    queries: Annotated[int, typer.Option("--queries", "--test", min=1, help="Questions to measure on.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    candidates: Annotated[
        int,
        typer.Option(
            min=0, help="Settings of a method that are tried at most, drawn by the seed; 0 for all."
        ),
    ] = 0,
    first: Annotated[
        int, typer.Option(min=1, help="Validation questions on which all of them are tried.")
    ] = 3,
    keep: Annotated[int, typer.Option(min=1, help="Settings that are then tried on all of them.")] = 6,
    steps: Annotated[
        int, typer.Option(min=0, help="Steps of what trains; 0 for those of trimtab learn.")
    ] = 0,
    facts: Annotated[
        int, typer.Option(min=0, help="Closed-book questions of a real model; 0 for none.")
    ] = 60,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed/--no-speed", help="Measure speed; on a machine with other work it says nothing."
        ),
    ] = True,
    scorer: Annotated[
        str | None, typer.Option(help="Another model, whose perplexity is shown.", show_default="none")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses questions and phrasings.")] = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "--work",
            help="Folder for what was measured; a run that was interrupted goes on from it.",
        ),
    ] = Path("build/compare"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure everything anew.")] = False,
    kept: Annotated[
        bool,
        typer.Option(
            "--kept",
            help="Measure nothing: the table of what the folder has, by whatever version of the code.",
        ),
    ] = False,
    place: Annotated[
        str | None,
        typer.Option(help="Of several places in a page the one of this name.", show_default="the model"),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Write the table as Markdown to this file too; in a page with marks, between them.",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Steer a model by every method there is, and measure all of them in the same way."""
    from benchmarks.compare import cells, table
    from benchmarks.compare.methods import UNSTEERED, installed, parse_methods
    from benchmarks.compare.scoring import add_perplexity
    from benchmarks.compare.task import Settings, Task
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions.spelling import parse_instructions
    from trimtab.measure.responses import Response

    start = time.perf_counter()
    if place is not None:
        page = read_text(markdown) if markdown is not None else ""
        if table.put_into(page, "", place) == "\n":  # before anything is measured
            raise TrimtabError(
                f"--place {place}: the page of --markdown has no <!-- {table.MARK}: {place} -->"
            )
    # In a file or a pipe no line is folded; a terminal folds the names of the methods where it must.
    output = Output(json, quiet)
    if not sys.stdout.isatty():
        output.console.width = 160
    wanted = parse_instructions(instructions)
    named = parse_methods(methods)
    ready, missing = (named, {}) if kept else installed(named)
    for title, packages in missing.items():
        output.note(f"left out: {title} (not installed: {', '.join(packages)}; `make bench` installs it)")
    loading = Loading(device=device, dtype=dtype)
    engine = loading.open(output, model)
    if not isinstance(engine, TransformersEngine):
        raise TrimtabError("the other libraries need a model of transformers")
    identity = engine.identity
    settings = Settings(
        pairs,
        validation,
        queries,
        max_new_tokens,
        first,
        keep,
        candidates=candidates or None,
        steps=steps or None,
        questions=facts,
        speed=speed,
        batch_size=batch_size,
        seed=seed,
    )
    store = cells.Store(out, fresh=fresh)
    plain: dict[tuple[str, ...], list[Response]] = {}
    found: dict[str, dict[str, cells.Cell]] = {}
    with output.progress() as tell:
        for instruction in wanted:
            task = Task(engine, instruction, settings, facts_of(engine), plain)
            task.folder = cells.shared_folder(store, task)
            if kept:
                titles = {name: name for name in UNSTEERED} | {one.key: one.title for one in ready}
                for name, title in titles.items():
                    if (there := store.kept(task, name)) is not None:
                        found.setdefault(title, {})[instruction.label] = there
                continue
            for name in UNSTEERED:
                tell(f"{instruction.label}: {name}", 0)
                found.setdefault(name, {})[instruction.label] = cells.unsteered_cell(store, task, name)
            for method in ready:
                tell(f"{instruction.label}: {method.title}", 0)
                begun = time.perf_counter()
                cell = cells.method_cell(store, task, method)
                found.setdefault(method.title, {})[instruction.label] = cell
                if not output.shows_progress:
                    said = cell.refused or f"{cell.rows[cell.condition]['followed']:.2f}"
                    output.note(
                        f"[{time.perf_counter() - start:4.0f} s] {instruction.label}: {method.title}: {said} "
                        f"({time.perf_counter() - begun:.0f} s)"
                    )
        if not found:
            raise TrimtabError(f"{out} has nothing of this model, these settings and these instructions")
        if scorer is not None:
            del engine, task
            every = [cell for by_label in found.values() for cell in by_label.values()]
            add_perplexity(every, scorer, lambda name: loading.open(output, name), out / "scores", tell)
    lines = [table.Line(title, by_label) for title, by_label in found.items()]
    caption = table.caption(lines, settings, str(identity), scorer)
    better = table.better_than_ours(lines)
    if better:
        output.print(better)
        output.print()
    output.print(table.terminal_table(table.shares(lines)))
    output.print()
    output.print(table.terminal_table(table.costs(lines)))
    output.print()
    output.print(caption)
    output.print(f"{time.perf_counter() - start:.0f} seconds. Every number and answer: {out}")
    if markdown is not None:
        page = markdown.read_text(encoding="utf-8") if markdown.is_file() else ""
        parts = [better, *map(table.markdown_table, (table.shares(lines), table.costs(lines))), caption]
        write_text(markdown, table.put_into(page, "\n\n".join(filter(None, parts)), place or model))
    output.result(
        {
            "model": identity,
            "settings": settings,
            "scorer": scorer,
            "missing": missing,
            "lines": [line.to_dict() for line in lines],
        }
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Those of the command line when None.

    Returns:
        The exit code: 0, or 2 for a mistake of the user.
    """
    from benchmarks.running import run

    return run(command, "python -m benchmarks.compare", arguments)


if __name__ == "__main__":
    sys.exit(main())
