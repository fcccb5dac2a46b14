"""`trimtab learn`: from an instruction to a saved steering."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab import instructions
from trimtab.cli.learning import (
    Found,
    learn_distilled,
    one_voice,
    read_queries,
)
from trimtab.cli.learning_vectors import APPLICATIONS, Search, learn_vector
from trimtab.cli.models import EngineChoice, ModelOption
from trimtab.cli.options import (
    FileOption,
    MaxNewTokensOption,
    ParamsOption,
    QueriesOption,
    instruction_named,
    number_or_auto,
    numbers,
    steering_folder,
)
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.tune.vector import VectorMethod

TRAINING = ".trimtab-training"
"""Inside the folder of a steering that is being learned: what a killed run goes on from. Saving leaves it alone."""

Method = Literal["distill", "mean_difference", "pca"]
_BLOCKS = "auto or the numbers of blocks, such as 2 or 0,2,4"


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="An instruction (see `trimtab instructions`), or several to be followed at once: json,lowercase.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", callback=steering_folder, help="Where to save the steering."
        ),
    ],
    params: ParamsOption = None,
    file: FileOption = None,
    model: ModelOption = "nano",
    method: Annotated[
        Method,
        typer.Option(help="Edits distilled from the model's own answers, or a direction from prompt pairs."),
    ] = "distill",
    blocks: Annotated[
        str,
        typer.Option(
            "--blocks",
            "--block",
            metavar="auto|N,N",
            help="distill: the blocks to edit, from 0; else: to try. auto: chosen on validation prompts.",
        ),
    ] = "auto",
    rank: Annotated[
        str | None,
        typer.Option(
            metavar="auto|N",
            help="distill: edits per block; auto: chosen on validation prompts.",
            show_default="auto",
        ),
    ] = None,
    form: Annotated[
        Literal["gated", "vector", "loreft"] | None,
        typer.Option(help="distill: gated edits, or for comparison vectors or LoReFT.", show_default="gated"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="distill: steps of training, at most.", show_default="100")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="distill: learning rate of what is added.", show_default="0.03"),
    ] = None,
    gate_rate: Annotated[
        float | None, typer.Option(help="distill: learning rate of the gates.", show_default="0.003")
    ] = None,
    phrasings: Annotated[
        int | None,
        typer.Option(min=1, help="distill: in how many wordings every query is answered.", show_default="1"),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="distill: less memory for more time.")
    ] = False,
    strength: Annotated[
        str | None,
        typer.Option(
            metavar="auto|X",
            help="mean_difference, pca: 1 is the instruction's own effect; auto: chosen on validation prompts.",
            show_default="auto",
        ),
    ] = None,
    apply: Annotated[
        Literal["auto", "add", "set_projection"] | None,
        typer.Option(
            help="mean_difference, pca: add a vector, set the projection, or the better one.",
            show_default="auto",
        ),
    ] = None,
    tokens: Annotated[
        Literal["all", "prompt", "generated"], typer.Option(help="Which tokens are changed.")
    ] = "all",
    queries: QueriesOption = None,
    pairs: Annotated[int, typer.Option(min=2, help="Queries to learn from.")] = 64,
    validation: Annotated[
        int | None,
        typer.Option(min=1, help="Validation prompts to choose on.", show_default="distill 24, else 12"),
    ] = None,
    max_new_tokens: MaxNewTokensOption = 192,
    seed: Annotated[int, typer.Option(help="Chooses queries, phrasings and the order of training.")] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows per forward pass; distill: answers per step (16). Chosen when left out."
        ),
    ] = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Learn a steering for an instruction, and save it.

    May be started by `torchrun` or `accelerate launch`; a killed run goes on when started again with the same options.
    """
    with one_voice(output) as output:
        own = {
            "--rank": rank,
            "--form": form,
            "--steps": steps,
            "--rate": rate,
            "--gate-rate": gate_rate,
            "--phrasings": phrasings,
            "--gradient-checkpointing": gradient_checkpointing or None,
        }
        others = {"--strength": strength, "--apply": apply}
        _refuse(method, others if method == "distill" else own)
        if method == "distill" and loading.engine == "vllm":
            raise typer.BadParameter(
                "--method distill needs gradients, which vllm does not give: leave out --engine vllm (what is learned "
                "runs on vllm all the same), or learn with --method mean_difference"
            )
        chosen = None if blocks == "auto" else numbers(blocks, "--blocks", int, takes=_BLOCKS)
        one_strength = number_or_auto(strength, "--strength", float)
        search = Search(
            blocks=chosen,
            strengths=None if one_strength is None else [one_strength],
            methods=tuple(way for way in APPLICATIONS if apply in (None, "auto", way)),
            tokens=tokens,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
        )
        edits_per_block = number_or_auto(rank, "--rank", int)
        wanted = _instructions(name, params, method)
        start = time.perf_counter()
        from trimtab.engines.ranks import started_first

        engine = loading.open(output, model)
        found: Found
        if method == "distill":
            settings = {
                "steps": steps,
                "rate": rate,
                "gate_rate": gate_rate,
                "batch_size": batch_size,
            }
            options: dict[str, Any] = {
                "blocks": chosen,
                "rank": edits_per_block,
                "form": form,
                "phrasings": phrasings,
                "tokens": tokens,
                "max_new_tokens": max_new_tokens,
                "gradient_checkpointing": gradient_checkpointing,
                "seed": seed,
            }
            learning, held_out, pool = read_queries(engine, queries, pairs, validation or 24, seed)
            # Looked through for queries that tempt the model to do what is forbidden; a whole dataset may be long.
            options["pool"] = pool and pool[:512]
            found = learn_distilled(
                output, engine, wanted, learning, held_out, settings, options, out / TRAINING
            )
        else:
            otherwise = ", or name --block, --strength and --apply yourself"
            count = 0 if search.is_settled else validation or 12
            learning, held_out, _ = read_queries(engine, queries, pairs, count, seed, otherwise)
            way: VectorMethod = "pca" if method == "pca" else "mean_difference"
            found = learn_vector(output, engine, wanted[0], way, learning, held_out, search)
        steering = found.steering
        if started_first():
            found.save(out)
            shutil.rmtree(out / TRAINING, ignore_errors=True)
        seconds = time.perf_counter() - start
        output.print(steering.describe())
        output.print()
        if found.table is not None:
            output.print(found.table)
            output.print()
        output.print(f"saved in {out} after {seconds:.0f} s; try it:")
        output.print(f'  trimtab generate --model {model} --steering {out} --compare "..."')
        if found.warning:
            output.note(f"warning: {found.warning}")
        output.result(
            {
                "steering": str(out),
                "digest": steering.digest(),
                "name": steering.name,
                **steering.record.to_dict(),
                **found.more,
                "seconds": round(seconds, 2),
            }
        )


def _refuse(method: Method, foreign: Mapping[str, object]) -> None:
    """Refuse options that say nothing to the method."""
    given = [option for option, value in foreign.items() if value is not None]
    if given:
        others = "mean_difference or pca" if method == "distill" else "distill"
        raise typer.BadParameter(f"{', '.join(given)}: only for --method {others}, and this is {method}")


def _instructions(name: str, params: str | None, method: Method) -> list[Instruction]:
    wanted = instructions.resolve_all(name) if params is None else [instruction_named(name, params)]
    if len(wanted) > 1 and method != "distill":
        raise typer.BadParameter(
            f"{method} learns one instruction at a time; learn each, and put them together with trimtab compose"
        )
    return wanted
