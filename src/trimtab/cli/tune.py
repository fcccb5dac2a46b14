"""`trimtab tune`: choose block and strength of learned directions, or the strength of a finished steering."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice, Loading, ScorerOption, facts_of, scorer_of
from trimtab.cli.options import (
    BatchSizeOption,
    FileOption,
    MaxNewTokensOption,
    ParamsOption,
    QueriesOption,
    instruction_named,
    numbers,
    page_file,
    steering_folder,
)
from trimtab.cli.output import Output, to_json
from trimtab.cli.steerings import named_or_known
from trimtab.cli.tune_output import document, show
from trimtab.errors import SteeringError
from trimtab.files import write_text

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions
    from trimtab.steering.record import ModelIdentity
    from trimtab.steering.steering import Steering
    from trimtab.tune.paper import PaperRule

Rule = Literal["guard", "paper"]


def command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A folder with learned directions or a steering, or the name of an instruction to learn first.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            callback=steering_folder,
            help="Where to save the tuned steering and the search; nothing is saved when left out.",
        ),
    ] = None,
    params: ParamsOption = None,
    file: FileOption = None,
    judged_by: JudgedByOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder, or a GGUF file. Left out: that of "
            "the folder, or nano.",
        ),
    ] = None,
    strength_only: Annotated[
        bool,
        typer.Option(
            "--strength-only", help="Keep the steering of the folder, also where directions lie beside it."
        ),
    ] = False,
    blocks: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Blocks to try; a few, well spread, when left out."),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            metavar="X,X",
            help="Strengths to try: 1 is the instruction's own effect, or the steering as it is.",
        ),
    ] = None,
    apply: Annotated[
        Literal["both", "add", "set_projection"], typer.Option(help="Ways to apply a direction.")
    ] = "both",
    manual_weight: Annotated[
        float | None,
        typer.Option(
            help="The manual weight of the comparison, in units of the residual stream; the mean difference as it is "
            "when left out."
        ),
    ] = None,
    rule: Annotated[
        Rule,
        typer.Option(help="Choose by this project's guard on quality, or by the ICLR 2025 paper's rule."),
    ] = "guard",
    perplexity_model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="For --rule paper: the model that scores texts (the paper's: openai-community/gpt2); the unsteered "
            "model stands in when left out.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="For --rule paper: a lower perplexity is degenerate.",
            show_default="2.5",
        ),
    ] = None,
    queries: QueriesOption = None,
    pairs: Annotated[int, typer.Option(min=2, help="Prompt pairs to learn from, for an instruction.")] = 64,
    validation: Annotated[int, typer.Option(min=1, help="Validation questions to choose on.")] = 12,
    first: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Questions that all candidates are tried on; the rest is for the better ones.",
            show_default="3; all with --rule paper",
        ),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Candidates that are tried on all questions.")] = 4,
    max_new_tokens: MaxNewTokensOption = 192,
    scorer: ScorerOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="HTML", callback=page_file, help="Write the search as a page with its heat map."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses queries and phrasings.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Choose where and how strongly to steer, on validation questions, with a guard on quality."""
    start = time.perf_counter()
    tried = None if strengths is None else numbers(strengths, "--strengths", float)
    grid: dict[str, Any] = {
        "blocks": None if blocks is None else numbers(blocks, "--blocks", int),
        "methods": None if apply == "both" else (apply,),
        "manual_weight": manual_weight,
    }
    if rule == "guard" and (perplexity_model is not None or threshold is not None):
        given = "--threshold" if perplexity_model is None else "--perplexity-model"
        raise typer.BadParameter(f"{given} is for --rule paper")
    subject = _subject(what, params, strength_only)
    if subject.steering is not None and (
        rule == "paper" or any(value is not None for value in grid.values())
    ):
        raise SteeringError(
            f"'{subject.steering.name}' is a finished steering: only its strength can be tuned; leave out --rule, "
            "--blocks, --apply and --manual-weight, or give a folder with directions"
        )
    scoring = scorer_of(output, loading, scorer)
    name, loading = named_or_known(model, subject.model, loading, "what is to be tuned")
    engine = loading.open(output, name)
    if judged_by is not None:
        choice = partial(judge_of, output, loading, judged_by, lambda: engine)
        (instruction,) = judged(output, [subject.instruction], choice)
        subject = replace(subject, instruction=instruction)

    from trimtab import tune
    from trimtab.prompts.queries import draw_queries

    learns = subject.directions is None and subject.steering is None
    drawn = draw_queries(
        engine.identity, queries, learning=pairs if learns else 0, validation=validation, seed=seed
    )
    paper = _paper_rule(output, perplexity_model, threshold, loading) if rule == "paper" else None
    directions = subject.directions
    with output.progress() as tell:
        common: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "progress": tell}
        options = {
            "facts": facts_of(engine),
            "scorer": scoring,
            "first": first,
            "keep": keep,
            "max_new_tokens": max_new_tokens,
            **common,
        }
        if subject.steering is not None:
            found = tune.refit_strength(
                engine,
                subject.steering,
                subject.instruction,
                drawn.validation,
                strengths=tune.FACTORS if tried is None else tried,
                **options,
            )
        else:
            if grid["blocks"] is not None:
                grid["blocks"] = engine.block_numbers(grid["blocks"])
            if directions is None:
                directions = tune.learn_directions(engine, subject.instruction, drawn.learning, **common)
            found = tune.search(
                engine,
                directions,
                subject.instruction,
                drawn.validation,
                strengths=tried,
                rule=paper,
                weights=True,
                **grid,
                **options,
            )
    seconds = time.perf_counter() - start
    settings = {
        "model": str(engine.identity),
        "chosen on": f"{len(drawn.validation)} validation questions, with validation phrasings",
        "rule": "the guard on quality"
        if paper is None
        else f"the paper's: no text of perplexity below {paper.threshold:g} under "
        f"{perplexity_model or 'the unsteered model'}",
        **({} if scorer is None else {"scorer": scorer}),
        "steered rows": str(found.rows),
        "answers": f"greedy, at most {max_new_tokens} tokens",
        "seed": str(seed),
    }
    result = document(subject.instruction, found, out, settings, seconds)
    if out is not None:
        found.steering.save_pretrained(out)
        if directions is not None:
            directions.save(out)
        write_text(out / "search.json", to_json(result, indent=2) + "\n")
    output.result(result)
    if report is not None:
        from trimtab.report import search as search_report

        page = search_report.render(search_report.SearchReport(subject.instruction, found, settings))
        write_text(report, page)
    show(output, subject.instruction, found, out, report, name, seconds)


