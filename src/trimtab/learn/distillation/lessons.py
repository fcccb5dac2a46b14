"""Lessons: what the instructed model answers, kept only where the answer follows the instruction.

A lesson is one answer of the teacher (the model with the instruction in its prompt, unsteered) and the prompt under
which the student (the same model, steered) shall give it:

- `plain`: the query alone. What the steering is for.
- `instructed`: the query with the instruction, so that steering on top of the instruction does not disturb it.
- `other`: the query with another instruction, which the teacher was told beside its own, so that steerings work
  together with what prompts ask for and with each other.

An answer that fails the check is thrown away and the query answered again, in other words and then sampled: the
student learns from successes only and can end above its teacher.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from trimtab.engines.chat import prompt_ids
from trimtab.engines.ends import end_tokens
from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError, SteeringError
from trimtab.measure.responses import follows
from trimtab.progress import Tell, silent
from trimtab.prompts.pairs import PromptPair
from trimtab.prompts.queries import Split

if TYPE_CHECKING:
    from trimtab.engines.base import Generation, Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering


class TooFewAnswersError(PromptError):
    """The instructed model follows too seldom to be learned from."""


Kind = Literal["plain", "instructed", "other"]

_STAGE = "answering as instructed"
_GROUP = 32  # rows that are sampled together: fixed, so that any number of processes samples the same answers
_TEMPERATURES = (0.0, 0.0, 0.7, 1.0, 1.0)
"""Of the rounds in which queries are answered until one passes: twice greedily (in other words), then sampled."""


@dataclass(frozen=True)
class Lesson:
    """One answer to learn.

    Attributes:
        kind: What the student's prompt holds.
        student: Token ids of the student's prompt.
        teacher: Token ids of the prompt the answer was given to.
        answer: Token ids of the answer, its end token included.
    """

    kind: Kind
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Lessons:
    """What was gathered.

    Attributes:
        lessons: In an order that the seed decides.
        asked: How many queries (with each their phrasings) the teacher was given.
        passed: How many of them it answered as instructed, sooner or later.
        answers: How many answers it took.
        first_time: Share of the queries (asked without another instruction) that it answered as instructed at the
            first, greedy attempt.
    """

    lessons: tuple[Lesson, ...]
    asked: int
    passed: int
    answers: int
    first_time: float

    def count(self, kind: Kind) -> int:
        """How many lessons are of a kind."""
        return sum(lesson.kind == kind for lesson in self.lessons)


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


def gather(
    engine: TransformersEngine,
    queries: Sequence[str] | Sequence[PromptPair],
    instructions: Sequence[Instruction],
    split: Split,
    *,
    phrasings: int = 1,
    instructed: float = 0.0,
    others: Sequence[Instruction] = (),
    other: float = 0.0,
    helper: Steering | None = None,
    max_new_tokens: int = 256,
    least: int = 8,
    seed: int = 0,
    ranks: Ranks | None = None,
    tell: Tell = silent,
) -> Lessons:
    """Have the instructed model answer, and keep what follows.

    Args that `distill` does not have, or that mean more here:
        queries: Base queries; or prompt pairs, which say in their own words what is to be learned.
        instructions: What the answers shall follow, all at once; without any, every answer that ends is kept.
        split: Whose phrasings say so.
        helper: A steering under which the teacher answers when it fails otherwise: told and steered, it may manage
            what it does not when told only.
        least: Fewer plain lessons than this are an error.
        tell: Told how many queries are answered, after each round.

    Raises:
        TooFewAnswersError: Too few answers pass; the message says how many.
        PromptError: An instruction has no phrasing in the split.
    """
    rng = random.Random(f"{seed}/{split}/lessons")
    tasks = [Task.of(query) for _ in range(phrasings) for query in queries]
    if others and other:
        chosen = rng.sample(tasks[: len(queries)], max(1, round(other * len(queries))))
        tasks += [replace(task, other=rng.choice(list(others))) for task in chosen]

    tell(_STAGE, 0, len(tasks))
    end = end_token(engine)
    found: dict[int, Lesson] = {}
    answers = 0
    first_time = 0.0
    for number, temperature in enumerate(_TEMPERATURES):
        open_tasks = [place for place in range(len(tasks)) if place not in found]
        if not open_tasks:
            break
        told = [_told(rng, tasks[place], instructions, split) for place in open_tasks]
        generations = _answer(
            engine,
            told,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            steering=helper if number else None,
            seed=seed + number,
            ranks=ranks or Ranks(),
        )
        answers += len(open_tasks)
        for place, prompt, generation in zip(open_tasks, told, generations, strict=True):
            task = tasks[place]
            wanted = instructions if task.other is None else [*instructions, task.other]
            if generation.finished and follows(generation.text, task.query, wanted):
                student = (
                    task.plain
                    if task.other is None
                    else f"{task.query} {_say(rng, task.other, task.query, split)}"
                )
                found[place] = Lesson(
                    kind="plain" if task.other is None else "other",
                    student=tuple(prompt_ids(engine.tokenizer, student)),
                    teacher=tuple(prompt_ids(engine.tokenizer, prompt)),
                    answer=(*generation.token_ids, end),
                )
        if number == 0:
            own = [place for place, task in enumerate(tasks) if task.other is None]
            first_time = sum(place in found for place in own) / len(own)
        tell(_STAGE, len(found), len(tasks))

    plain = [found[place] for place, task in enumerate(tasks) if task.other is None and place in found]
    if len(plain) < least:
        names = " and ".join(one.label for one in instructions) or "its prompts to an end"
        asked = sum(task.other is None for task in tasks)
        raise TooFewAnswersError(
            f"told to, {engine.identity.id} follows {names} in {len(plain)} of {asked} questions, even when asked "
            f"{len(_TEMPERATURES)} times; {least} such answers are needed to learn from: give more queries (--pairs), "
            "or a longer limit if answers are cut off (--max-new-tokens)"
        )
    lessons = [found[place] for place in sorted(found)]
    twice = rng.sample(plain, min(len(plain), round(instructed * len(plain))))
    lessons += [Lesson("instructed", one.teacher, one.teacher, one.answer) for one in twice]
    rng.shuffle(lessons)
    return Lessons(tuple(lessons), len(tasks), len(found), answers, first_time)


def check_compatible(instructions: Sequence[Instruction]) -> None:
    """Make sure that one answer can follow all instructions.

    Raises:
        SteeringError: Two of them contradict each other; the message gives the reason.
    """
    for one, other in combinations(instructions, 2):
        reason = one.conflicts_with(other)
        if reason is not None:
            raise SteeringError(f"{one.label} and {other.label} cannot be followed at once: {reason}")


def check_learnable(instructions: Sequence[Instruction]) -> None:
    """Make sure that answers can be judged, and that one answer can follow all instructions.

    Raises:
        SteeringError: There is no instruction, one has no check, or two contradict each other.
    """
    if not instructions:
        raise SteeringError("there is no instruction to learn; give at least one")
    for one in instructions:
        if not one.can_check:
            raise SteeringError(
                f"{one.label} has no check, so nothing can tell which answers follow it: give it one, or do what needs "
                "none (learning: --method mean_difference; composing: --fit never)"
            )
    check_compatible(instructions)


def companions(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Common instructions that can stand beside these in a prompt."""
    from trimtab import instructions as catalogue

    get = catalogue.get
    common = [
        get(name) for name in ("json", "lowercase", "uppercase", "no_commas", "quotes", "title", "postscript")
    ]
    common += [get("bullets", num_bullets=3), get("sentences", at_most=2)]
    return [
        one
        for one in common
        if not any(one.name == other.name or one.conflicts_with(other) for other in instructions)
    ]


