"""`trimtab learn`: from an instruction to a saved steering."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from trimtab import instructions
from trimtab.cli.check import read_params
from trimtab.cli.models import (
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    RevisionOption,
    TrustOption,
    facts_of,
    open_engine,
)
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import PromptError

if TYPE_CHECKING:
    from trimtab.edits import TokenScope
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions
    from trimtab.learn.directions import Application
    from trimtab.steering import Steering
    from trimtab.tune import Candidate

APPLICATIONS: tuple[Application, ...] = ("add", "set_projection")


class Method(StrEnum):
    """How a direction is learned from prompt pairs."""

    mean_difference = "mean_difference"
    pca = "pca"


class Apply(StrEnum):
    """How a direction is applied; `auto` lets the validation prompts choose."""

    auto = "auto"
    add = "add"
    set_projection = "set_projection"


class Tokens(StrEnum):
    """Which tokens are changed."""

    all = "all"
    prompt = "prompt"
    generated = "generated"


def _folder(value: Path) -> Path:
    """Refuse before the work what would be refused after it: a file, or a folder with other things in it."""
    if value.exists():
        if not value.is_dir():
            raise typer.BadParameter(f"{value} is a file; name a folder")
        if any(value.iterdir()) and not (value / "steering.json").exists():
            raise typer.BadParameter(
                f"{value} holds other things; name a new or empty folder, or an older steering"
            )
    return value


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An instruction: see `trimtab instructions`.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", callback=_folder, help="Where to save the steering.")
    ],
    params: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="Parameters of the instruction: '{\"at_most\": 2}'.", show_default=False
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="TOML", help="Also know the instructions of this file.", show_default=False),
    ] = None,
    model: ModelOption = "nano",
    method: Annotated[Method, typer.Option(help="How the direction is learned.")] = Method.mean_difference,
    block: Annotated[
        str,
        typer.Option(metavar="auto|N", help="The block to edit, from 0; auto: chosen on validation prompts."),
    ] = "auto",
    strength: Annotated[
        str,
        typer.Option(
            metavar="auto|X", help="1 is the instruction's own effect; auto: chosen on validation prompts."
        ),
    ] = "auto",
    apply: Annotated[
        Apply, typer.Option(help="Add a vector, set the projection, or the better one.")
    ] = Apply.auto,
    tokens: Annotated[Tokens, typer.Option(help="Which tokens are changed.")] = Tokens.all,
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Base queries: one a line, .jsonl, or a dataset of the Hub. Left out: the project's own.",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Prompt pairs to learn from.")] = 64,
    validation: Annotated[int, typer.Option(min=1, help="Validation prompts to choose on.")] = 12,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer to a validation prompt.")] = 192,
    seed: Annotated[int, typer.Option(help="Chooses queries and phrasings.")] = 0,
    batch_size: BatchSizeOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    trust_remote_code: TrustOption = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Learn a steering for an instruction from prompt pairs, and save it."""
    output = Output(json, quiet)
    blocks = None if block == "auto" else [_whole(block)]
    strengths = None if strength == "auto" else [_number(strength)]
    settled = blocks is not None and strengths is not None and apply is not Apply.auto
    if file is not None:
        instructions.load_file(file)
    instruction = instructions.get(name, **read_params(params))
    start = time.perf_counter()
    engine = open_engine(
        output, model, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    learning, held_out = _queries(engine, queries, pairs, 0 if settled else validation, seed)
    with output.progress(f"{instruction.label}: learning", 2) as advance:
        directions, sign = _learn(engine, instruction, learning, method, seed, batch_size)
        advance(1, f"{instruction.label}: choosing block and strength")
        search = _Search(
            blocks=None if blocks is None else engine.block_numbers(blocks),
            strengths=None if strengths is None else [sign * value for value in strengths],
            methods=tuple(way for way in APPLICATIONS if apply in (Apply.auto, way)),
            tokens=tokens.value,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
        )
        steering, candidates = search.run(engine, directions, instruction, held_out)
    directions.save(out)
    steering.save(out)
    seconds = time.perf_counter() - start
    _show(output, steering, candidates, out, model, seconds)
    output.result(
        {
            "steering": str(out),
            "digest": steering.digest(),
            "name": steering.name,
            **steering.record.to_dict(),
            "candidates": candidates,
            "seconds": round(seconds, 2),
        }
    )


@dataclass(frozen=True)
class _Search:
    """What is still to be chosen, and how."""

    blocks: Sequence[int] | None
    strengths: Sequence[float] | None
    methods: tuple[Application, ...]
    tokens: TokenScope
    max_new_tokens: int
    batch_size: int | None
    seed: int

    def run(
        self, engine: Engine, directions: Directions, instruction: Instruction, queries: Sequence[str]
    ) -> tuple[Steering, list[Candidate]]:
        """The best steering and what was tried; no search, and no candidates, where there is no choice."""
        if self.blocks is not None and self.strengths is not None and not queries:
            named = directions.standing_for(instruction.label, instruction.to_dict())
            return named.steering(self.methods[0], self.blocks[0], self.strengths[0], self.tokens), []
        from trimtab import tune

        tuned = tune.search(
            engine,
            directions,
            instruction,
            queries,
            blocks=self.blocks,
            strengths=self.strengths,
            methods=self.methods,
            tokens=self.tokens,
            facts=facts_of(engine),
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        return tuned.steering, tuned.candidates


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"--block takes auto or the number of a block, not {text!r}") from error


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"--strength takes auto or a number, not {text!r}")
    return value


