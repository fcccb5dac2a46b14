"""`trimtab export`: a steering becomes a file that another library reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.foreign import FormatOption, OptionOption, options_of
from trimtab.cli.models import Loading
from trimtab.cli.nearest import Fitting, Written
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, SteeringArgument, read_steering

if TYPE_CHECKING:
    from trimtab.steering.steering import Steering


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
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Write the nearest that the format can say, and measure what is lost. The options below are for this.",
        ),
    ] = False,
    model: SteeredModelOption = None,
    file: FileOption = None,
    *,
    fitting: Fitting,
    loading: Loading,
    output: Output,
) -> None:
    """Write a saved steering as another library keeps its own.

    What the format cannot say is refused, with the nearest thing that it could say, and nothing is written.
    """
    from trimtab import formats

    if format_name is None:
        names = ", ".join(one.name for one in formats.formats())
        raise typer.BadParameter(f"say for whom: --format with one of {names}")
    kind = formats.find(format_name)
    options = options_of(option, kind, "write")
    steering = read_steering(folder) * strength

    def write(one: Steering) -> str:
        return formats.write(one, out, kind.name, options=options)

    try:
        written = Written(write(steering))
    except formats.InexpressibleError as refusal:
        if not approximate:
            raise
        output.note(f"note: {refusal}")
        written = fitting.write(steering, write, output, model, loading, says_when=kind.says_when)
    for line in written.shown:
        output.print(line)
    output.print(f"written to {out}; use it there:")
    output.print(f"  {written.use}")
    output.result(
        {
            "path": str(out),
            "format": kind.name,
            "use": written.use,
            "digest": steering.digest(),
            "approximated": written.approximated,
        }
    )
