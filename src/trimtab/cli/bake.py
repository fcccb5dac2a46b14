"""`trimtab bake`: a checkpoint that carries a steering, for runtimes that know none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, compose, model_of


def _folder(value: Path) -> Path:
    from trimtab.baking.checkpoint import check_out

    check_out(value)
    return value


def command(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...",
            help="Saved steerings, folders or owner/name of the Hub; several are baked together.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            callback=_folder,
            help="Where to write the checkpoint: a new or empty folder, or one that was baked before.",
        ),
    ],
    model: SteeredModelOption = None,
    strength: Annotated[
        str,
        typer.Option(metavar="N[,N]", help="Multiplies the steerings: one number for all, or one for each."),
    ] = "1",
    way: Annotated[
        Literal["auto", "bias", "module"],
        typer.Option(
            help="bias: as biases, for every runtime; module: by code in the checkpoint; auto: the first that is exact."
        ),
    ] = "auto",
    check: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Compare N answers with the steered model's before the folder is there; 0: none.",
        ),
    ] = 4,
    file: FileOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Write a checkpoint of transformers that does by itself what a model does with a steering.

    The weights keep the dtype they were saved in, unless --dtype says another.
    """
    from trimtab import baking

    steering = compose(folders, strength)
    name, loading = model_of(steering, model, loading)
    if steering is None:
        raise typer.BadParameter("name at least one steering")
    engine = (
        loading.open(output, name)
        if loading.dtype
        else dataclasses.replace(loading, dtype="auto").open(output, name)
    )
    baked = baking.bake(engine, steering, out, way=None if way == "auto" else way, check=check)
    for earlier, why in baked.refused.items():
        output.note(f"not as a {earlier}: {why}")
    output.print(
        f"baked into {out}, as {_HOW[baked.way]}: {_blocks(steering.blocks)}, exact but for rounding"
    )
    if baked.check is not None:
        one = baked.check
        output.print(
            f"checked: on {one.prompts} answers its logits are within {one.difference:.2g} of the steered model's "
            f"({one.dtype}; steering changes them by up to {one.effect:.2g})"
        )
    output.print("open it with transformers alone:")
    output.print(f"  {baked.use}")
    output.result({"path": str(out), **baked.to_dict(), "digest": steering.digest()})


_HOW = {"bias": "biases", "module": "a module behind each block"}


def _blocks(blocks: tuple[int, ...]) -> str:
    return ("block " if len(blocks) == 1 else "blocks ") + ", ".join(map(str, blocks))
