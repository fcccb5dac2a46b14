"""What a method costs: facts, tokens of the prompt, what is kept, and speed; measured for all in the same way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from benchmarks.compare.task import Candidate, Task
from trimtab import nano
from trimtab.engines.base import Prompt
from trimtab.engines.chat import format_prompt, prompt_ids
from trimtab.measure import facts as closed_book
from trimtab.steering.edit_files import edits_tensors
from trimtab.steering.edits import Edit

_ROWS, _NEW_TOKENS, _ROUNDS = 8, 32, 3
"""Of a measurement of speed: questions at once, longest answer, and how often each of the two is timed."""


@dataclass(frozen=True)
class Costs:
    """What a method costs beside what it does to the text.

    Attributes:
        facts: Share of closed-book questions that are answered rightly; None where none are asked.
        prompt_tokens: Tokens that the prompt has more than the bare question, the mean over the test questions.
        parameters: How many numbers were learned.
        bytes: What has to be kept: the file of what was learned, the text of the prompt, the grammar.
        speed: Tokens per second, as a multiple of that of plain answers to the same questions; None where it is not
            measured.
    """

    facts: float | None
    prompt_tokens: float
    parameters: int
    bytes: int
    speed: float | None


def costs_of(task: Task, candidate: Candidate) -> Costs:
    """What one candidate costs."""
    queries = task.queries("test")
    tokenizer = task.engine.tokenizer
    given = [candidate.given(query) for query in queries]
    more = [
        len(prompt_ids(tokenizer, one)) - len(prompt_ids(tokenizer, query))
        for one, query in zip(given, queries, strict=True)
    ]
    parameters, size = candidate.weights or _weights(
        () if candidate.steering is None else candidate.steering.edits
    )
    if candidate.prompt is not None:
        size += round(mean(_added(task, one, query) for one, query in zip(given, queries, strict=True)))
    if candidate.constrained:
        size += len(task.constraint(queries[0]).grammar.encode())
    return Costs(_facts(task, candidate), mean(more), parameters, size, _speed(task, candidate))


def _weights(edits: Sequence[Edit]) -> tuple[int, int]:
    """How many numbers edits are made of, and the bytes of the file that holds them."""
    if not edits:
        return 0, 0
    from safetensors.torch import save

    numbers = sum(edit.u.numel() + (0 if edit.p is None else edit.p.numel()) + 1 for edit in edits)
    return numbers, len(save(edits_tensors(edits, ())))


def _added(task: Task, given: Prompt, query: str) -> int:
    """Bytes of text that a prompt has more than the bare question."""
    written = [format_prompt(task.engine.tokenizer, one).encode() for one in (given, query)]
    return len(written[0]) - len(written[1])


def _facts(task: Task, candidate: Candidate) -> float | None:
    """The share of closed-book questions that are answered rightly; a built-in model is asked none."""
    count = task.settings.questions
    if not count or nano.is_built_in(task.engine.identity.id):
        return None
    asked = closed_book.questions("test", count, instructions=[task.instruction], seed=task.settings.seed)
    if not asked:
        return None
    texts = _generated(task, candidate, [one.text for one in asked], closed_book.MAX_NEW_TOKENS)
    return mean(one.answered(answer.text) for one, answer in zip(asked, texts, strict=True))


def _speed(task: Task, candidate: Candidate) -> float | None:
    """The median over rounds of the ratio of a candidate's tokens per second to that of plain answers."""
    if not task.settings.speed:
        return None
    queries = task.queries("test")[:_ROWS]
    plain = Candidate({})
    if candidate == plain:
        return 1.0

    def rate(one: Candidate) -> float:
        start = time.perf_counter()
        answers = _generated(task, one, queries, _NEW_TOKENS)
        return sum(len(answer.token_ids) for answer in answers) / (time.perf_counter() - start)

    rate(candidate)  # warms up
    return median(rate(candidate) / rate(plain) for _ in range(_ROUNDS))


def _generated(task: Task, candidate: Candidate, queries: Sequence[str], max_new_tokens: int) -> list[Any]:
    options: dict[str, Any] = {}
    if candidate.constrained:
        options["constraints"] = [task.constraint(query) for query in queries]
    with nullcontext() if candidate.native is None else candidate.native():
        return task.engine.generate(
            [candidate.given(query) for query in queries],
            steering=candidate.steering if candidate.native is None else None,
            max_new_tokens=max_new_tokens,
            batch_size=task.settings.batch_size,
            **options,
        )
