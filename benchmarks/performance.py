"""`python -m benchmarks.performance`: what steering costs at the shapes of real models, with random weights.

For each shape: seconds and memory of learning mean differences and of distilling edits, and the speed of steered
decoding against unsteered decoding, as a ratio at several batch sizes, with one edit in every block. Repeats are
interleaved (unsteered, then each kind of steering, then again), and what is shown is the median, so that a machine that
slows down slows all down alike. Beside it, what can be counted on any machine: how many operations a block has more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from benchmarks.measuring import KINDS, Plan, measure
from benchmarks.shapes import random_engine, shape_names
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError
from trimtab.files import write_text

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def rows_of(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table as text, its header first."""
    header = ["shape", "batch", "unsteered tok/s", *(f"{kind}, ratio" for kind in KINDS), "GB"]
    rows = [header]
    for name, result in results.items():
        for batch, found in result["decode"].items():
            if found is None:
                rows.append([name, batch, "out of memory", "-", "-", "-", "-"])
                continue
            ratios = [found["ratio"].get(kind) for kind in KINDS]
            texts = ["-" if ratio is None else f"{ratio:.3f}" for ratio in ratios]
            rows.append([name, batch, f"{found['unsteered']:.0f}", *texts, _gigabytes(found["bytes"])])
    return rows


def lines_of(results: dict[str, dict[str, Any]]) -> list[str]:
    """What the table doesn't hold, a sentence for each shape."""
    lines = []
    for name, result in results.items():
        texts = []
        for key, what in (("learn", "pairs learned"), ("distill", "steps distilled")):
            found = result[key]
            if found is None:
                texts.append(f"{what}: out of memory")
            else:
                took = f"{found['seconds']:.1f} s, {_gigabytes(found['bytes'])} GB"
                texts.append(f"{found['done']} {what}: {took}")
        counted = ", ".join(f"{kind} {count:g}" for kind, count in result["operations"].items())
        size = result["parameters"] / 1e9
        lines.append(
            f"{name} ({size:.2f} G parameters): {'; '.join(texts)}; operations per block: {counted}."
        )
    return lines


def _gigabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:.1f}"


@contextmanager
def _one_model(name: str, device: torch.device, dtype: torch.dtype) -> Iterator[TransformersEngine]:
    """A model that is gone from memory afterwards, so that the next has room."""
    engine = random_engine(name, device=device, dtype=dtype)
    try:
        yield engine
    finally:
        del engine.model, engine.decoder_blocks
        torch.cuda.empty_cache()  # does nothing without a GPU


def command(
    shapes: Annotated[
        str, typer.Option(metavar="LIST", help="Shapes to measure: phi-3-mini, gemma-2-9b, mistral-7b, tiny.")
    ] = "phi-3-mini,gemma-2-9b,mistral-7b",
    batch_sizes: Annotated[str, typer.Option(metavar="LIST", help="Rows decoded at once.")] = "1,32,256",
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer.")] = 128,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    pairs: Annotated[int, typer.Option(min=2, help="Prompt pairs, and lessons, to learn from.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Most steps of the distillation.")] = 150,
    device: Annotated[
        str | None, typer.Option(help="cuda, cuda:1, cpu; a GPU when left out.", show_default=False)
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights: bfloat16, float16, float32.")] = "bfloat16",
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table as Markdown to this file too.", show_default=False)
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure what steering costs at the shapes of real models, with random weights: nothing is downloaded."""
    output = Output(json, quiet)
    names = shape_names(shapes)
    try:
        sizes = tuple(int(size) for size in batch_sizes.split(","))
    except ValueError as error:
        raise TrimtabError(f"batch sizes are numbers separated by commas, not {batch_sizes!r}") from error
    if min(sizes) < 1:
        raise TrimtabError(f"a batch has at least one row, not {min(sizes)}")
    if dtype not in _DTYPES:
        raise TrimtabError(f"there is no dtype {dtype!r} here; choose {', '.join(_DTYPES)}")
    if device is None and not torch.cuda.is_available():
        if names != ["tiny"]:
            raise TrimtabError(
                "there is no GPU here; --shapes tiny runs on a CPU, or insist with --device cpu"
            )
        device = "cpu"
    target = torch.device(device or "cuda")
    plan = Plan(sizes, new_tokens, repeats, pairs, steps)
    results: dict[str, dict[str, Any]] = {}
    with output.progress() as tell:
        for name in names:

            def on_step(what: str, name: str = name) -> None:
                tell(f"{name}: {what}", 0)

            with _one_model(name, target, _DTYPES[dtype]) as engine:
                results[name] = measure(engine, plan, on_step)
    where = (
        torch.cuda.get_device_name(target)
        if target.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    caption = f"{where}, {dtype}, {new_tokens} new tokens, one edit in every block; medians of {repeats}."
    table, texts = Table(box=None, pad_edge=False), rows_of(results)
    for number, title in enumerate(texts[0]):
        table.add_column(title, justify="left" if number == 0 else "right")
    for row in texts[1:]:
        table.add_row(*row)
    output.print(table)
    for line in [*lines_of(results), caption]:
        output.print(line)
    if markdown is not None:
        rule = ["---", *["---:"] * (len(texts[0]) - 1)]
        body = "\n".join("| " + " | ".join(row) + " |" for row in [texts[0], rule, *texts[1:]])
        write_text(markdown, "\n\n".join([body, *lines_of(results), caption]) + "\n")
    result = {"device": where, "dtype": dtype, "torch": torch.__version__, "plan": asdict(plan)}
    output.result({**result, "shapes": results})


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Those of the command line when None.

    Returns:
        The exit code: 0, or 2 for a mistake of the user.
    """
    from benchmarks.running import run

    return run(command, "python -m benchmarks.performance", arguments)


if __name__ == "__main__":
    sys.exit(main())