def _queries(
    engine: Engine, source: str | None, pairs: int, validation: int, seed: int
) -> tuple[list[str], list[str]]:
    """Base queries to learn from and, when `validation` is not 0, others to choose on."""
    from trimtab import prompts

    if source is None:
        learning = prompts.default_queries(engine.identity, "learning", pairs, seed)
        held_out = (
            prompts.default_queries(engine.identity, "validation", validation, seed) if validation else []
        )
        return learning, held_out
    found = prompts.load_queries(source)
    if not validation:
        return prompts.sample_queries(found, min(pairs, len(found)), seed), []
    parts = prompts.split_queries(found)
    for split in ("learning", "validation"):
        if not parts[split]:
            raise PromptError(
                f"{source} has too few queries ({len(found)}) to set some aside for the {split} split; give more, "
                "or name --block, --strength and --apply yourself"
            )
    return (
        prompts.sample_queries(parts["learning"], min(pairs, len(parts["learning"])), seed),
        prompts.sample_queries(parts["validation"], min(validation, len(parts["validation"])), seed),
    )


def _learn(
    engine: Engine,
    instruction: Instruction,
    queries: list[str],
    method: Method,
    seed: int,
    batch_size: int | None,
) -> tuple[Directions, int]:
    """The directions, and -1 where the instruction is followed by going against them."""
    from trimtab import learn, prompts

    source, sign = learn.learning_source(instruction)
    pairs = prompts.make_pairs(queries, source, "learning", seed=seed)
    function = learn.mean_difference if method is Method.mean_difference else learn.pca
    return function(engine, pairs, source, batch_size=batch_size), sign


def _show(
    output: Output,
    steering: Steering,
    candidates: Sequence[Candidate],
    out: Path,
    model: str,
    seconds: float,
) -> None:
    output.print(steering.describe())
    output.print()
    if candidates:
        output.print(_candidates(candidates))
        output.print()
    output.print(f"saved in {out} after {seconds:.0f} s; try it:")
    output.print(f'  trimtab generate --model {model} --steering {out} --compare "..."')
    if steering.record.measurements.get("improved") is False:
        output.note(
            "warning: nothing that was tried did better than no steering at all; this is the least bad"
        )


def _candidates(candidates: Sequence[Candidate], most: int = 6) -> Table:
    """The best of what was tried on validation prompts."""
    table = Table(title=f"best of {len(candidates)} candidates, on validation prompts", title_justify="left")
    for heading in ("block", "apply", "strength", "prompts", "followed", "score"):
        table.add_column(heading, justify="left" if heading == "apply" else "right")
    table.add_column("objections")
    for one in candidates[:most]:
        table.add_row(
            str(one.block),
            one.application,
            f"{one.strength:g}",
            str(one.n),
            f"{one.followed:.2f}",
            f"{one.score:.2f}",
            ", ".join(one.objections),
        )
    return table
