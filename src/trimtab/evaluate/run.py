"""Running a suite: every item under its conditions, what is known already from the cache, the rest in large batches."""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trimtab.engines import Model, as_engine
from trimtab.errors import PromptError, SteeringError, TrimtabError
from trimtab.evaluate.accuracy import Answer
from trimtab.evaluate.cache import ContentCache, model_key
from trimtab.evaluate.results import Evaluation
from trimtab.measure.quality import FactCheck, repetition
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import CONDITIONS, Condition
from trimtab.progress import Progress, Tell, part_of, shown
from trimtab.steering.collection import SteeringSet
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.suites import Item, Suite
    from trimtab.instructions import Instruction

Steerings = SteeringSet | Steering | Sequence[Steering] | Mapping["Instruction", Steering]
"""Steerings that find their prompts by their records, or the steering of each instruction."""

_Find = Callable[[Sequence["Instruction"]], Steering | None]

SAVE_EVERY = 128
"""Answers between two savings: what a killed run loses at most. A full batch each, or batches run half empty."""


_KEPT = ("text", "finished", "nll", "tokens")


@dataclass(frozen=True)
class _Job:
    """One answer to get. It is looked for and kept by its key, unless its steering has a rule that is Python code."""

    item: Item
    condition: Condition
    prompt: str
    steering: Steering | None
    strength: float | None
    key: dict[str, Any]
    kept: bool


def evaluate_suite(
    model: Model,
    suite: Suite,
    steerings: Steerings | None = None,
    *,
    conditions: Sequence[Condition] = CONDITIONS,
    strengths: Sequence[float] = (1.0,),
    cache: ContentCache | None = None,
    facts: FactCheck | None = None,
    max_new_tokens: int = 256,
    batch_size: int | None = None,
    save_every: int = SAVE_EVERY,
    progress: Progress = False,
) -> Evaluation:
    """Measures a suite under all conditions it has.

    Items for which there is no steering are left out where there are steerings, so that all conditions answer the same
    prompts; the result says how many.

    Args:
        model: An engine, or a model of transformers and its tokenizer. It answers greedily.
        suite: What to ask.
        steerings: The steerings of the steered conditions; None leaves these out.
        conditions: Which conditions to measure; a prompt has those that its item and its steering allow.
        strengths: What to multiply the steering by in the `steered` condition, each on the same items. Tables and
            `instructed+steered` take 1 where it is among them, else the first.
        cache: Where answers are looked for and kept; None keeps nothing. Never those of a steering that acts by a rule
            in Python: what code does is not known by its name.
        facts: Judges the truth of an answer to a query.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        save_every: Answers between two savings.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The measurements.

    Raises:
        TrimtabError: No item has a steering, none can be checked, or a strength is not a number other than 0.
    """
    start = time.perf_counter()
    engine = as_engine(model)
    order = _order(strengths)
    find, there = _finding(steerings)
    asked, left_out = _matched(suite, find, there)
    jobs = _jobs(asked, find, conditions, order, model_key(engine), max_new_tokens)
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
    answers = [_answer(job, response, facts) for job, response in zip(jobs, responses, strict=True)]
    return Evaluation(
        suite=asked,
        model=engine.identity,
        answers=answers,
        strengths=order,
        left_out=left_out,
        new=new,
        seconds=time.perf_counter() - start,
    )


def _order(strengths: Sequence[float]) -> tuple[float, ...]:
    """Each strength once, the one for the tables first."""
    if not strengths or not all(math.isfinite(strength) and strength for strength in strengths):
        raise TrimtabError(
            "a strength must be a finite number other than 0; leave the steering out to measure none"
        )
    each = tuple(dict.fromkeys(float(strength) for strength in strengths))
    return (1.0, *(strength for strength in each if strength != 1.0)) if 1.0 in each else each


