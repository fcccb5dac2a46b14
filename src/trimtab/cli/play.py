"""`trimtab play`: a page in the browser to ask, teach, look inside and combine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.cli.serving import Address, ServedModelArgument

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine


def command(
    model: ServedModelArgument = "nano",
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
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Whether to open the page in a browser.")
    ] = True,
    file: FileOption = None,
    *,
    address: Address,
    loading: Loading,
    output: Output,
) -> None:
    """Open a page on which to play with a model: ask, steer, teach, look inside, combine."""
    from trimtab.page.app import check_installed
    from trimtab.server import starting

    # Before Gradio is imported, which takes seconds.
    starting.check_exposure(address.host, address.api_key, without_key=address.no_api_key)

    from trimtab.engines.names import source_of

    source = source_of(model, loading.gguf_file)
    starting.check_installed()
    check_installed()

    from trimtab.page import opening
    from trimtab.serve.announcing import client_name
    from trimtab.serve.permission import may_change

    with starting.listening(address.host, address.port) as at:
        engine = cast("TransformersEngine", loading.open(output, model))
        app, workplace = opening.page_app(
            engine,
            name=client_name(model, source),
            folder=steerings,
            may_change=may_change(address.host, has_key=address.api_key is not None),
            key=address.api_key,
            origins=tuple(address.allowed_origins or ()),
        )
        server = starting.server_of(app, level="WARNING")
        url = opening.address(at)
        output.note(f"the page is at {url}, and the API at {url}v1; Ctrl+C ends it")
        if browser:
            opening.open_browser(server, url)
        try:
            server.run(sockets=[at])
        finally:
            workplace.close()
