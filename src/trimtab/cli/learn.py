"""`trimtab learn`: from an instruction to a saved steering."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab import instructions
from trimtab.cli.completion import instruction_names
from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.learning import TRAINING, OutOption, SeedOption, learn_steering, one_voice
from trimtab.cli.learning_vectors import learn_vector
from trimtab.cli.models import EngineChoice, ModelOption, ScorerOption, facts_of, scorer_of
from trimtab.cli.options import (
    FileOption,
    ParamsOption,
    QueriesOption,
    instruction_named,
    number_or_auto,
    numbers,
)
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.learn.methods import Method

_BLOCKS = "auto or the numbers of blocks, such as 2 or 0,2,4"
_OF_SCHEDULES = ("steps", "rate", "gate_rate")
_FEWEST = 8
_OF_DIRECTIONS = ("strength", "apply")


def _list_methods(value: str) -> str:
    if value == "list":
        from trimtab.learn.methods import methods

        for method in methods():
            typer.echo(f"{method.name:16} {method.summary}")
        raise typer.Exit
    return value


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=instruction_names,
            help="An instruction (see `trimtab instructions`), or several to be followed at once: json,lowercase.",
        ),
    ],
    out: OutOption,
    params: ParamsOption = None,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    model: ModelOption = "nano",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            callback=_list_methods,
            is_eager=True,
            help="distill (edits from the model's own answers), mean_difference or pca (a direction from prompt "
            "pairs), contrast (one from a tone's contrast examples), or one of another package; list shows all.",
        ),
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
        Literal["gated", "vector", "loreft", "psr"] | None,
        typer.Option(
            help="distill: gated edits, or for comparison vectors, LoReFT or PSR.", show_default="gated"
        ),
    ] = None,
    teacher: Annotated[
        Literal["told", "told+constrained", "constrained", "rewritten", "steered"] | None,
        typer.Option(
            help="distill: where the answers to learn from come from: the told model, held to a constraint or not; the "
            "model that is not told, held to one, or its answers rewritten; or the told model under what was learned.",
            show_default="chosen by what each gives",
        ),
    ] = None,
    accept: Annotated[
        Literal["followed", "all"] | None,
        typer.Option(
            help="distill: which told answers to learn from: those that pass check or judge, or all, judged or not.",
            show_default="followed",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="distill: steps of training, at most.", show_default="100, or 40 to 80"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="distill: learning rate of what is added, in units of the residual stream.",
            show_default="by the number of edits",
        ),
    ] = None,
    gate_rate: Annotated[
        float | None,
        typer.Option(help="distill: learning rate of the gates.", show_default="a fifth of --rate"),
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
            help="mean_difference, pca, contrast: 1 is the instruction's own effect; auto: chosen on validation "
            "prompts.",
            show_default="auto",
        ),
    ] = None,
    apply: Annotated[
        Literal["auto", "add", "set_projection"] | None,
        typer.Option(
            help="mean_difference, pca, contrast: add a vector, set the projection, or the better one.",
            show_default="auto",
        ),
    ] = None,
    tokens: Annotated[
        Literal["all", "prompt", "generated", "answer"],
        typer.Option(help="Which tokens are changed; answer: those that the model writes after its thought."),
    ] = "all",
    queries: QueriesOption = None,
    pairs: Annotated[int, typer.Option(min=2, help="Queries to learn from.")] = 64,
    validation: Annotated[
        int | None,
        typer.Option(min=1, help="Validation prompts to choose on.", show_default="distill 24, else 12"),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Longest answer, in tokens.",
            show_default="192; distill: by the model's own lengths, 128 to 384",
        ),
    ] = None,
    scorer: ScorerOption = None,
    facts: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="distill: closed-book questions to ask plain and under each set of edits; nano is asked none.",
            show_default="0",
        ),
    ] = None,
    seed: SeedOption = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows per forward pass; distill: answers per step (4 to 16). Chosen when left out."
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
        from trimtab import learn, prompts
        from trimtab.learn import methods

        way = methods.get(method)
        schedule: dict[str, Any] = {"steps": steps, "rate": rate, "gate_rate": gate_rate}
        given = {
            "rank": rank,
            "form": form,
            "teacher": teacher,
            "accept": accept,
            **schedule,
            "phrasings": phrasings,
            "gradient_checkpointing": gradient_checkpointing or None,
            "scorer": scorer,
            "questions": facts,
            "strength": strength,
            "apply": apply,
        }
        _refuse(way, given)
        if method == "distill" and pairs * (phrasings or 1) < _FEWEST:
            raise typer.BadParameter(
                f"--pairs {pairs} is too few: distill needs {_FEWEST} queries, as not every answer passes; "
                "--method mean_difference learns from 2"
            )
        if way.gradients and loading.engine == "vllm":
            raise typer.BadParameter(
                f"--method {method} needs gradients, which vllm does not give: leave out --engine vllm (what is "
                "learned runs on vllm all the same), or learn with --method mean_difference"
            )
        chosen = None if blocks == "auto" else numbers(blocks, "--blocks", int, takes=_BLOCKS)
        one_strength = number_or_auto(strength, "--strength", float)
        grid: dict[str, Any] = {
            "blocks": chosen,
            "strengths": None if one_strength is None else [one_strength],
            "methods": None if apply in (None, "auto") else [apply],
        }
        common = {
            "tokens": tokens,
            "max_new_tokens": max_new_tokens,
            "batch_size": batch_size,
            "seed": seed,
        }
        scoring = {"scorer": scorer_of(output, loading, scorer)}
        edits_per_block = number_or_auto(rank, "--rank", int)
        wanted = _instructions(name, params, way)
        start = time.perf_counter()
        engine = loading.open(output, model)
        if judged_by is not None:
            wanted = judged(output, wanted, lambda: judge_of(output, loading, judged_by, lambda: engine))
        if way.gives == "directions":
            is_settled = all(choice is not None and len(choice) == 1 for choice in grid.values())
            drawn = prompts.draw_queries(
                engine.identity,
                queries,
                learning=pairs,
                validation=0 if is_settled else validation or 12,
                seed=seed,
                otherwise=", or name --block, --strength and --apply yourself",
            )
            found = learn_vector(
                output,
                engine,
                wanted[0],
                method,
                drawn.learning,
                drawn.validation,
                {**grid, **common, **scoring, "max_new_tokens": max_new_tokens or 192},
            )
        else:
            if way.takes("schedule"):
                schedule["batch_size"] = batch_size
            count = validation or 24
            drawn = prompts.draw_queries(
                engine.identity, queries, learning=pairs, validation=count, seed=seed
            )
            settings: dict[str, Any] = {
                **given,
                "facts": facts_of(engine),
                **scoring,
                "validation": drawn.validation,
                # Looked through for queries that tempt the model to do what is forbidden; a dataset may be long.
                "pool": drawn.pool and drawn.pool[:512],
                "blocks": chosen,
                "rank": edits_per_block,
                "schedule": learn.Schedule(**{key: one for key, one in schedule.items() if one is not None}),
                "checkpoint": out / TRAINING,
                **common,
            }
            found = learn_steering(output, engine, way, drawn.learning, wanted, settings)
        found.hand_over(output, out, model, start)


def _refuse(method: Method, given: Mapping[str, object]) -> None:
    """Refuse options that say nothing to the method."""
    from trimtab.learn.methods import methods

    foreign = [name for name, value in given.items() if value is not None and not _is_for(name, method)]
    if foreign:
        others = " or ".join(one.name for one in methods() if any(_is_for(name, one) for name in foreign))
        options = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise typer.BadParameter(f"{options}: only for --method {others}, and this is {method.name}")


def _is_for(option: str, method: Method) -> bool:
    if method.gives == "directions":
        return option in (*_OF_DIRECTIONS, "scorer")
    return option not in _OF_DIRECTIONS and method.takes("schedule" if option in _OF_SCHEDULES else option)


def _instructions(name: str, params: str | None, method: Method) -> list[Instruction]:
    wanted = instructions.resolve_all(name) if params is None else [instruction_named(name, params)]
    if len(wanted) > 1 and method.gives == "directions":
        raise typer.BadParameter(
            f"{method.name} learns one instruction at a time; learn each, and put them together with trimtab compose"
        )
    return wanted
