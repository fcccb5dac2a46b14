"""Lessons: the teacher's answers, kept only where they follow the instruction.

A lesson is one answer of the teacher (`teachers`: the model with the instruction in its prompt, or held to it in
another way) and the prompt under which the student (the same model, steered) shall give it:

- `plain`: the query alone. What the steering is for.
- `instructed`: the query with the instruction, so that steering on top of the instruction does not disturb it.
- `other`: the query with another instruction, which a teacher that is told has beside its own, so that steerings work
  together with what prompts ask for and with each other.

An answer that fails the check is thrown away and the query answered again, in other words and then sampled: the
student learns from successes only and can end above its teacher.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from trimtab.constraint import Constraint
from trimtab.engines.chat import prompt_ids
from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.lengths import differ, matched
from trimtab.learn.distillation.teachers import Answer, Teacher, Teaching
from trimtab.measure.bounds import about_length
from trimtab.progress import Tell, part_of, silent
from trimtab.prompts.pairs import PromptPair
from trimtab.prompts.queries import Split

if TYPE_CHECKING:
    from trimtab.engines.base import Generation, Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering


class TooFewAnswersError(PromptError):
    """The teacher follows too seldom to be learned from."""


Kind = Literal["plain", "instructed", "other"]

_STAGES: dict[Teacher, str] = {
    "told": "answering as instructed",
    "told+constrained": "answering as instructed, under a constraint",
    "constrained": "answering under a constraint",
    "rewritten": "answering, to be rewritten",
    "steered": "answering as instructed and steered",
}
_TEMPERATURES = (0.0, 0.0, 0.7, 1.0, 1.0)
"""Of the rounds in which queries are answered until one passes: twice greedily (in other words), then sampled."""

_FEWER_TEMPERATURES = (0.0, 0.7, 1.0)  # of teachers that pass at once, or not for want of trying
_MOST = 0.75  # of the queries: if so many are answered, such teachers are not asked again
_WELL = 0.75  # a told model that passes so often at once is learned from as it is


@dataclass(frozen=True)
class Lesson:
    """One answer to learn.

    Attributes:
        kind: What the student's prompt holds.
        student: Token ids of the student's prompt.
        teacher: Token ids of the prompt given which the student is to expect what it says: mostly the one the answer
            was given to.
        answer: Token ids of the answer, its end token included if it came to its end.
        ended: Whether it did.
        constraint: What the teacher's distribution is held to; None where to nothing.
        drawn: Whether the answer was drawn from that distribution, and not chosen or changed because it passes.
        original: Token ids of the answer that a program changed into this one, its end token included if it came to its
            end: what the teacher reads. Empty where none did.
    """

    kind: Kind
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    answer: tuple[int, ...]
    ended: bool = True
    constraint: Constraint | None = None
    drawn: bool = False
    original: tuple[int, ...] = ()

    @property
    def is_near(self) -> bool:
        """Whether it teaches what the model says untold, but for what it must not say or a program changed."""
        return (self.drawn or bool(self.original)) and (
            self.kind == "instructed" or self.student == self.teacher
        )


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
        teacher: Whose answers they are.
        cut: How many of the answers it took were cut off by the limit of new tokens.
    """

    lessons: tuple[Lesson, ...]
    asked: int
    passed: int
    answers: int
    first_time: float
    teacher: Teacher = "told"
    cut: int = 0

    def count(self, kind: Kind) -> int:
        """How many lessons are of a kind."""
        return sum(lesson.kind == kind for lesson in self.lessons)

    @property
    def lengths(self) -> list[int]:
        """How many tokens each plain lesson teaches, the end token left out."""
        return [len(one.answer) - one.ended for one in self.lessons if one.kind == "plain"]


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
    teacher: Teacher = "told",
    asking: Asking | None = None,
    plain_lengths: Sequence[int] = (),
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
    """Have a teacher answer, and keep what follows.

    Args that `distill` does not have, or that mean more here:
        queries: Base queries; or prompt pairs, which say in their own words what is to be learned, to the model that is
            told.
        instructions: What the answers shall follow, all at once; without any, every answer that ends is kept.
        split: Whose phrasings say so.
        teacher: Who answers.
        asking: What asks it, with `max_new_tokens` and `ranks` of its own; one made of those by default.
        plain_lengths: Lengths of plain answers in tokens, which those of the lessons shall follow.
        helper: A steering under which the teacher answers when it fails otherwise: told and steered, it may manage
            what it does not when told only. The teacher `steered` answers under it from the start.
        least: Fewer plain lessons than this are an error.
        tell: Told how many queries are answered, after each round.

    Raises:
        TooFewAnswersError: Too few answers pass; the message says how many.
        PromptError: An instruction has no phrasing in the split.
    """
    asking = asking or Asking(engine, max_new_tokens, ranks)
    gathering = _Gathering(
        asking,
        Teaching(engine, teacher, tuple(instructions)),
        random.Random(f"{seed}/{split}/lessons"),
        split,
        helper,
        seed,
    )
    rng = gathering.rng
    tasks = [Task.of(query) for _ in range(phrasings) for query in queries]
    if others and other:
        chosen = rng.sample(tasks[: len(queries)], max(1, round(other * len(queries))))
        tasks += [replace(task, other=rng.choice(list(others))) for task in chosen]
    own = [place for place, task in enumerate(tasks) if task.other is None]

    stage = _STAGES[teacher]
    tell(stage, 0, len(tasks))
    found: dict[int, list[Found]] = {}
    first_time = 0.0
    patient = teacher in ("told", "steered")
    for number, temperature in enumerate(_TEMPERATURES if patient else _FEWER_TEMPERATURES):
        open_tasks = [place for place in range(len(tasks)) if place not in found]
        if not open_tasks or (not patient and len(found) >= _MOST * len(tasks)):
            break
        asking.tell = part_of(tell, stage, len(found), len(tasks))
        answered = gathering.round([tasks[place] for place in open_tasks], number, temperature)
        found |= {place: [one] for place, one in zip(open_tasks, answered, strict=True) if one is not None}
        if number == 0:
            first_time = sum(place in found for place in own) / len(own)
        tell(stage, len(found), len(tasks))

    plain = [place for place in own if place in found]
    if len(plain) < least:
        raise TooFewAnswersError(_too_few(gathering.teaching, len(plain), len(own), least))
    mend = not about_length(instructions) and (not patient or first_time < _WELL)
    if mend and differ([found[place][0].length for place in plain], plain_lengths):
        tell(f"{stage}, to choose by length", 0, len(plain))
        again = gathering.round([tasks[place] for place in plain], len(_TEMPERATURES), 0.7)
        for place, one in zip(plain, again, strict=True):
            found[place] += [] if one is None else [one]
        best = matched([[one.length for one in found[place]] for place in plain], plain_lengths)
        for place, which in zip(plain, best, strict=True):
            found[place] = [found[place][which]]
    lessons = [found[place][0].lesson for place in sorted(found)]
    twice = rng.sample(plain, min(len(plain), round(instructed * len(plain))))
    lessons += [found[place][0].instructed for place in twice]
    rng.shuffle(lessons)
    return Lessons(
        tuple(lessons), len(tasks), len(found), gathering.answers, first_time, teacher, gathering.cut
    )


