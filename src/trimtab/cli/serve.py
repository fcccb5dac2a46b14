"""`trimtab serve`: a model over HTTP, with a steering for each request, in this process or on vLLM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from trimtab.cli.models import Loading, template_options_of
from trimtab.cli.output import Output, QuietOption
from trimtab.cli.steerings import served_folder

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.server.limits import Limits

TableDtype = Literal["auto", "float32", "bfloat16", "float16"]
EngineName = Literal["transformers", "vllm"]

_PANEL = "How much is taken on"
_OF_VLLM = {
    "revision": "-- --revision REVISION",
    "device": "CUDA_VISIBLE_DEVICES",
    "dtype": "-- --dtype DTYPE",
    "device_map": "-- --tensor-parallel-size N",
    "quantization": "-- --quantization METHOD",
    "trust_remote_code": "-- --trust-remote-code",
    "max_rows": "-- --max-num-seqs N",
    "max_waiting": "a proxy in front of it",
    "max_tokens": "-- --max-model-len N",
    "max_body_mib": "a proxy in front of it",
    "timeout": "a proxy in front of it",
    "allowed_origins": "-- --allowed-origins JSON",
}
"""What vLLM has in place of options that are not for it."""


@dataclass(frozen=True)
class LimitOptions:
    """How much the embedded server takes on."""

    max_rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="Answers that are written at once.", show_default="32", rich_help_panel=_PANEL
        ),
    ] = None
    max_waiting: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Answers that may wait for a place; more are refused (429).",
            show_default="256",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Tokens of a prompt and its answer together.",
            show_default="the model's context",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_body_mib: Annotated[
        int | None,
        typer.Option(min=1, help="The largest request, in MiB.", show_default="64", rich_help_panel=_PANEL),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seconds that a request may take.", show_default="600", rich_help_panel=_PANEL
        ),
    ] = None

    def limits(self) -> Limits:
        """What they come to."""
        from trimtab.server.limits import MIB, Limits

        given = {
            "rows": self.max_rows,
            "waiting": self.max_waiting,
            "tokens": self.max_tokens,
            "body_bytes": None if self.max_body_mib is None else self.max_body_mib * MIB,
            "seconds": self.timeout,
        }
        return Limits(**{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Address:
    """Where a server listens, and for whom."""

    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of the machine's.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="TRIMTAB_API_KEY",
            metavar="KEY",
            help="What clients must send as their key; in the environment, nobody sees it in the list of processes.",
        ),
    ] = None
    no_api_key: Annotated[
        bool, typer.Option("--no-api-key", help="Let other machines ask without a key.")
    ] = False
    allowed_origins: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Another site whose pages may use the server. May be repeated."),
    ] = None


@dataclass(frozen=True)
class Steerings:
    """Which steerings a server has, and who may change that."""

    steerings: Annotated[
        str | None,
        typer.Option(
            "--steerings",
            "-s",
            metavar="FOLDER[,DIR]",
            help="Its subfolders are the steerings, under their names; or several folders, steerings and owner/name of "
            "the Hub.",
        ),
    ] = None
    gates: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Gated edits that one request may have in one block; 0 for additions only.",
        ),
    ] = 4
    limit: Annotated[int, typer.Option(min=1, help="The most steerings at once.")] = 1000
    limit_mib: Annotated[int, typer.Option(min=1, help="The largest steering, in MiB.")] = 64
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Whether clients may load and unload steerings.",
            show_default="if only this machine reaches the server, or it has an API key",
        ),
    ] = None

    @property
    def folder(self) -> Path | None:
        """The one folder that they are served from."""
        from trimtab.engines import published

        return (
            None if self.steerings is None else served_folder(self.steerings, published.folder() / "served")
        )


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder with one, or a GGUF file.",
        ),
    ],
    loading: Loading,
    address: Address,
    steerings: Steerings,
    limits: LimitOptions,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="vLLM's own options, after two dashes; they win."),
    ] = None,
    engine: Annotated[
        EngineName | None,
        typer.Option(
            help="What runs the model: transformers, in this process; vllm, for scale.",
            show_default="transformers, or vllm where its options are given",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What clients call the model; its own name when left out."),
    ] = None,
    table_dtype: Annotated[
        TableDtype, typer.Option(help="Of vLLM's tables of steerings; auto is the model's.")
    ] = "auto",
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page",
            help="Whether the page to play with is at / (not on vLLM).",
            show_default="if Gradio is installed",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the command that starts vLLM, and leave.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Serve a model over HTTP, by OpenAI's API; every request chooses its steering."""
    own = [
        option
        for option, given in (
            ("-- OPTIONS", options),
            ("--table-dtype", table_dtype != "auto"),
            ("--show", show),
        )
        if given
    ]
    if engine == "transformers" and own:
        raise typer.BadParameter(f"{own[0]} is for vLLM; leave it out, or say --engine vllm")
    output = Output(quiet=quiet)
    if engine != "vllm" and not own:
        _serve(output, model, name, loading, address, steerings, limits, page=page)
        return
    if page:
        raise typer.BadParameter("--page is not for vLLM; leave it out, or serve by --engine transformers")
    _refuse_for_vllm(loading, address, limits)
    _launch(output, model, name, loading, address, steerings, table_dtype, options or [], show=show)


