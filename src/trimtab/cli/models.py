"""The options by which a command is told its model, and the one place where they become an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.quality import FactCheck

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


def open_engine(
    output: Output,
    model: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
) -> Engine:
    """Load a model as the shared options say.

    Args:
        output: Decides whether the libraries below may show their own progress bars.
        model: A name or folder, as `trimtab.load` takes it.
        revision: Of a model of the Hub.
        device: Where to put it.
        dtype: The type of its weights.
        trust_remote_code: Whether code of the repository may run.

    Returns:
        The engine.

    Raises:
        ModelError: It cannot be loaded.
    """
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


def facts_of(engine: Engine) -> FactCheck | None:
    """How to judge the truth of a model's answers.

    Args:
        engine: The model.

    Returns:
        The exact measure of the built-in model's world; None for any other model.
    """
    from trimtab import nano

    return nano.facts if nano.is_built_in(engine.identity.id) else None
