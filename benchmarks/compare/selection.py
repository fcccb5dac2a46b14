"""One rule of choice for all methods: the score of `trimtab.tune.guard` on validation questions.

Good answers (that follow the instruction, come to an end, don't repeat themselves and aren't empty) count for a
candidate, lost facts and perplexity out of the usual range against it, and what writes degenerate text is rejected. All
candidates of a method are tried on the first few questions, the best of them on all: the rule of `trimtab.tune.search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.compare.native import NativeEngine
from benchmarks.compare.task import Candidate, Task
from trimtab.measure.responses import Response, respond
from trimtab.measure.rows import judge
from trimtab.tune.guard import Guard, Reference
from trimtab.tune.trials import rank as best_first


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        candidate: The best candidate.
        tried: How many there were.
        improved: Whether it is sound and scores better than steering nothing. If not, it is the least bad one.
        same: Of the validation questions, the share that the other library's own code answers exactly as the edits do;
            None for a method without code of its own, or without edits.
    """

    candidate: Candidate
    tried: int
    improved: bool
    same: float | None


def choose(task: Task, candidates: Sequence[Candidate]) -> Choice:
    """The best candidate by validation questions; among equals the earliest.

    Raises:
        ValueError: There are none.
    """
    if not candidates:
        raise ValueError("there are no candidates to choose from")
    settings, queries = task.settings, task.queries("validation")
    baseline = task.baseline("validation")
    instructed = task.told_answers("validation")
    plain = judge(task.instruction, "baseline", None, baseline)
    reference = Reference(plain, judge(task.instruction, "instructed", None, instructed), Guard())
    seen = [judge(task.instruction, "steered", None, []) for _ in candidates]

    def measure(numbers: Sequence[int], part: Sequence[str]) -> None:
        # What edits or prompts do goes through the engine in one call; code of its own, one after the other.
        together = [number for number in numbers if not _alone(candidates[number])]
        groups = [together, *([number] for number in numbers if _alone(candidates[number]))]
        for group in filter(None, groups):
            judged = judge(task.instruction, "steered", None, _answers(task, candidates, group, part))
            for place, number in enumerate(group):
                seen[number] += judged.take(range(place * len(part), (place + 1) * len(part)))

    def rank(number: int) -> tuple[Any, ...]:
        return (*best_first(reference.measure(seen[number])), number)

    numbers = list(range(len(candidates)))
    if len(candidates) > settings.keep:
        measure(numbers, queries[: settings.first])
        numbers = sorted(numbers, key=rank)[: settings.keep]
        measure(numbers, queries[settings.first :])
    else:
        measure(numbers, queries)
    best = min(numbers, key=rank)
    measured, nothing = reference.measure(seen[best]), reference.measure(plain)
    return Choice(
        candidates[best],
        len(candidates),
        not measured.rejected and measured.score > nothing.score,
        _same(task, candidates[best]),
    )


def _alone(candidate: Candidate) -> bool:
    """Whether its own code is the only way to do what it does."""
    return candidate.native is not None and candidate.steering is None


def _answers(
    task: Task, candidates: Sequence[Candidate], numbers: Sequence[int], queries: Sequence[str]
) -> list[Response]:
    """What candidates answer to questions, one after the other, by their edits where they have some."""
    if _alone(candidates[numbers[0]]):
        only = candidates[numbers[0]]
        return task.ask(only, [(query, only.given(query)) for query in queries])
    rows = [(candidates[number], query) for number in numbers for query in queries]
    held = [task.constraint(query) if one.constrained else None for one, query in rows]
    return respond(
        task.engine,
        [query for _, query in rows],
        [one.given(query) for one, query in rows],
        steering=[one.steering for one, _ in rows],
        constraints=held if any(held) else None,
        facts=task.facts,
        max_new_tokens=task.settings.max_new_tokens,
        batch_size=task.settings.batch_size,
    )


def _same(task: Task, candidate: Candidate) -> float | None:
    """Both write in a batch of their own, as in bfloat16 the other rows of a batch change the rounding."""
    if candidate.native is None or candidate.steering is None:
        return None
    queries = task.queries("validation")
    options = {"max_new_tokens": task.settings.max_new_tokens, "batch_size": task.settings.batch_size}
    theirs = NativeEngine(task.engine, candidate.native).generate(queries, **options)
    edits = task.engine.generate(queries, steering=candidate.steering, **options)
    return sum(one.text == other.text for one, other in zip(theirs, edits, strict=True)) / len(queries)
