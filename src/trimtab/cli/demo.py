"""`trimtab demo`: learn, tune and measure some instructions, show the table, write the report."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice, ModelOption, ScorerOption, facts_of, scorer_of
from trimtab.cli.options import BatchSizeOption, ConstrainedOption, FileOption
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.demo import Demonstration

_SAMPLES = 3
_SAMPLE_LENGTH = 220


def command(
    model: ModelOption = "nano",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report and the steerings.")] = Path(
        "trimtab-demo"
    ),
    instructions: Annotated[
        str | None,
        typer.Option(
            "--instructions",
            "-i",
            metavar="LIST",
            help="What to show, such as json,sentences(at_most=2),include(lantern); a mixed list when left out.",
        ),
    ] = None,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    pairs: Annotated[
        int | None, typer.Option(min=2, help="Questions to learn on.", show_default="by model")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each distillation.", show_default="by model")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            min=1, help="Edits in each block, all in one course of learning.", show_default="by model"
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(min=1, help="Questions to choose on, never learned on.", show_default="by model"),
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=1, help="Questions to measure on.", show_default="by model")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="by model")
    ] = None,
    mean_difference: Annotated[
        bool | None,
        typer.Option(
            "--mean-difference/--no-mean-difference",
            help="Also learn and search the mean difference, for comparison.",
            show_default="by model",
        ),
    ] = None,
    scorer: ScorerOption = None,
    facts: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Closed-book questions to ask plain and under each steering; nano is asked none.",
            show_default="by model",
        ),
    ] = None,
    constrained: ConstrainedOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses questions and phrasings.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Learn some instructions on a model, steer it by them, and measure how well that went.

    Every instruction is distilled into edits and, on nano, for comparison learned as a mean difference whose block and
    strength are chosen on validation questions. What is shown was measured on test questions: baseline (no instruction,
    no steering), instructed, steered, both.
    """
    start = time.perf_counter()
    from trimtab import demo
    from trimtab.instructions.spelling import resolve_all
    from trimtab.report import pages

    chosen = None if instructions is None else resolve_all(instructions)
    pages.check_installed()
    demo.prepare_folder(out)
    scoring = scorer_of(output, loading, scorer)
    output.note(f"loading {model}")
    engine = loading.open(output, model)
    if judged_by is not None and chosen is not None:
        chosen = judged(output, chosen, lambda: judge_of(output, loading, judged_by, lambda: engine))
    if loading.engine == "vllm":
        output.note(
            "vllm gives no gradients to distill with, so only the mean difference is shown; "
            "leave out --engine vllm to see both"
        )
    plan = demo.plan_for(
        engine.identity,
        chosen,
        pairs=pairs,
        training_steps=steps,
        rank=rank,
        validation=validation,
        test=test,
        max_new_tokens=max_new_tokens,
        vector=mean_difference,
        facts=facts,
        constrained=constrained,
        batch_size=batch_size,
        seed=seed,
    )
    loaded = time.perf_counter() - start
    with output.progress() as tell:
        demonstration = demo.run(engine, plan, facts=facts_of(engine), scorer=scoring, progress=tell)
    demonstration.seconds = {"load": loaded, **demonstration.seconds}
    try:
        with demonstration.timed("report"):
            path = demo.save(demonstration, out)
    finally:  # what was measured is not lost where the folder cannot be written after all
        demonstration.seconds["total"] = time.perf_counter() - start
        output.result(demonstration.to_dict())
    show(demonstration, path, output)


def show(demonstration: Demonstration, path: Path, output: Output) -> None:
    """Print what a demonstration measured, and where its report was written."""
    from trimtab.demo import summary
    from trimtab.report.page import sample_of
    from trimtab.report.plots import by_instruction
    from trimtab.report.tables import (
        caption_of,
        constrained_table,
        facts_table,
        quality_caption,
        quality_table,
        table_of,
    )

    width = min(output.console.width, 100)
    output.print()
    output.print(table_of(demonstration.rows, demonstration.vector_rows))
    output.print()
    output.print(caption_of(demonstration.rows))
    output.print()
    if (cost := quality_table(demonstration.rows)) is not None:
        output.print(cost)
        output.print(quality_caption(demonstration.rows))
        output.print()
    for table in (constrained_table(demonstration.rows), facts_table(demonstration.closed_book)):
        if table is not None:
            output.print(table)
            output.print()
    output.print(textwrap.fill(summary(demonstration), width))
    for label, rows in by_instruction(demonstration.rows)[:_SAMPLES]:
        sample = sample_of(label, rows)
        output.print()
        output.print(Text.assemble((label, "bold"), "  ", sample["query"]), soft_wrap=True)
        for answer in sample["answers"]:
            if answer["condition"] in ("baseline", "steered"):
                verdict = ("follows", "green") if answer["passed"] else ("does not follow", "red")
                output.print(Text.assemble("  ", (answer["condition"], "dim"), ": ", verdict))
                output.print(_quoted(answer["text"], width))
    output.print()
    seconds = demonstration.seconds["total"]
    output.print(f"{seconds:.0f} seconds. Plots, samples and every number: {path}")
    output.print(f"The steerings: {path.parent / 'steerings'}")


def _quoted(text: str, width: int) -> str:
    """An answer, shortened and indented; its own line breaks stay."""
    text = text.strip() or "(empty)"
    if len(text) > _SAMPLE_LENGTH:
        text = text[:_SAMPLE_LENGTH].rstrip() + " …"
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width - 4) or [""]]
    return textwrap.indent("\n".join(lines), "    ")
