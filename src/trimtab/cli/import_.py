"""`trimtab import`: what another library wrote becomes a steering."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab import instructions
from trimtab.cli.foreign import FormatOption, OptionOption, options_of
from trimtab.cli.learning import OutOption
from trimtab.cli.models import Loading, ModelOption
from trimtab.cli.options import FileOption, numbers
from trimtab.cli.output import Output


def command(
    place: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file that another library wrote, or the folder.")
    ],
    out: OutOption,
    format_name: FormatOption = None,
    model: ModelOption = "nano",
    blocks: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Take the edits of these blocks only, from 0; left out: all."),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Multiplies the edits; files of unit vectors leave that to their user.")
    ] = 1.0,
    name: Annotated[
        str | None, typer.Option(help="What to call the steering.", show_default="the file's name")
    ] = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="An instruction that it makes the model follow, for the record. Repeatable."
        ),
    ] = None,
    option: OptionOption = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Read a file whose tables are pickled (llm-steer-instruct): you know who made it.",
        ),
    ] = False,
    file: FileOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Read a steering that another library wrote, and save it as one of ours.

    The format is told from the content. Nothing in a file is run. The model is loaded to know its identity.
    """
    from trimtab import formats

    wanted = [instructions.resolve(one) for one in instruction or ()]
    chosen = None if blocks is None else numbers(blocks, "--blocks", int)
    kind = formats.find(format_name) if format_name else formats.recognised(place)
    kind.check_trusted(place, allow_pickle)
    options = options_of(option, kind, "read")
    engine = loading.open(output, model)
    steering = formats.read(
        place,
        engine.identity,
        kind.name,
        name=name,
        blocks=chosen,
        strength=strength,
        instructions=[one.to_dict() for one in wanted],
        options=options,
        allow_pickle=allow_pickle,
    )
    steering.save_pretrained(out)
    notes = steering.record.settings.get("notes", [])
    output.print(steering.describe())
    for note in notes:
        output.note(f"note: {note}")
    output.print(f"imported from {kind.name}, saved in {out}; try it:")
    output.print(f'  trimtab generate --model {model} --steering {out} --compare "..."')
    output.result(
        {
            "steering": str(out),
            "format": kind.name,
            "notes": notes,
            "digest": steering.digest(),
            "name": steering.name,
            **steering.record.to_dict(),
        }
    )