def _serve(
    output: Output,
    model: str,
    name: str | None,
    loading: Loading,
    address: Address,
    steerings: Steerings,
    limits: LimitOptions,
    *,
    page: bool | None,
) -> None:
    """Serves by the transformers engine, until a signal ends it."""
    from trimtab.server import starting

    starting.check_installed()
    starting.check_exposure(address.host, address.api_key, without_key=address.no_api_key)

    from trimtab import nano
    from trimtab.engines.names import source_of
    from trimtab.page.opening import add_page, is_installed
    from trimtab.page.opening import address as page_address
    from trimtab.serve.announcing import announced, client_name
    from trimtab.serve.permission import may_change
    from trimtab.server.app import build_app
    from trimtab.steering.collection import SteeringFolder

    source = source_of(model, loading.gguf_file)
    folder = steerings.folder
    folders = [] if folder is None else SteeringFolder(folder).subfolders()
    upload = steerings.upload
    if upload is None:
        upload = may_change(address.host, has_key=address.api_key is not None)
    with starting.listening(address.host, address.port) as at:
        engine = cast("TransformersEngine", loading.open(output, model))
        app = build_app(
            engine,
            name=name or client_name(model, source),
            steerings=folder,
            gates=steerings.gates,
            limit=steerings.limit,
            limit_mib=steerings.limit_mib,
            limits=limits.limits(),
            may_change=upload,
            key=address.api_key,
            origins=address.allowed_origins or (),
        )
        if folder is None and nano.is_built_in(engine.identity.id):
            for own, place in nano.steerings().items():
                app.state.embedded.serving.library.load(own, place)
                folders.append(place)
        with ExitStack() as stack:
            if page or (page is None and is_installed()):
                stack.enter_context(closing(add_page(app, key=address.api_key is not None)))
                output.note(f"page: {page_address(at)}")
            for note in announced(folder, folders, address.host, address.port, upload):
                output.note(note)
            starting.run(app, at, quiet=output.quiet)


def _launch(
    output: Output,
    model: str,
    name: str | None,
    loading: Loading,
    address: Address,
    steerings: Steerings,
    table_dtype: str,
    options: Sequence[str],
    *,
    show: bool,
) -> None:
    """Becomes vLLM's server."""
    from trimtab.thoughts import find
    from trimtab.vllm.server.launch import plan

    environment = dict(os.environ)
    if address.api_key is not None:
        environment["VLLM_API_KEY"] = address.api_key
    launch = plan(
        model,
        steerings=steerings.folder,
        name=name,
        host=address.host,
        port=address.port,
        gates=steerings.gates,
        limit=steerings.limit,
        limit_mib=steerings.limit_mib,
        table_dtype=table_dtype,
        template_options=template_options_of(loading.template_options),
        thoughts=None if loading.thoughts is None else find(loading.thoughts).to_dict(),
        upload=steerings.upload,
        gguf_file=loading.gguf_file,
        options=options,
        environment=environment,
    )
    if address.api_key is not None:
        launch = replace(launch, environment={**launch.environment, "VLLM_API_KEY": address.api_key})
    if show:
        output.text(str(launch))
        return
    for note in launch.notes:
        output.note(note)
    launch.start()


def _refuse_for_vllm(*groups: Any) -> None:
    for group in groups:
        for field in fields(group):
            if field.name in _OF_VLLM and getattr(group, field.name) not in (None, False):
                raise typer.BadParameter(
                    f"--{field.name.replace('_', '-')} is not for vLLM, which has {_OF_VLLM[field.name]}"
                )
