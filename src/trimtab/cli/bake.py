"""`trimtab bake`: a checkpoint that carries a steering, for runtimes that know none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from trimtab.cli.models import Loading
from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, compose, model_of
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.baking import Approximation, Baked
    from trimtab.engines.base import Engine
    from trimtab.steering.steering import Steering


def _folder(value: Path) -> Path:
    from trimtab.baking.checkpoint import check_out

    check_out(value)
    return value


def _gguf(value: Path | None) -> Path | None:
    from trimtab.baking.gguf_file import check_file

    if value is not None:
        check_file(value)
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
        Literal["auto", "bias", "module", "fitted"],
        typer.Option(
            help="bias: as biases, for every runtime; module: by code in the checkpoint; auto: the first of these that "
            "is exact; fitted: near, as weights like any others, for every runtime."
        ),
    ] = "auto",
    to: Annotated[
        Literal["checkpoint", "peft"],
        typer.Option(
            help="peft: an adapter in place of a checkpoint, for added vectors; peft puts it onto the model."
        ),
    ] = "checkpoint",
    check: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Compare N answers with the steered model's before the folder is there; 0: none.",
        ),
    ] = 4,
    fit_on: Annotated[
        int,
        typer.Option("--fit-on", min=10, metavar="N", help="With fitted: questions whose answers to fit on."),
    ] = 48,
    test: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="With fitted: other questions, to measure how near it is; 0 measures nothing.",
        ),
    ] = 24,
    max_new_tokens: Annotated[
        int,
        typer.Option("--max-new-tokens", min=1, help="With fitted: the longest of these answers, in tokens."),
    ] = 128,
    gguf: Annotated[
        Path | None,
        typer.Option(
            "--gguf",
            metavar="FILE.gguf",
            callback=_gguf,
            help="For a model from a GGUF file: write that file too, with the steering in it, for llama.cpp.",
        ),
    ] = None,
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
    if to == "peft":
        if way != "auto" or gguf is not None:
            raise typer.BadParameter("--way and --gguf are for checkpoints; leave them out with --to peft")
        _adapter(loading.open(output, name), steering, out, check, output)
        return
    source = None if gguf is None else _file_of(name, loading)
    if not loading.dtype:  # what is added to a GGUF file is not rounded
        loading = dataclasses.replace(loading, dtype="float32" if source else "auto")
    engine = loading.open(output, name)
    with output.progress() as tell:
        baked = baking.bake(
            engine,
            steering,
            out,
            way=None if way == "auto" else way,
            check=check,
            fit_on=fit_on,
            test=test,
            max_new_tokens=max_new_tokens,
            progress=tell,
        )
    if gguf is not None and source is not None:
        baking.write_gguf(out, source, gguf)
    output.result(
        {"path": str(out), **baked.to_dict(), "digest": steering.digest(), "gguf": gguf and str(gguf)}
    )
    for earlier, why in baked.refused.items():
        output.note(f"not as a {earlier}: {why}")
    output.print(f"baked into {out}, as {_HOW[baked.way]}: {_blocks(steering.blocks)}, {_exact(baked)}")
    if baked.check is not None:
        one = baked.check
        output.print(
            f"checked: on {one.prompts} answers its logits are within {one.difference:.2g} of the steered model's "
            f"({one.dtype}; steering changes them by up to {one.effect:.2g})"
        )
    if baked.approximation is not None:
        _show(output, baked.approximation)
    output.print("open it with transformers alone:")
    output.print(f"  {baked.use}")
    if gguf is not None:
        output.print(f"written to {gguf}; run it there:")
        output.print(f"  llama-cli -m {gguf}")


def _adapter(engine: Engine, steering: Steering, out: Path, check: int, output: Output) -> None:
    from trimtab import baking

    found = baking.write_adapter(engine, steering, out, check=check)
    one = found.check
    output.result(
        {
            "path": str(out),
            "to": "peft",
            "exact": True,
            "where": list(found.where),
            "check": one and dataclasses.asdict(one),
            "use": found.use,
            "digest": steering.digest(),
        }
    )
    output.print(f"written to {out}, an adapter of peft: {_blocks(steering.blocks)}, exact but for rounding")
    if one is None:
        output.note("it was not opened here" + (": pip install peft, to compare it" if check else ""))
    else:
        output.print(
            f"checked: on {one.prompts} answers its logits are within {one.difference:.2g} of the steered model's "
            f"({one.dtype}; steering changes them by up to {one.effect:.2g})"
        )
    output.print("put it onto the model, without trimtab:")
    output.print(f"  {found.use}")


def _file_of(model: str, loading: Loading) -> Path:
    """The GGUF file that a model comes from."""
    from trimtab.engines.names import source_of
    from trimtab.engines.unpacking import file_of

    source = source_of(model, loading.gguf_file)
    if source.gguf_file is None:
        raise ModelError(
            f"{model} is no GGUF file, so there is none to write the steering into; bake it, and turn the folder into "
            "GGUF with llama.cpp's convert_hf_to_gguf.py"
        )
    return file_of(source, loading.revision)


_HOW = {
    "bias": "biases",
    "module": "a module behind each block",
    "fitted": "a change of each block's last projection",
}


def _blocks(blocks: tuple[int, ...]) -> str:
    return ("block " if len(blocks) == 1 else "blocks ") + ", ".join(map(str, blocks))


def _exact(baked: Baked) -> str:
    return "exact but for rounding" if baked.exact else "which is near, not exact"


def _show(output: Output, found: Approximation) -> None:
    shares = [share for block in found.explained.values() for share in block]
    output.print(
        f"fitted on {found.tokens} tokens; of what the gates read, {min(shares):.2f} to {max(shares):.2f} is explained"
    )
    if found.answered is None or found.divergence is None:
        return
    table = Table(box=None, pad_edge=False)
    for heading in (
        "answers of",
        "followed",
        "perplexity",
        "repetition",
        "facts",
        "from the steered model, nats",
    ):
        table.add_column(heading, justify="left" if heading == "answers of" else "right")
    for name, one in found.answered.items():
        quality = one.quality
        figures = (
            one.followed,
            quality.perplexity,
            quality.repetition,
            quality.facts,
            found.divergence.get(name),
        )
        table.add_row(
            f"the {name} model", *("-" if figure is None else f"{figure:.2f}" for figure in figures)
        )
    output.print(table)