def _finding(steerings: Steerings | None) -> tuple[_Find | None, Sequence[Steering]]:
    """What finds the steering of a prompt's instructions, the same one for the same ones, and all there are."""
    if steerings is None:
        return None, ()
    if isinstance(steerings, Mapping):
        of = dict(steerings)
        made: dict[tuple[Instruction, ...], Steering] = {}

        def find(wanted: Sequence[Instruction]) -> Steering | None:
            if any(one not in of for one in wanted):
                return None
            first, *more = (of[one] for one in dict.fromkeys(wanted))
            return made.setdefault(tuple(wanted), functools.reduce(operator.add, more, first))

        return find, list(of.values())
    if not isinstance(steerings, SteeringSet):
        steerings = SteeringSet([steerings] if isinstance(steerings, Steering) else steerings)
    return steerings.for_instructions, steerings.steerings


def _matched(suite: Suite, find: _Find | None, there: Sequence[Steering]) -> tuple[Suite, dict[str, int]]:
    left_out: dict[str, int] = {}
    items = list(suite.items)
    if find is not None:
        found = [item for item in items if find(item.instructions) is not None]
        if not found:
            have = "; ".join(", ".join(one["name"] for one in each.record.instructions) for each in there)
            raise TrimtabError(
                f"none of the {len(items)} prompts of {suite.name} has a steering for all of its instructions "
                f"(there are steerings for: {have}); parameters must be the same, unless steerings match by type"
            )
        if len(found) < len(items):
            left_out["no steering for all of its instructions"] = len(items) - len(found)
        items = found
    unchecked = [item for item in items if not all(one.can_check for one in item.instructions)]
    if unchecked:
        left_out["an instruction without a check"] = len(unchecked)
        items = [item for item in items if item not in unchecked]
        if not items:
            lacking = dict.fromkeys(
                one.label for item in unchecked for one in item.instructions if not one.can_check
            )
            raise TrimtabError(
                f"no prompt of {suite.name} can be judged: each has an instruction without a check "
                f"({', '.join(lacking)}); give these a check, or choose other instructions"
            )
    return replace(suite, items=tuple(items)), left_out


def _jobs(
    suite: Suite,
    find: _Find | None,
    conditions: Sequence[Condition],
    strengths: Sequence[float],
    model: dict[str, Any],
    max_new_tokens: int,
) -> list[_Job]:
    scaled: dict[tuple[int, float], tuple[Steering, str | None]] = {}

    def at(steering: Steering, strength: float) -> tuple[Steering, str | None]:
        # One object for each steering and strength: its digest is computed once, and rows that share it batch well.
        place = (id(steering), strength)
        if place not in scaled:
            strong = steering * strength
            try:
                scaled[place] = (strong, strong.digest())
            except SteeringError:  # a rule that is Python code has no digest
                scaled[place] = (strong, None)
        return scaled[place]

    jobs = []
    for item in suite.items:
        steering = None if find is None else find(item.instructions)
        plan: list[tuple[Condition, str | None, float | None]] = [
            ("baseline", item.query, None),
            ("instructed", item.instructed, None),
        ]
        if steering is not None:
            plan += [("steered", item.query, strength) for strength in strengths]
            plan.append(("instructed+steered", item.instructed, strengths[0]))
        for condition, prompt, strength in plan:
            if prompt is None or condition not in conditions:
                continue
            applied, digest = (None, None)
            if steering is not None and strength is not None:
                applied, digest = at(steering, strength)
            key = {
                "kind": "answer",
                "model": model,
                "steering": digest,
                "prompt": prompt,
                "query": item.asked,
                "settings": {"max_new_tokens": max_new_tokens, "sampling": "greedy"},
            }
            kept = applied is None or digest is not None
            jobs.append(_Job(item, condition, prompt, applied, strength, key, kept))
    return jobs


def _responses(
    engine: Engine,
    jobs: Sequence[_Job],
    cache: ContentCache,
    max_new_tokens: int,
    batch_size: int | None,
    save_every: int,
    tell: Tell,
) -> tuple[list[Response], int]:
    """The response to every job, and how many were generated; jobs that ask the same are answered once."""
    names = [
        (job.prompt, job.item.asked, job.key["steering"] if job.kept else id(job.steering)) for job in jobs
    ]
    found: dict[Any, Response] = {}
    missing: dict[Any, _Job] = {}
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


def _read(job: _Job, value: Any) -> Response | None:
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
        )
    except (TypeError, KeyError, ValueError):
        return None


def _answer(job: _Job, response: Response, facts: FactCheck | None) -> Answer:
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
    )