def end_token(engine: TransformersEngine) -> int:
    """The token that lessons end with: the one by which the model itself ends an answer."""
    ends = end_tokens(engine.model.generation_config, engine.tokenizer)
    return ends[0] if ends else 0


def _told(rng: random.Random, task: Task, instructions: Sequence[Instruction], split: Split) -> Prompt:
    """What the teacher is asked: what a pair says, or the query with a phrasing of every instruction."""
    if task.told is not None:
        return task.told
    wanted = instructions if task.other is None else [*instructions, task.other]
    said = [_say(rng, one, task.query, split) for one in wanted]
    rng.shuffle(said)
    return f"{task.query} {' '.join(said)}"


def _say(rng: random.Random, instruction: Instruction, query: str, split: Split) -> str:
    phrasings = instruction.for_query(query).phrasings(split)
    if not phrasings:
        raise PromptError(f"the instruction {instruction.label} has no {split} phrasings; add some to it")
    return rng.choice(phrasings)


def _answer(
    engine: TransformersEngine,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    steering: Steering | None,
    seed: int,
    ranks: Ranks,
) -> list[Generation]:
    """One answer per prompt, in order; each process gives those of its groups."""
    groups = [range(start, min(start + _GROUP, len(prompts))) for start in range(0, len(prompts), _GROUP)]
    mine: dict[int, list[Generation]] = {}
    for number in ranks.share(range(len(groups))):
        mine[number] = engine.generate(
            [prompts[row] for row in groups[number]],
            steering=steering,
            max_new_tokens=max_new_tokens,
            seed=seed * 10_007 + number,
            do_sample=temperature > 0,
            temperature=temperature or None,
        )
    everyone = ranks.merge(mine)
    return [generation for number in range(len(groups)) for generation in everyone[number]]