@dataclass(frozen=True)
class _Subject:
    """What is tuned: directions, a finished steering, or an instruction that is learned first."""

    instruction: Instruction
    directions: Directions | None = None
    steering: Steering | None = None

    @property
    def model(self) -> ModelIdentity | None:
        """The model it was made on, if it was made."""
        if self.directions is not None:
            return self.directions.model
        return None if self.steering is None else self.steering.record.model


def _subject(what: str, params: str | None, strength_only: bool) -> _Subject:
    """Tell a folder from the name of an instruction, and read what it holds."""
    from trimtab import instructions
    from trimtab.learn import Directions
    from trimtab.steering.collection import SteeringFolder
    from trimtab.steering.steering import Steering

    folder = SteeringFolder.found(what).path
    if not folder.is_dir():
        if strength_only:
            raise SteeringError(
                f"--strength-only needs a folder with a steering, and there is no folder {what}"
            )
        return _Subject(instruction_named(what, params))
    if params is not None:
        raise typer.BadParameter("--params is for an instruction to be learned; a folder says its own")
    if (folder / "directions.json").exists() and not strength_only:
        directions = Directions.load(folder)
        wanted = directions.instruction
        if (folder / "steering.json").exists():
            # An exclusion is learned from its inclusion: only the steering says what it stands for.
            wanted = _only_instruction(Steering.load(folder))
        if wanted is None:
            raise SteeringError(
                f"the directions in {what} stand for no instruction, so nothing can judge answers; apply them in Python"
            )
        return _Subject(instructions.from_dict(wanted), directions=directions)
    steering = Steering.load(folder)
    return _Subject(instructions.from_dict(_only_instruction(steering)), steering=steering)


def _only_instruction(steering: Steering) -> dict[str, Any]:
    known = steering.record.instructions
    if len(known) != 1:
        raise SteeringError(
            f"the steering '{steering.name}' stands for {len(known)} instructions, and a search needs exactly one to "
            "judge answers by; tune its parts, then compose them"
        )
    return known[0]


def _paper_rule(output: Output, model: str | None, threshold: float | None, loading: Loading) -> PaperRule:
    from trimtab.tune.paper import THRESHOLD, PaperRule, text_perplexity

    perplexity = None
    if model is None:
        output.note("no --perplexity-model: the unsteered model stands in for the paper's GPT-2")
    else:
        perplexity = text_perplexity(Loading(device=loading.device).open(output, model))
    return PaperRule(perplexity, THRESHOLD if threshold is None else threshold)
