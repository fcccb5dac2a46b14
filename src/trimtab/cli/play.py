"""`trimtab play`: a page in the browser to ask, teach, look inside and combine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder with one, or a GGUF file.",
        ),
    ] = "nano",
    steerings: Annotated[
        Path | None,
        typer.Option(
            "--steerings",
            "-s",
            metavar="FOLDER",
            help="Its subfolders are the steerings to begin with, and what is taught is kept there.",
            show_default="what is taught goes with the server",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is all of the machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", envvar="TRIMTAB_API_KEY", help="Who opens the page has to give this."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Whether to open the page in a browser.")
    ] = True,
    file: FileOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Open a page on which to play with a model: ask, steer, teach, look inside, combine."""
    from trimtab.page.opening import play

    play(
        lambda: loading.open(output, model),
        steerings=steerings,
        host=host,
        port=port,
        key=api_key,
        browser=browser,
        note=output.note,
    )
