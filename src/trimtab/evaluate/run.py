"""Running a suite: every item under its conditions, what is known already from the cache, the rest in large batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.engines import Model, as_engine
from trimtab.engines.chat import format_prompt
from trimtab.errors import ModelError, PromptError, TrimtabError
from trimtab.evaluate.accuracy import Answer
from trimtab.evaluate.cache import ContentCache, model_key
from trimtab.evaluate.closed_book import closed_book
from trimtab.evaluate.jobs import Job, Steerings, finding, jobs_of, matched
from trimtab.evaluate.results import Evaluation
from trimtab.evaluate.scoring import with_scores
from trimtab.evaluate.suites import Suite
from trimtab.measure.judges import InstructionJudge, agreement, known, labelled
from trimtab.measure.quality import FactCheck, repetition
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import CONDITIONS, Condition
from trimtab.measure.scorer import Scorer
from trimtab.progress import Progress, Tell, part_of, shown

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.measure.judges import Agreement

SAVE_EVERY = 128
"""Answers between two savings: what a killed run loses at most. A full batch each, or batches run half empty."""


_KEPT = ("text", "finished", "nll", "tokens", "taken", "thought")


def evaluate_suite(
    model: Model,
    suite: Suite,
    steerings: Steerings | None = None,
    *,
    conditions: Sequence[Condition] = CONDITIONS,
    strengths: Sequence[float] = (1.0,),
    cache: ContentCache | None = None,
    facts: FactCheck | None = None,
    scorer: Scorer | None = None,
    questions: int = 0,
    max_new_tokens: int = 256,
    batch_size: int | None = None,
    save_every: int = SAVE_EVERY,
    progress: Progress = False,
) -> Evaluation:
    """Measures a suite under the four conditions, or those that are asked for.

    Items for which there is no steering are left out where there are steerings, so that all conditions answer the same
    prompts; the result says how many.

    Args:
        model: An engine, or a model of transformers and its tokenizer. It answers greedily.
        suite: What to ask.
        steerings: The steerings of the steered conditions; None leaves these out.
        conditions: Which conditions to measure; a prompt has those that its item and its steering allow, and the
            constrained ones where all of its instructions have a constraint.
        strengths: What to multiply the steering by in the `steered` condition, each on the same items. Tables and
            the other steered conditions take 1 where it is among them, else the first.
        cache: Where answers are looked for and kept; None keeps nothing. Never those of a steering that acts by a rule
            in Python: what code does is not known by its name.
        facts: Judges the truth of an answer to a query.
        scorer: Another model, which scores the answers; None leaves it out.
        questions: How many closed-book questions to ask besides, plain and under each steering; 0 for none. A built-in
            model is asked none.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        save_every: Answers between two savings.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The measurements.

    Raises:
        TrimtabError: No item has a steering, none can be checked, none has one of the conditions, or a strength is not
            a number other than 0.
    """
    start = time.perf_counter()
    engine = as_engine(model)
    arguments.instance(suite, "suite", Suite, "a Suite (trimtab.evaluate.suites)", PromptError)
    conditions = arguments.each(conditions, "conditions", "their names", str, PromptError)
    for option, value, kind in (("cache", cache, ContentCache), ("scorer", scorer, Scorer)):
        if value is not None:
            arguments.instance(value, option, kind, f"a {kind.__name__}, or None", TrimtabError)
    if facts is not None:
        arguments.function(facts, "facts", "a function of query and response, or None", TrimtabError)
    arguments.whole(questions, "questions", TrimtabError, least=0)
    arguments.whole(max_new_tokens, "max_new_tokens", ModelError, least=1)
    arguments.whole(save_every, "save_every", TrimtabError)
    order = _order(strengths)
    find, there = finding(steerings)
    asked, left_out = matched(suite, find, there)
    text = partial(format_prompt, getattr(engine, "tokenizer", None))
    jobs = jobs_of(asked, find, conditions, order, model_key(engine), max_new_tokens, text)
    if not jobs:
        raise TrimtabError(
            f"no prompt of {suite.name} has any of the conditions {', '.join(conditions)}: the steered ones need a "
            "steering, the constrained ones instructions with a constraint, all but the instructed ones a bare query"
        )
    with shown(progress) as tell:
        responses, new = _responses(
            engine,
            jobs,
            cache or ContentCache(),
            max_new_tokens,
            batch_size,
            max(1, save_every),
            part_of(tell, f"answering {suite.name}"),
        )
        if scorer is not None:
            responses = with_scores(responses, scorer, cache or ContentCache(), tell)
        asked_besides = (
            closed_book(
                engine,
                steerings,
                questions,
                strength=order[0],
                cache=cache or ContentCache(),
                batch_size=batch_size,
                tell=tell,
            )
            if questions and steerings is not None
            else {}
        )
        agreements = _asked_of_judges(asked, jobs, responses, tell)
    answers = [_answer(job, response, facts) for job, response in zip(jobs, responses, strict=True)]
    return Evaluation(
        suite=asked,
        model=engine.identity,
        answers=answers,
        strengths=order,
        left_out=left_out,
        closed_book=asked_besides,
        agreements=agreements,
        new=new,
        seconds=time.perf_counter() - start,
    )


def _asked_of_judges(
    suite: Suite, jobs: Sequence[Job], responses: Sequence[Response], tell: Tell
) -> dict[str, list[Agreement]]:
    """Have judges read the answers, if there are any, and say by name how far they agree with a person."""
    by_judge: dict[str, list[Instruction]] = {}
    for one in suite.instructions:
        if one.judge_in_place is not None:
            by_judge.setdefault(one.judge_in_place.name, []).append(one)
            texts = [
                response.text
                for job, response in zip(jobs, responses, strict=True)
                if one in job.item.instructions
            ]
            known([one], list(dict.fromkeys(texts)), progress=tell)
    found = {}
    for name, judged in by_judge.items():
        judge = judged[0].judge_in_place
        if isinstance(judge, InstructionJudge):
            tones = list(dict.fromkeys(one.name for one in judged))
            found[name] = agreement(judge, labelled(), tones, progress=tell)
    return found


def _order(strengths: Sequence[float]) -> tuple[float, ...]:
    """Each strength once, the one for the tables first."""
    found = arguments.listed(strengths, "strengths", "numbers", TrimtabError)
    wanted = "a finite number other than 0"
    each = tuple(
        dict.fromkeys(arguments.number(one, "a strength", TrimtabError, wanted=wanted) for one in found)
    )
    if not each or not all(each):
        raise TrimtabError(f"a strength must be {wanted}; leave the steering out to measure none")
    return (1.0, *(strength for strength in each if strength != 1.0)) if 1.0 in each else each


def _responses(
    engine: Engine,
    jobs: Sequence[Job],
    cache: ContentCache,
    max_new_tokens: int,
    batch_size: int | None,
    save_every: int,
    tell: Tell,
) -> tuple[list[Response], int]:
    """The response to every job, and how many were generated; jobs that ask the same are answered once."""
    names = [
        (
            job.prompt,
            job.item.asked,
            job.key["steering"] if job.kept else id(job.steering),
            job.constraint,
        )
        for job in jobs
    ]
    found: dict[Any, Response] = {}
    missing: dict[Any, Job] = {}
    for name, job in zip(names, jobs, strict=True):
        if name in found or name in missing:
            continue
        response = _read(job, cache.get(job.key)) if job.kept else None
        if response is None:
            missing[name] = job
        else:
            found[name] = response
    of = len(found) + len(missing)
    tell("", len(found), of)
    # The longest first, as the engine does within a batch: a lack of memory shows at once.
    waiting = sorted(missing.items(), key=lambda pair: -len(pair[1].prompt))
    for begin in range(0, len(waiting), save_every):
        part = waiting[begin : begin + save_every]
        try:
            responses = respond(
                engine,
                [job.item.asked for _, job in part],
                [job.prompt for _, job in part],
                steering=[job.steering for _, job in part],
                constraints=[job.constraint for _, job in part],
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                progress=part_of(tell, "", len(found), of),
            )
        except PromptError as error:
            raise PromptError(
                f"{error} (the longest prompts of the suite come first; here one of {len(part)} such as "
                f"{part[0][1].item.key!r})"
            ) from error
        for (name, job), response in zip(part, responses, strict=True):
            if job.kept:
                cache.put(job.key, {name: getattr(response, name) for name in _KEPT})
            found[name] = response
        tell("", len(found), of)
    return [found[name] for name in names], len(waiting)


def _read(job: Job, value: Any) -> Response | None:
    """The response of a cache entry; None where it is not one."""
    try:
        return Response(
            query=job.item.asked,
            prompt=job.prompt,
            text=str(value["text"]),
            finished=bool(value["finished"]),
            nll=None if value["nll"] is None else float(value["nll"]),
            repetition=repetition(str(value["text"])),
            facts=None,
            tokens=int(value["tokens"]),
            taken=None if job.constraint is None else float(value["taken"]),
            thought=value.get("thought"),
        )
    except (TypeError, KeyError, ValueError):
        return None


def _answer(job: Job, response: Response, facts: FactCheck | None) -> Answer:
    if facts is not None:
        response = replace(response, facts=facts(job.item.asked, response.text))
    asked = job.item.asked
    verdicts = [one.for_query(asked).judge(response.text) for one in job.item.instructions]
    return Answer(
        item=job.item,
        condition=job.condition,
        strength=job.strength,
        method=None if job.steering is None else job.steering.record.method,
        response=response,
        strict=tuple(verdict.strict for verdict in verdicts),
        loose=tuple(verdict.loose for verdict in verdicts),
        undecided=tuple(verdict.undecided for verdict in verdicts),
    )
