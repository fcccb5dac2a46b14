"""`trimtab export`: a steering becomes a file that another library reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.foreign import FormatOption, OptionOption, options_of
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeringArgument, read_steering


def command(
    folder: SteeringArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The file to write, or for some formats the folder."
        ),
    ],
    format_name: FormatOption = None,
    strength: Annotated[float, typer.Option(help="Multiplies the steering.")] = 1.0,
    option: OptionOption = None,
    *,
    output: Output,
) -> None:
    """Write a saved steering as another library keeps its own.

    What the format cannot say is refused, with the nearest thing that it could say.
    """
    from trimtab import formats

    if format_name is None:
        names = ", ".join(one.name for one in formats.formats())
        raise typer.BadParameter(f"say for whom: --format with one of {names}")
    kind = formats.find(format_name)
    options = options_of(option, kind, "write")
    steering = read_steering(folder) * strength
    use = formats.write(steering, out, kind.name, options=options)
    output.print(f"written to {out}; use it there:")
    output.print(f"  {use}")
    output.result({"path": str(out), "format": kind.name, "use": use, "digest": steering.digest()})
