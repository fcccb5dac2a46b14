"""Prompting: the instruction in words, in the ways that people try when the first one does not do.

- `wording`: the strongest of ten wordings, chosen on validation questions by the rule of all methods. The wordings are
  those of the catalogue, whatever their split: a user may write any of them.
- `system`: the instruction as system prompt, in the wordings of the row `instructed`.
- `examples`: three examples in the prompt, as turns of the chat, alone or with the instruction behind the last question
  (T. Brown et al.: Language Models are Few-Shot Learners, NeurIPS 2020). They are learning questions with answers of
  the told model that follow; where it has too few, answers that a program rewrote, or under a constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain

from benchmarks.compare.task import Candidate, Method, Task
from trimtab.engines.base import Prompt
from trimtab.errors import PromptError
from trimtab.instructions.together import constraint_of
from trimtab.measure.responses import follows

WORDINGS = 10
EXAMPLES = 3
_ASKED = 24  # learning questions that examples are looked for among


def wordings(task: Task) -> Sequence[Candidate]:
    """Ten wordings, of all splits in turn."""
    splits = [task.instruction.phrasings(split) for split in ("test", "validation", "learning")]
    found = list(dict.fromkeys(chain.from_iterable(splits)))[:WORDINGS]
    return [
        Candidate({"wording": wording}, prompt=partial(_said, task, number))
        for number, wording in enumerate(found)
    ]


def _said(task: Task, number: int, query: str) -> str:
    """The question and one wording, which may hold the question."""
    own = task.instruction.for_query(query)
    splits = [own.phrasings(split) for split in ("test", "validation", "learning")]
    return f"{query} {list(dict.fromkeys(chain.from_iterable(splits)))[number]}"


def system(task: Task) -> Sequence[Candidate]:
    """The instruction as system prompt."""

    def prompt(query: str) -> Prompt:
        wording = task.told(query).removeprefix(query).strip()
        return [{"role": "system", "content": wording}, {"role": "user", "content": query}]

    return [Candidate({}, prompt=prompt)]


def examples(task: Task) -> Sequence[Candidate]:
    """Three examples, with the instruction and without.

    Raises:
        PromptError: There are not three answers that follow.
    """
    turns = [
        {"role": role, "content": text}
        for pair in _examples(task)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return [Candidate({"told": told}, prompt=partial(_after, task, turns, told)) for told in (True, False)]


def _after(task: Task, turns: Sequence[dict[str, str]], told: bool, query: str) -> Prompt:
    return [*turns, {"role": "user", "content": task.told(query) if told else query}]


def _examples(task: Task) -> list[tuple[str, str]]:
    """The shortest questions and answers that follow and come to an end, told ones first."""
    queries = task.queries("learning")[:_ASKED]
    engine, limit = task.engine, task.settings.max_new_tokens
    found: list[tuple[str, str]] = []

    def take(answers: Sequence[tuple[str, str, bool]]) -> None:
        good = [
            (query, text.strip())
            for query, text, finished in answers
            if finished and text.strip() and follows(text, query, [task.instruction])
        ]
        known = {query for query, _ in found}
        found.extend(pair for pair in sorted(good, key=lambda pair: len(pair[1])) if pair[0] not in known)

    told = engine.generate(
        [pair.instructed for pair in task.pairs_of("learning", queries)], max_new_tokens=limit
    )
    take([(query, one.text, one.finished) for query, one in zip(queries, told, strict=True)])
    if len(found) < EXAMPLES:
        plain = engine.generate(queries, max_new_tokens=limit)
        rewritten = [
            task.instruction.for_query(query).rewrite(one.text)
            for query, one in zip(queries, plain, strict=True)
        ]
        take(
            [(query, text, True) for query, text in zip(queries, rewritten, strict=True) if text is not None]
        )
    held = [constraint_of([task.instruction], query) for query in queries]
    if len(found) < EXAMPLES and None not in held:
        answers = engine.generate(queries, constraints=held, max_new_tokens=limit)
        take([(query, one.text, one.finished) for query, one in zip(queries, answers, strict=True)])
    if len(found) < EXAMPLES:
        raise PromptError(
            f"of {len(queries)} answers to learning questions {len(found)} follow; {EXAMPLES} are needed"
        )
    return found[:EXAMPLES]


METHODS = [
    Method("wording", "the strongest of ten wordings", wordings, "prompting", condition="instructed"),
    Method(
        "system",
        "the instruction as system prompt",
        system,
        "prompting",
        condition="instructed",
        chosen=False,
    ),
    Method("examples", "three examples in the prompt", examples, "Brown et al. 2020", condition="instructed"),
]
