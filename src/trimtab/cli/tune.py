"""`trimtab tune`: choose block and strength of learned directions, or the strength of a finished steering."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.models import EngineChoice, Loading, facts_of
from trimtab.cli.options import (
    BatchSizeOption,
    FileOption,
    MaxNewTokensOption,
    ParamsOption,
    QueriesOption,
    numbers,
    page_file,
    steering_folder,
)
from trimtab.cli.output import Output, to_json
from trimtab.cli.steerings import named_or_known
from trimtab.cli.tune_output import document, show
from trimtab.cli.tune_subject import Subject, subject_of
from trimtab.errors import SteeringError
from trimtab.files import write_text
from trimtab.prompts.queries import draw_queries

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.tune.paper import PaperRule
    from trimtab.tune.tuned import Tuned

_THRESHOLD = 2.5
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
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="nano, nano-base, a model of the Hub, or a folder. Left out: that of the folder, or nano.",
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
            show_default=f"{_THRESHOLD:g}",
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
    chosen = _Choice(
        blocks=None if blocks is None else numbers(blocks, "--blocks", int),
        strengths=None if strengths is None else numbers(strengths, "--strengths", float),
        methods=None if apply == "both" else (apply,),
        manual_weight=manual_weight,
    )
    subject = subject_of(what, params, strength_only)
    name, loading = named_or_known(model, subject.model, loading, "what is to be tuned")
    engine = loading.open(output, name)
    drawn = draw_queries(
        engine.identity, queries, learning=pairs if subject.learns else 0, validation=validation, seed=seed
    )
    options: dict[str, Any] = {
        "facts": facts_of(engine),
        "first": first,
        "keep": keep,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "seed": seed,
    }
    paper = _paper_rule(output, rule, perplexity_model, threshold, loading.device)
    with output.progress() as tell:
        found = _run(
            engine, subject, chosen, drawn.learning, drawn.validation, paper, {**options, "progress": tell}
        )
    seconds = time.perf_counter() - start
    settings = {
        "model": str(engine.identity),
        "chosen on": f"{len(drawn.validation)} validation questions, with validation phrasings",
        "rule": _rule_in_words(rule, perplexity_model, threshold),
        "steered rows": str(found.rows),
        "answers": f"greedy, at most {max_new_tokens} tokens",
        "seed": str(seed),
    }
    result = document(subject.instruction, found, out, settings, seconds)
    if out is not None:
        found.steering.save_pretrained(out)
        if subject.directions is not None:
            subject.directions.save(out)
        write_text(out / "search.json", to_json(result, indent=2) + "\n")
    if report is not None:
        from trimtab.report import search as search_report

        page = search_report.render(search_report.SearchReport(subject.instruction, found, settings))
        write_text(report, page)
    show(output, subject.instruction, found, out, report, name, seconds)
    output.result(result)


@dataclass(frozen=True)
class _Choice:
    """What is left to choose from."""

    blocks: Sequence[int] | None
    strengths: Sequence[float] | None
    methods: Sequence[Any] | None
    manual_weight: float | None


def _paper_rule(
    output: Output, rule: Rule, model: str | None, threshold: float | None, device: str | None
) -> PaperRule | None:
    if rule == "guard":
        if model is not None:
            raise typer.BadParameter("--perplexity-model is for --rule paper")
        if threshold is not None:
            raise typer.BadParameter("--threshold is for --rule paper")
        return None
    threshold = _THRESHOLD if threshold is None else threshold
    from trimtab.tune.paper import PaperRule, text_perplexity

    if model is None:
        output.note("no --perplexity-model: the unsteered model stands in for the paper's GPT-2")
        return PaperRule(threshold=threshold)
    return PaperRule(text_perplexity(Loading(device=device).open(output, model)), threshold)


def _rule_in_words(rule: Rule, model: str | None, threshold: float | None) -> str:
    if rule == "guard":
        return "the guard on quality"
    lowest = _THRESHOLD if threshold is None else threshold
    return f"the paper's: no text of perplexity below {lowest:g} under {model or 'the unsteered model'}"


def _run(
    engine: Engine,
    subject: Subject,
    chosen: _Choice,
    learning: Sequence[str],
    held_out: Sequence[str],
    rule: PaperRule | None,
    options: dict[str, Any],
) -> Tuned:
    from trimtab import tune

    instruction = subject.instruction
    if subject.steering is not None:
        if rule is not None or any(
            one is not None for one in (chosen.blocks, chosen.methods, chosen.manual_weight)
        ):
            raise SteeringError(
                f"'{subject.steering.name}' is a finished steering: only its strength can be tuned; leave out --rule, "
                "--blocks, --apply and --manual-weight, or give a folder with directions"
            )
        strengths = tune.FACTORS if chosen.strengths is None else chosen.strengths
        return tune.refit_strength(
            engine, subject.steering, instruction, held_out, strengths=strengths, **options
        )
    if subject.directions is None:
        from trimtab.tune.vector import learn_directions

        subject.directions = learn_directions(
            engine,
            instruction,
            learning,
            **{name: options[name] for name in ("batch_size", "seed", "progress")},
        )
    return tune.search(
        engine,
        subject.directions,
        instruction,
        held_out,
        blocks=None if chosen.blocks is None else engine.block_numbers(chosen.blocks),
        strengths=chosen.strengths,
        methods=chosen.methods,
        rule=rule,
        weights=True,
        manual_weight=chosen.manual_weight,
        **options,
    )
