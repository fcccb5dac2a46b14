"""`trimtab serve`: a model on vLLM, over HTTP, with a steering for each request."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from trimtab.cli.models import template_options_of
from trimtab.cli.output import Output, QuietOption
from trimtab.cli.steerings import served_folder

TableDtype = Literal["auto", "float32", "bfloat16", "float16"]


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder with one, or a GGUF file.",
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="vLLM's own options, after two dashes; they win."),
    ] = None,
    steerings: Annotated[
        str | None,
        typer.Option(
            "--steerings",
            "-s",
            metavar="FOLDER[,DIR]",
            help="Its subfolders are the steerings, under their names; or several folders, steerings and owner/name of "
            "the Hub.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What clients call the model; its own name when left out."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is all of the machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    gates: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Gated edits that one request may have in one block; 0 for additions only.",
        ),
    ] = 4,
    limit: Annotated[int, typer.Option(min=1, help="The most steerings at once.")] = 1000,
    limit_mib: Annotated[int, typer.Option(min=1, help="The largest steering, in MiB.")] = 64,
    table_dtype: Annotated[
        TableDtype, typer.Option(help="Of the tables of steerings; auto is the model's.")
    ] = "auto",
    gguf_file: Annotated[
        str | None,
        typer.Option(
            "--gguf-file", metavar="FILE", help="The GGUF file in the model's folder, or on the Hub."
        ),
    ] = None,
    template_options: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="Variables of the model's chat template: '{\"enable_thinking\": false}'."
        ),
    ] = None,
    thoughts: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="How the model marks its thoughts, for steerings of the answer alone: think, harmony, ...",
            show_default="the format that it is known by",
        ),
    ] = None,
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Whether clients may load and unload steerings.",
            show_default="if only this machine reaches the server, or it has an API key",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the command that starts vLLM, and leave.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Serve a model over HTTP on vLLM; every request chooses its steering."""
    from trimtab.engines import published
    from trimtab.thoughts import find
    from trimtab.vllm.server.launch import plan

    launch = plan(
        model,
        steerings=None if steerings is None else served_folder(steerings, published.folder() / "served"),
        name=name,
        host=host,
        port=port,
        gates=gates,
        limit=limit,
        limit_mib=limit_mib,
        table_dtype=table_dtype,
        template_options=template_options_of(template_options),
        thoughts=None if thoughts is None else find(thoughts).to_dict(),
        upload=upload,
        gguf_file=gguf_file,
        options=options or [],
    )
    output = Output(quiet=quiet)
    if show:
        output.text(str(launch))
        return
    for note in launch.notes:
        output.note(note)
    launch.start()