@dataclass(frozen=True)
class Found:
    """What one answer teaches.

    Attributes:
        lesson: The student that is not told.
        instructed: The student that is.
    """

    lesson: Lesson
    instructed: Lesson

    @property
    def length(self) -> int:
        """How many tokens it teaches to say, the end token left out."""
        return len(self.lesson.answer) - self.lesson.ended


def taught(teaching: Teaching, task: Task, answer: Answer, student: Prompt, said: Prompt) -> Found:
    """What a teacher's answer to a task teaches.

    Here it is decided what the student is to expect: given which prompt, and held to what.

    Args:
        teaching: The teacher.
        task: What was asked.
        answer: What there is to say.
        student: The prompt of a student that is not told.
        said: That of one that is.
    """
    plain, instructed = (tuple(prompt_ids(teaching.engine.tokenizer, prompt)) for prompt in (student, said))
    constraint = teaching.constraint(task.query)
    by_itself = not teaching.is_told
    lesson = Lesson(
        kind="plain" if task.other is None else "other",
        student=plain,
        teacher=plain if by_itself else instructed,
        answer=answer.tokens,
        ended=answer.ended,
        constraint=constraint,
        drawn=teaching.is_held,
        original=answer.original,
    )
    expecting = plain if by_itself else instructed
    return Found(lesson, replace(lesson, kind="instructed", student=instructed, teacher=expecting))


@dataclass
class _Gathering:
    """Rounds of asking one teacher; counts its answers, and those that were cut off."""

    asking: Asking
    teaching: Teaching
    rng: random.Random
    split: Split
    helper: Steering | None
    seed: int
    answers: int = 0
    cut: int = 0

    def round(self, tasks: Sequence[Task], number: int, temperature: float) -> list[Found | None]:
        """What each task's answer teaches; None where it does not pass."""
        teaching = self.teaching
        asked = [
            told(self.rng, task, teaching.instructions, self.split)
            if teaching.is_told
            else self._student(task)
            for task in tasks
        ]
        held = [teaching.constraint(task.query) if teaching.is_held else None for task in tasks]
        steering = self.helper if number or teaching.teacher == "steered" else None
        if temperature:
            seed = self.seed + number
            given = self.asking.sampled(asked, temperature, seed, constraints=held, steering=steering)
        else:
            given = self.asking.greedily(asked, constraints=held, steering=steering)
        self.answers += len(tasks)
        self.cut += sum(not one.finished for one in given)
        return [self._found(task, prompt, one) for task, prompt, one in zip(tasks, asked, given, strict=True)]

    def _found(self, task: Task, asked: Prompt, given: Generation) -> Found | None:
        answer = self.teaching.answer(given, task.query, task.other)
        if answer is None:
            return None
        if self.teaching.is_told:
            student, said = self._student(task), asked
        else:
            student, said = asked, told(self.rng, task, self.teaching.instructions, self.split)
        return taught(self.teaching, task, answer, student, said)

    def _student(self, task: Task) -> Prompt:
        """The student's prompt: the query, with the other instruction if there is one."""
        if task.other is None:
            return task.plain
        return f"{task.query} {_say(self.rng, task.other, task.query, self.split)}"


def _too_few(teaching: Teaching, passed: int, asked: int, least: int) -> str:
    names = " and ".join(one.label for one in teaching.instructions) or "its prompts to an end"
    times = len(_TEMPERATURES if teaching.teacher in ("told", "steered") else _FEWER_TEMPERATURES)
    how = {
        "told": "told to",
        "told+constrained": "told to and held to a constraint",
        "constrained": "held to a constraint",
        "rewritten": "its answers rewritten",
        "steered": "told to and steered",
    }[teaching.teacher]
    return (
        f"{how}, {teaching.engine.identity.id} follows {names} in {passed} of {asked} questions, even when asked "
        f"{times} times; {least} such answers are needed to learn from: give more queries (--pairs), or a longer limit "
        "if answers are cut off (--max-new-tokens)"
    )


def told(rng: random.Random, task: Task, instructions: Sequence[Instruction], split: Split) -> Prompt:
    """What a model that is told is asked: what a pair says, or the query with a phrasing of every instruction."""
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
