"""How a benchmark is run from the command line: as a command of trimtab, with the same exit codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from trimtab.errors import TrimtabError

ModelOption = Annotated[str, typer.Option("--model", "-m", help="As trimtab takes it.")]
QueriesOption = Annotated[int, typer.Option(min=1, help="Test queries.")]
TokensOption = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
ShareOption = Annotated[
    float, typer.Option(min=0.01, max=1, help="Do so much of everything: 0.1 for a trial.")
]


def precision(dtype: str | None) -> tuple[str, ...]:
    """The options of `trimtab learn` for the dtype that a benchmark was given."""
    return () if dtype is None else ("--dtype", dtype)


def run(command: Callable[..., Any], name: str, arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        command: A function whose parameters are options of typer.
        name: What the help calls it.
        arguments: Those of the command line when None.

    Returns:
        0: done. 2: a mistake of the user. 130: interrupted.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app(arguments, prog_name=name)
    except TrimtabError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
