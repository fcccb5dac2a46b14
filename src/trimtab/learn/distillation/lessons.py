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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from trimtab.engines.chat import prompt_ids
from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError, SteeringError
from trimtab.prompts.queries import Split

if TYPE_CHECKING:
    from trimtab.engines.base import Generation
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering


class TooFewAnswersError(PromptError):
    """The instructed model follows too seldom to be learned from."""


Kind = Literal["plain", "instructed", "other"]

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
class _Task:
    """One query to be answered until an answer passes."""

    query: str
    other: Instruction | None


def gather(
    engine: TransformersEngine,
    queries: Sequence[str],
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
    on_round: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Have the instructed model answer, and keep what follows.

    Args:
        engine: The model.
        queries: Base queries.
        instructions: What the answers shall follow, all at once.
        split: Whose phrasings say so.
        phrasings: In how many wordings every query is asked.
        instructed: How many `instructed` lessons for each plain one.
        others: Instructions that may stand in the prompts of `other` lessons.
        other: For what share of the queries there shall be one more question, with another instruction.
        helper: A steering under which the teacher answers when it fails otherwise: told and steered, it may manage
            what it does not when told only.
        max_new_tokens: Longest answer, in tokens.
        least: Fewer plain lessons than this are an error.
        seed: Chooses wordings and samples.
        ranks: The processes that share the work.
        on_round: Told how many queries are answered, and of how many, after each round.

    Raises:
        TooFewAnswersError: Too few answers pass; the message says how many.
        PromptError: An instruction has no phrasing in the split.
    """
    rng = random.Random(f"{seed}/{split}/lessons")
    tasks = [_Task(query, None) for _ in range(phrasings) for query in queries]
    if others and other:
        chosen = rng.sample(list(queries), max(1, round(other * len(queries))))
        tasks += [_Task(query, rng.choice(list(others))) for query in chosen]

    end = end_token(engine)
    found: dict[int, Lesson] = {}
    answers = 0
    first_time = 0.0
    for number, temperature in enumerate(_TEMPERATURES):
        open_tasks = [place for place in range(len(tasks)) if place not in found]
        if not open_tasks:
            break
        wordings = [_wording(rng, tasks[place], instructions, split) for place in open_tasks]
        generations = _answer(
            engine,
            [f"{tasks[place].query} {words}" for place, words in zip(open_tasks, wordings, strict=True)],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            steering=helper if number else None,
            seed=seed + number,
            ranks=ranks or Ranks(),
        )
        answers += len(open_tasks)
        for place, words, generation in zip(open_tasks, wordings, generations, strict=True):
            if not (generation.finished and _passes(generation.text, tasks[place], instructions)):
                continue
            found[place] = _lesson(engine, tasks[place], words, rng, split, generation, end)
        if number == 0:
            own = [place for place, task in enumerate(tasks) if task.other is None]
            first_time = sum(place in found for place in own) / len(own)
        if on_round is not None:
            on_round(len(found), len(tasks))

    plain = [found[place] for place, task in enumerate(tasks) if task.other is None and place in found]
    if len(plain) < least:
        names = " and ".join(instruction.label for instruction in instructions)
        asked = sum(task.other is None for task in tasks)
        raise TooFewAnswersError(
            f"told to, {engine.identity.id} follows {names} in {len(plain)} of {asked} questions, even when asked "
            f"{len(_TEMPERATURES)} times; {least} such answers are needed to learn from: give more queries (--pairs), "
            "or a longer limit if answers are cut off (--max-new-tokens)"
        )
    lessons = [found[place] for place in sorted(found)]
    told = rng.sample(plain, min(len(plain), round(instructed * len(plain))))
    lessons += [Lesson("instructed", one.teacher, one.teacher, one.answer) for one in told]
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
    """Common instructions that can stand beside others in a prompt.

    Args:
        instructions: The others.
    """
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
    """A token to end answers with. Which of several does not matter: it is predicted only, by a whole distribution."""
    end = engine.model.generation_config.eos_token_id
    if end is None:
        end = engine.tokenizer.eos_token_id
    return int(end[0] if isinstance(end, list | tuple) else end or 0)


def _wording(rng: random.Random, task: _Task, instructions: Sequence[Instruction], split: Split) -> str:
    wanted = [*instructions, *([task.other] if task.other else [])]
    said = [_say(rng, instruction, task.query, split) for instruction in wanted]
    rng.shuffle(said)
    return " ".join(said)


def _say(rng: random.Random, instruction: Instruction, query: str, split: Split) -> str:
    phrasings = instruction.for_query(query).phrasings(split)
    if not phrasings:
        raise PromptError(f"the instruction {instruction.label} has no {split} phrasings; add some to it")
    return rng.choice(phrasings)


def _passes(text: str, task: _Task, instructions: Sequence[Instruction]) -> bool:
    wanted = [*instructions, *([task.other] if task.other else [])]
    return all(instruction.for_query(task.query).check(text) for instruction in wanted)


def _lesson(
    engine: TransformersEngine,
    task: _Task,
    words: str,
    rng: random.Random,
    split: Split,
    generation: Generation,
    end: int,
) -> Lesson:
    said = task.query
    if task.other is not None:
        said += " " + _say(rng, task.other, task.query, split)
    return Lesson(
        kind="plain" if task.other is None else "other",
        student=tuple(prompt_ids(engine.tokenizer, said)),
        teacher=tuple(prompt_ids(engine.tokenizer, f"{task.query} {words}")),
        answer=(*generation.token_ids, end),
    )


def _answer(
    engine: TransformersEngine,
    prompts: Sequence[str],
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
