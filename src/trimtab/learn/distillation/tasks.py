"""What a teacher is asked: a query in its own words, and the words that say the instructions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import PromptError
from trimtab.prompts.pairs import PromptPair
from trimtab.prompts.queries import Split

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.instructions import Instruction


@dataclass(frozen=True)
class Task:
    """One prompt that the teacher answers until an answer passes.

    Attributes:
        query: The query that checks may want to know.
        plain: The student's prompt.
        told: The teacher's, where a pair says it; None where phrasings do.
        other: Another instruction, to stand in both prompts.
    """

    query: str
    plain: Prompt
    told: Prompt | None = None
    other: Instruction | None = None

    @classmethod
    def of(cls, query: str | PromptPair) -> Task:
        """What is asked for a base query, or a pair."""
        if isinstance(query, PromptPair):
            return cls(query.query, query.plain, query.instructed)
        return cls(query, query)


def told(rng: random.Random, task: Task, instructions: Sequence[Instruction], split: Split) -> Prompt:
    """What a model that is told is asked: what a pair says, or the query with a phrasing of every instruction."""
    if task.told is not None:
        return task.told
    wanted = instructions if task.other is None else [*instructions, task.other]
    said = [say(rng, one, task.query, split) for one in wanted]
    rng.shuffle(said)
    return f"{task.query} {' '.join(said)}"


def told_pairs(
    queries: Sequence[str], instructions: Sequence[Instruction], split: Split, seed: int, times: int = 1
) -> list[PromptPair]:
    """Each query, so many times, beside itself with a phrasing of every instruction."""
    rng = random.Random(f"{seed}/{split}/lessons")
    return [
        PromptPair(query, told(rng, Task.of(query), instructions, split))
        for _ in range(times)
        for query in queries
    ]


def say(rng: random.Random, instruction: Instruction, query: str, split: Split) -> str:
    """A phrasing of an instruction, drawn from those of a split.

    Raises:
        PromptError: It has none there.
    """
    phrasings = instruction.for_query(query).phrasings(split)
    if not phrasings:
        raise PromptError(f"the instruction {instruction.label} has no {split} phrasings; add some to it")
    return rng.choice(phrasings)
