"""`python -m benchmarks.serving.load`: the load as one command and one table."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.serving.load.run import FLAT, faults, measure
from benchmarks.serving.table import MarkdownOption, show
from trimtab.cli.output import JsonOption, Output, QuietOption


def command(
    requests: Annotated[int, typer.Option(min=50, help="How many requests.")] = 2000,
    steerings: Annotated[int, typer.Option(min=10, help="How many steerings.")] = 100,
    clients: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the mix of requests.")] = 0,
    markdown: MarkdownOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Load a server of nano with everything at once, and compare all answers with those of a quiet one."""
    output = Output(json, quiet)
    with tempfile.TemporaryDirectory(prefix="trimtab-load-") as folder, output.progress() as tell:
        result = measure(Path(folder), requests, steerings, clients, seed, tell)
    show(output, rows_of(result), _caption(result), markdown)
    output.result(result)
    for fault in (found := faults(result)):
        output.note(f"problem: {fault}")
    if found:
        raise typer.Exit(1)


def rows_of(result: dict[str, Any]) -> list[list[str]]:
    """The table as text, its header first."""
    rows = [
        [kind, ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))]
        for kind, counts in result["statuses"].items()
    ]
    return [["requests", "answered with"], *rows]


def _caption(result: dict[str, Any]) -> str:
    memory = result["memory"]
    return (
        f"{result['requests']} requests under {result['steerings']} steerings by {result['clients']} clients in "
        f"{result['seconds']:.0f} s; {result['compared']} answers compared ({result['different answers']} different "
        f"ones), {len(result['wrong'])} wrong, {len(result['unexpected'])} unexpected.\n"
        f"Memory: {memory['start']:.0f} MiB at the start, {memory['third fifth']:.0f} in the third fifth of the time, "
        f"{memory['last fifth']:.0f} in the last ({memory['growth']:+.2%}; flat is at most {FLAT:+.0%}). "
        f"Steerings that the workers hold at the end: {result['held']:.0f}; loaded: {result['loaded']:.0f}."
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Those of the command line when None.

    Returns:
        The exit code: 0; 1 if something is not as it must be; 2 if a server does not start.
    """
    from benchmarks.running import run

    return run(command, "python -m benchmarks.serving.load", arguments)


if __name__ == "__main__":
    sys.exit(main())
