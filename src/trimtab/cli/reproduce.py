"""`trimtab reproduce`: the experiments of Stolfo et al. (ICLR 2025) on their models, or on nano."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from trimtab.cli.models import Loading
from trimtab.cli.options import BatchSizeOption
from trimtab.cli.output import Output
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.reproduce import results
    from trimtab.reproduce.paper import PaperModel


Experiment = Literal["format", "length", "keywords", "composition", "transfer"]


def command(
    experiment: Annotated[Experiment, typer.Argument(metavar="EXPERIMENT", help="Which experiment.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="nano, phi-3, gemma-2-2b, gemma-2-9b, mistral-7b, or any model: a name of the Hub, a folder.",
        ),
    ] = "nano",
    like: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The settings to take for a model that the paper does not have.",
            show_default="phi-3",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="For transfer: the base model that is steered.",
            show_default="the paper's",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, help="The paper's prompt files; nano needs none."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for tables (.md) and charts (.svg)."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many test prompts of a kind.", show_default="all; 12 for nano"),
    ] = None,
    validation: Annotated[
        int | None, typer.Option(min=1, help="Validation prompts per choice.", show_default="10; 6 for nano")
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(min=2, help="Prompt pairs per format vector.", show_default="all; 64 for nano"),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="2048; 128 for nano")
    ] = None,
    perplexity_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="Judges which answers are degenerate; nano's repetition is counted."
        ),
    ] = "openai-community/gpt2",
    distilled: Annotated[
        bool,
        typer.Option("--distilled", help="For transfer: move distilled steerings over as well."),
    ] = False,
    published: Annotated[
        bool,
        typer.Option("--published", help="Show the figures of the authors' own outputs alone; run nothing."),
    ] = False,
    batch_size: BatchSizeOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Run an experiment of the paper on activation steering for instructions, with its settings.

    A. Stolfo and others: Improving Instruction-Following in Language Models through Activation Steering, ICLR 2025.
    """
    if distilled and experiment != "transfer":
        raise typer.BadParameter("--distilled is for the experiment transfer")

    from trimtab import reproduce
    from trimtab.reproduce import paper
    from trimtab.reproduce.published import alone

    settings = paper.settings_for(model, like)
    if published:
        if like is None and model not in (settings.name, settings.hub):
            raise TrimtabError(f"{model} is no model of the paper; there are {', '.join(reproduce.MODELS)}")
        _finish(output, alone(settings.name, experiment), out)
        return
    name = settings.hub if model == settings.name else model
    target, source = _names(experiment, name, settings, base)
    reproduce.check_data(target, data)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrimtabError(f"cannot write to {out}: {error.strerror or error}") from error
    output.note(f"loading {target}")
    engine = (dataclasses.replace(loading, revision=None) if source else loading).open(output, target)
    teacher = loading.open(output, source) if source else None
    setup = reproduce.prepare(
        settings,
        engine,
        data=data,
        source=teacher,
        limit=limit,
        perplexity_model=perplexity_model,
        device=loading.device,
        beside=like,
        pairs=pairs,
        validation=validation,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    if distilled and teacher:
        # Not `engine`: a base model without a chat template stands in the setup with one.
        setup = dataclasses.replace(setup, made=_distilling(teacher, setup.engine))
    with output.progress() as tell:
        result = reproduce.run(experiment, setup, progress=tell)
    _finish(output, result, out)
    output.print(f"{result.model}: {result.seconds:.0f} seconds")


def _finish(output: Output, result: results.Reproduction, out: Path | None) -> None:
    """Gives the result out: as JSON, as files, as tables."""
    from trimtab.reproduce.results import save

    output.result(result)
    written = [] if out is None else save(result, out)
    for table in result.tables:
        _show(output, table)
    if written:
        output.print(f"written: {', '.join(str(path) for path in written)}")


def _names(
    experiment: Experiment, name: str, settings: PaperModel, base: str | None
) -> tuple[str, str | None]:
    """The model to steer, and the one whose vectors are moved to it."""
    if experiment != "transfer":
        if base is not None:
            raise typer.BadParameter("--base is for the experiment transfer")
        return name, None
    if base is None and (settings.base is None or name != settings.hub):
        raise TrimtabError(f"the paper has no base model for {name}; name one with --base")
    return base or str(settings.base), name


def _distilling(source: Engine, target: Engine) -> Any:
    """Makes a distilled steering on the source and moves it to the target."""
    from trimtab.prompts.queries import default_queries
    from trimtab.transferring import move as transferring

    def made(instruction: Any) -> Any:
        from trimtab.learn.distillation.distill import distill

        queries = default_queries(source.identity, "learning", 64)
        steering = distill(source, queries, instruction).steering
        moved = transferring.transfer(steering, target, refit="edits", source=source, instruction=instruction)
        return moved.steering

    return made


def _show(output: Output, table: results.Table) -> None:
    from trimtab.reproduce.results import shown

    shape = Table(title=table.title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(table.columns):
        shape.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        shape.add_row(*(shown(cell) for cell in row))
    output.print(shape)
    if table.note:
        output.print(table.note)
    output.print()
