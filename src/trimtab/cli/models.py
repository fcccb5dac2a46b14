"""The options by which a command is told its model, and the one place where they become an engine."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.measure.quality import FactCheck
    from trimtab.vllm.engine import VllmEngine


class EngineName(StrEnum):
    """What runs the model."""

    transformers = "transformers"
    vllm = "vllm"


EngineOption = Annotated[
    EngineName,
    typer.Option("--engine", help="What runs the model; vllm for many rows at once, or many GPUs."),
]
EngineOptionsOption = Annotated[
    str | None,
    typer.Option(
        "--engine-options",
        metavar="JSON",
        help="Options of vLLM: '{\"tensor_parallel_size\": 2}'.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="nano, nano-base, a model of the Hub, or a folder with one."
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit of a model of the Hub.", show_default=False),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", help="cpu, cuda, cuda:1, mps; the best one there when left out.", show_default=False
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16, float16; what suits model and device when left out.",
        show_default=False,
    ),
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python code that comes with a model of the Hub.")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size", min=1, help="Rows per forward pass; chosen when left out.", show_default=False
    ),
]


_running: list[VllmEngine] = []


def open_engine(
    output: Output,
    model: str,
    *,
    engine: EngineName = EngineName.transformers,
    engine_options: str | None = None,
    reads: bool = True,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
) -> Engine:
    """Load a model as the shared options say.

    Args:
        output: Decides whether the libraries below may show their own progress bars.
        model: A name or folder, as `trimtab.load` takes it.
        engine: What runs it. vLLM is ended with the command.
        engine_options: Options of vLLM, as JSON.
        reads: Whether activations will be read, for which vLLM keeps buffers.
        revision: Of a model of the Hub.
        device: Where to put it.
        dtype: The type of its weights.
        trust_remote_code: Whether code of the repository may run.

    Returns:
        The engine.

    Raises:
        ModelError: It cannot be loaded.
    """
    if engine is EngineName.vllm:
        if device is not None:
            raise typer.BadParameter(
                "--device is not for --engine vllm, which takes the devices that it finds; CUDA_VISIBLE_DEVICES says "
                "which those are"
            )
        options = {"record": reads, "use_tqdm_on_load": output.shows_progress, **_options(engine_options)}
        return _vllm(output, model, options, revision, dtype, trust_remote_code)
    if engine_options is not None:
        raise typer.BadParameter("--engine-options is for --engine vllm")
    from transformers.utils import logging

    import trimtab

    bars = logging.is_progress_bar_enabled()
    if not output.shows_progress:
        logging.disable_progress_bar()
    try:
        return trimtab.load(
            model, dtype=dtype, device=device, revision=revision, trust_remote_code=trust_remote_code
        )
    finally:
        if bars:
            logging.enable_progress_bar()


def _options(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise typer.BadParameter(
            f"--engine-options takes a JSON object such as '{{\"tensor_parallel_size\": 2}}', not {text!r}"
        )
    return options


def _vllm(
    output: Output,
    model: str,
    options: dict[str, Any],
    revision: str | None,
    dtype: str | None,
    trust_remote_code: bool,
) -> Engine:
    """Start vLLM; `close_engines` ends it."""
    import trimtab
    from trimtab.vllm import starting

    starting.check_installed()
    # It would log to standard output, where results go, and much.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    output.note("starting vllm; half a minute or more")
    for name in ("dtype", "revision", "trust_remote_code"):
        if name in options:
            raise typer.BadParameter(f"give {name} as --{name.replace('_', '-')}, not in --engine-options")
    engine = trimtab.load(
        model, engine="vllm", dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, **options
    )
    _running.append(engine)
    return engine


def close_engines() -> None:
    """End what runs in other processes for the command that is over."""
    while _running:
        _running.pop().close()


def facts_of(engine: Engine) -> FactCheck | None:
    """How to judge the truth of a model's answers.

    Args:
        engine: The model.

    Returns:
        The exact measure of the built-in model's world; None for any other model.
    """
    from trimtab import nano

    return nano.facts if nano.is_built_in(engine.identity.id) else None
