"""`trimtab evaluate`: measure steerings, or a model alone, on a suite of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

from trimtab.cli.judging import JudgedByOption, judge_of, judged
from trimtab.cli.models import EngineChoice, ModelOption, ScorerOption, facts_of, scorer_of
from trimtab.cli.options import (
    BatchSizeOption,
    ConstrainedOption,
    FileOption,
    MaxNewTokensOption,
    numbers,
    page_file,
)
from trimtab.cli.output import Output
from trimtab.cli.thoughts import Missing
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.evaluate.cache import ContentCache
    from trimtab.evaluate.judge_model import Judge
    from trimtab.evaluate.results import Evaluation
    from trimtab.instructions import Instruction
    from trimtab.measure.rows import Condition
    from trimtab.steering.collection import SteeringSet


_QUESTIONS = 100
"""Closed-book questions for each steering: they take about as long as 25 answers of 256 tokens."""


def command(
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            "-S",
            metavar="SUITE",
            help="nano, base, ifeval, or a .jsonl file of prompts with instructions.",
        ),
    ] = "nano",
    model: ModelOption = "nano",
    steering: Annotated[
        list[Path] | None,
        typer.Option(
            "--steering",
            "-s",
            metavar="DIR",
            help="A steering, a folder of them, or owner/name of the Hub, matched to prompts by their records.",
        ),
    ] = None,
    match: Annotated[
        Literal["exact", "type"],
        typer.Option(help="exact: the same instruction and parameters; type: parameters may differ."),
    ] = "exact",
    strengths: Annotated[
        str,
        typer.Option(metavar="X[,X]", help="Multiply the steerings by each of these, on the same prompts."),
    ] = "1",
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Which conditions to measure, such as baseline,steered; the four without a constraint when left out.",
        ),
    ] = None,
    constrained: ConstrainedOption = False,
    instructions: Annotated[
        str | None,
        typer.Option(
            "--instructions",
            "-i",
            metavar="LIST",
            help="For nano and base: what to add to the questions. Left out: those of the steerings, or all.",
        ),
    ] = None,
    file: FileOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Bare queries by key (.jsonl), for a suite with the instruction inside its prompts.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Questions per instruction (nano, base; 24 when left out), or prompts of a file."
        ),
    ] = None,
    facts: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Closed-book questions to ask plain and under each steering; 0 for none.",
            show_default=f"{_QUESTIONS}; 0 for nano",
        ),
    ] = None,
    judged_by: JudgedByOption = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also have this model judge every answer, by five questions."),
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Its OpenAI-compatible endpoint, such as http://localhost:8000/v1; OPENAI_API_KEY holds the key.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="HTML", callback=page_file, help="Write a page with plots."),
    ] = None,
    search: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="JSON",
            help="For the report: what tune --json or learn --json wrote; search.json beside a steering is found.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where answers are kept, so that a killed run goes on where it was.",
            show_default="~/.cache/trimtab/answers",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither look for answers nor keep them.")
    ] = False,
    scorer: ScorerOption = None,
    max_new_tokens: MaxNewTokensOption = 256,
    seed: Annotated[int, typer.Option(min=0, help="Chooses questions, phrasings and prompts.")] = 0,
    batch_size: BatchSizeOption = None,
    *,
    loading: EngineChoice,
    output: Output,
) -> None:
    """Measure steerings on a suite of prompts, under four conditions or six, with intervals and tests.

    Without --steering the model is measured alone: baseline and instructed.
    """
    from trimtab import nano
    from trimtab.evaluate import suites
    from trimtab.evaluate.run import evaluate_suite
    from trimtab.instructions import spelling as specs
    from trimtab.measure import significance
    from trimtab.measure.rows import CONSTRAINED
    from trimtab.report import page as reports
    from trimtab.report import search as searches
    from trimtab.steering import collection as matching

    factors = numbers(
        strengths, "--strengths", float, zero=False, takes="numbers other than 0, separated by commas"
    )
    if not steering and factors != [1]:
        raise typer.BadParameter("--strengths are of steerings; name some: --steering DIR")
    if search and report is None:
        raise typer.BadParameter("--search is for the page of --report; name that too")
    wanted = _conditions(conditions, constrained)
    chosen = None if instructions is None else specs.parse_instructions(instructions)
    if judge_url is not None and judge is None:
        raise typer.BadParameter("--judge-url names an endpoint; name the model there too: --judge NAME")
    significance.check_installed()
    found = (
        [searches.read(path) for path in (*(search or []), *searches.beside(steering or []))]
        if report
        else []
    )
    kept = _cache(cache, no_cache)
    scoring = scorer_of(output, loading, scorer)
    judging = _judge(judge, judge_url, kept)
    steerings = matching.SteeringSet.load(steering, match=match) if steering else None
    if chosen is None and steerings is not None and suite in ("nano", "base"):
        chosen = _instructions_of(steerings)
    asked = suites.load(suite, instructions=chosen, bare=queries, limit=limit, seed=seed)
    engine = loading.open(
        output, model, reads=steerings is not None and any(one.whens for one in steerings.steerings)
    )
    if steerings is not None:
        for one in steerings.steerings:
            one.check_model(engine.identity)
    if judged_by is not None:
        asked = asked.with_instructions(
            judged(
                output,
                asked.instructions,
                lambda: judge_of(output, loading, judged_by, lambda: engine, kept),
            )
        )
    with output.progress() as tell:
        evaluation = evaluate_suite(
            engine,
            asked,
            steerings,
            conditions=wanted,
            strengths=factors,
            cache=kept,
            facts=nano.facts if asked.about_nano else facts_of(engine),
            scorer=scoring,
            questions=_QUESTIONS if facts is None else facts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=tell,
        )
        if judging is not None:
            answers = evaluation.answers
            scores = judging.score(
                [(answer.item.asked, answer.response.text) for answer in answers],
                questions=[answer.item.questions for answer in answers],
                progress=tell,
            )
            evaluation = evaluation.judged_by(scores)
    evaluation.settings = {
        "model": str(engine.identity),
        "chat template": engine.identity.chat_template,
        "suite": f"{asked.name}: {asked.source}",
        "steerings": ", ".join(f"{one.name} ({one.record.method})" for one in steerings.steerings)
        if steerings
        else "none",
        "strengths": ", ".join(f"{strength:g}" for strength in evaluation.strengths) if steerings else "none",
        "answers": f"greedy, at most {max_new_tokens} tokens",
        **({} if scoring is None else {"scorer": str(scoring.engine.identity)}),
        **({} if judge is None else {"judge": f"{judge} at {urlsplit(judge_url or '').netloc or 'OpenAI'}"}),
        "seed": str(seed),
    }
    output.result(evaluation.to_dict())
    _show(output, evaluation)
    missing = Missing()
    for answer in evaluation.answers:
        missing.add(answer.response.text, answer.response.thought, finished=answer.response.finished)
    missing.tell(output, max_new_tokens)
    if set(wanted) & set(CONSTRAINED) and not set(evaluation.conditions) & set(CONSTRAINED):
        output.print(
            "No constrained condition was measured: every prompt has an instruction that has no constraint."
        )
    if report is not None:
        reports.write(reports.report_of(evaluation, found), report)
        output.print(f"Plots, answers and every number: {report}")


def _conditions(names: str | None, constrained: bool) -> list[Condition]:
    from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS, CONSTRAINED

    asked = list(CONDITIONS) if names is None else [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in ALL_CONDITIONS]
    if unknown:
        raise typer.BadParameter(f"--conditions takes {', '.join(ALL_CONDITIONS)}; not {unknown[0]!r}")
    return [one for one in ALL_CONDITIONS if one in asked or (constrained and one in CONSTRAINED)]


def _cache(folder: Path | None, without: bool) -> ContentCache:
    from trimtab.evaluate import cache

    if without:
        if folder is not None:
            raise typer.BadParameter("--cache and --no-cache exclude each other; give one of them")
        return cache.ContentCache()
    kept = cache.ContentCache(folder or cache.default_folder())
    kept.make_folder()
    return kept


def _judge(model: str | None, url: str | None, kept: ContentCache) -> Judge | None:
    if model is None:
        return None
    from trimtab.evaluate.judge_model import Judge

    return Judge(model, base_url=url, cache=kept)


def _instructions_of(steerings: SteeringSet) -> list[Instruction]:
    """What the steerings are for, each once."""
    from trimtab.instructions import from_dict

    found = [from_dict(item) for one in steerings.steerings for item in one.record.instructions]
    if not found:
        raise TrimtabError(
            "the steering's record names no instruction, so nothing says what to ask for; name it: --instructions LIST"
        )
    return list(dict.fromkeys(found))


def _show(output: Output, evaluation: Evaluation) -> None:
    from trimtab.report.tables import (
        constrained_table,
        facts_table,
        instruction_table,
        overall_table,
        quality_caption,
        quality_table,
        suite_caption,
    )

    if not output.speaks:
        return
    output.print(instruction_table(evaluation))
    output.print()
    held = constrained_table(evaluation.rows())
    if held is not None:
        output.print(held)
        output.print()
    rows = evaluation.rows()
    if (cost := quality_table(rows)) is not None:
        output.print(cost)
        output.print(quality_caption(rows))
        output.print()
    output.print(overall_table(evaluation))
    output.print()
    known = facts_table(evaluation.closed_book)
    if known is not None:
        output.print(known)
        output.print()
    output.print(suite_caption(evaluation))
    output.print(
        f"{len(evaluation.answers)} answers, {evaluation.new} of them generated now; {evaluation.seconds:.0f} seconds."
    )
