"""`trimtab demo`: learn, tune and measure some instructions, show the table, write the report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trimtab.cli.models import (
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    RevisionOption,
    TrustOption,
    open_engine,
)
from trimtab.cli.output import JsonOption, Output, QuietOption

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.conditions import Condition, Row
    from trimtab.evaluate.demo import Demonstration
    from trimtab.evaluate.quality import FactCheck

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
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=2, help="Prompt pairs to learn from.", show_default="by model")
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(min=1, help="Questions to choose block and strength on.", show_default="by model"),
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=1, help="Questions to measure on.", show_default="by model")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="by model")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses questions and phrasings.")] = 0,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    revision: RevisionOption = None,
    trust_remote_code: TrustOption = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Learn some instructions on a model, steer it by them, and measure how well that went.

    Every instruction is learned from prompt pairs, its block and strength are chosen on validation questions, and
    what is shown was measured on test questions: baseline (no instruction, no steering), instructed, steered, both.
    """
    start = time.perf_counter()
    output = Output(json, quiet)

    from trimtab.evaluate import demo, report, specs

    chosen = None if instructions is None else specs.parse_instructions(instructions)
    report.check_installed()
    demo.prepare_folder(out)
    output.note(f"loading {model}")
    engine = open_engine(
        output, model, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    plan = demo.plan_for(
        engine.identity,
        chosen,
        pairs=pairs,
        validation=validation,
        test=test,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
    )
    loaded = time.perf_counter() - start
    with output.progress("starting", total=plan.steps) as advance:

        def on_step(finished: int, what: str) -> None:
            advance(finished, description=what)
            if not output.shows_progress:
                output.note(f"[{time.perf_counter() - start:4.0f} s] {what}")

        demonstration = demo.run(engine, plan, facts=_facts(engine), on_step=on_step)
    demonstration.seconds = {"load": loaded, **demonstration.seconds}
    with demonstration.timed("report"):
        path = demo.save(demonstration, out)
    demonstration.seconds["total"] = time.perf_counter() - start
    output.result(demonstration.to_dict())
    show(demonstration, path, output)


def show(demonstration: Demonstration, path: Path, output: Output) -> None:
    """Print what a demonstration measured.

    Args:
        demonstration: The measurements.
        path: Where the report was written.
        output: Where to print.
    """
    from trimtab.evaluate.demo import summary
    from trimtab.evaluate.plots import by_instruction
    from trimtab.evaluate.report import sample_of

    output.print()
    output.print(table_of(demonstration.rows))
    output.print(caption_of(demonstration.rows))
    output.print()
    output.print(summary(demonstration))
    for label, rows in by_instruction(demonstration.rows)[:_SAMPLES]:
        sample = sample_of(label, rows)
        output.print()
        output.print(Text.assemble((label, "bold"), "  ", sample["query"]))
        for answer in sample["answers"]:
            if answer["condition"] in ("baseline", "steered"):
                verdict = Text("follows", "green") if answer["passed"] else Text("does not follow", "red")
                output.print(Text.assemble("  ", (answer["condition"], "dim"), ": ", verdict))
                output.print(Padding(Text(_shortened(answer["text"])), (0, 0, 0, 4)))
    output.print()
    seconds = demonstration.seconds["total"]
    output.print(f"{seconds:.0f} seconds. Report, plots and every number: {path}")
    output.print(f"Steerings: {path.parent / 'steerings'}")


def table_of(rows: list[Row]) -> Table:
    """The table of the demonstration: shares followed by instruction and condition, and the quality of steered answers.

    Args:
        rows: The rows of all instructions.

    Returns:
        A table that fits 80 columns.
    """
    from trimtab.evaluate.conditions import CONDITIONS
    from trimtab.evaluate.plots import by_instruction
    from trimtab.evaluate.report import format_perplexity, mean_followed, worse_than_baseline

    worse = worse_than_baseline(rows)
    judged = any(row.quality.facts is not None for row in rows)
    table = Table(
        title="share of answers that follow the instruction", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("instruction", overflow="fold")
    for condition in CONDITIONS:
        table.add_column(condition.replace("+", "\n+"), justify="right", style=_STYLES[condition])
    table.add_column("perplexity\nsteered", justify="right", style="dim")
    table.add_column("repetition\nsteered", justify="right", style="dim")
    if judged:
        table.add_column("facts\nsteered", justify="right", style="dim")
    for label, found in by_instruction(rows):
        shares = [
            Text(
                f"{'▼' if (label, c) in worse else ''}{found[c].followed:.2f}",
                "red" if (label, c) in worse else "",
            )
            for c in CONDITIONS
        ]
        quality = found["steered"].quality
        cells = [
            "-" if quality.perplexity is None else format_perplexity(quality.perplexity),
            f"{quality.repetition:.2f}",
        ]
        if judged:
            cells.append("-" if quality.facts is None else f"{quality.facts:.2f}")
        table.add_row(Text(label), *shares, *cells)
    means = mean_followed(rows)
    table.add_section()
    table.add_row("mean", *(f"{means[condition]:.2f}" for condition in CONDITIONS), style="bold")
    return table


def caption_of(rows: list[Row]) -> Text:
    """What to compare the quality columns with, and what the mark means.

    Args:
        rows: The rows of all instructions.

    Returns:
        A dim line or two.
    """
    from trimtab.evaluate.report import format_perplexity, worse_than_baseline

    baseline = next(row for row in rows if row.condition == "baseline")
    quality = baseline.quality
    parts = [f"n = {baseline.n}; baseline answers: "]
    if quality.perplexity is not None:
        parts.append(f"perplexity {format_perplexity(quality.perplexity)}, ")
    parts.append(f"repetition {quality.repetition:.2f}")
    if quality.facts is not None:
        parts.append(f", facts {quality.facts:.2f}")
    if worse_than_baseline(rows):
        parts.append("\n▼ worse than the same without steering")
    return Text("".join(parts), "dim")


_STYLES: dict[Condition, str] = {
    "baseline": "dim",
    "instructed": "blue",
    "steered": "bold dark_orange",
    "instructed+steered": "magenta",
}


def _facts(engine: Engine) -> FactCheck | None:
    """The exact truth measure of the built-in model; other models have none."""
    from trimtab.evaluate.demo import is_nano

    if not is_nano(engine.identity):
        return None
    from trimtab import nano

    return nano.facts


def _shortened(text: str) -> str:
    text = text.strip() or "(empty)"
    return text if len(text) <= _SAMPLE_LENGTH else text[:_SAMPLE_LENGTH].rstrip() + " …"
