"""`trimtab serve`: a model over HTTP, with a steering for each request, in this process or on vLLM."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from trimtab.cli.models import Loading, template_options_of
from trimtab.cli.output import Output, QuietOption
from trimtab.cli.serving import Address, LimitOptions, ServedModelArgument, Steerings

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

TableDtype = Literal["auto", "float32", "bfloat16", "float16"]
EngineName = Literal["transformers", "vllm"]

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


def command(
    model: ServedModelArgument,
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
    from trimtab.server.embedded import Embedded
    from trimtab.steering.collection import SteeringFolder

    source = source_of(model, loading.gguf_file)
    folder = steerings.folder
    folders = [] if folder is None else SteeringFolder(folder).subfolders()
    upload = steerings.upload
    if upload is None:
        upload = may_change(address.host, has_key=address.api_key is not None)
    with starting.listening(address.host, address.port) as at:
        engine = cast("TransformersEngine", loading.open(output, model))
        embedded = Embedded(
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
        app = build_app(embedded)
        if folder is None and nano.is_built_in(engine.identity.id):
            for own, place in nano.steerings().items():
                embedded.serving.library.load(own, place)
                folders.append(place)
        with ExitStack() as stack:
            if page or (page is None and is_installed()):
                stack.enter_context(closing(add_page(app)))
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
