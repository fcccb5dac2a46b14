"""Lessons: answers that follow an instruction, each with the prompt that the student is to give it to.

- `plain`: the query alone. This is what a steering is for.
- `instructed`: the query with the instruction, so that steering on top of the instruction does not disturb it.
- `other`: the query with another instruction, which a teacher that is told has beside its own, so that steerings work
  together with what prompts ask for and with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from trimtab.constraint import Constraint
from trimtab.engines.chat import prompt_ids
from trimtab.learn.distillation.teachers import Answer, Teacher, Teaching

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.learn.distillation.tasks import Task

Kind = Literal["plain", "instructed", "other"]


@dataclass(frozen=True)
class Lesson:
    """One answer to learn.

    Attributes:
        kind: What the student's prompt holds.
        student: Token ids of the student's prompt.
        teacher: Token ids of the prompt given which the student is to expect what it says, mostly the one the answer
            was given to, and of what the teacher thought.
        answer: Token ids of the answer, its end token included if it came to its end.
        ended: Whether it did.
        constraint: What the teacher's distribution is held to; None where to nothing.
        drawn: Whether the answer was drawn from that distribution, and not chosen or changed because it passes.
        original: Token ids of the answer that a program changed into this one, its end token included if it came to its
            end: what the teacher reads. Empty where none did.
        thought: Token ids between the student's prompt and the answer, of which nothing is learned: what it thinks by
            itself, or what closes a thought. Empty where the model marks no thoughts.
    """

    kind: Kind
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    answer: tuple[int, ...]
    ended: bool = True
    constraint: Constraint | None = None
    drawn: bool = False
    original: tuple[int, ...] = ()
    thought: tuple[int, ...] = ()

    @property
    def context(self) -> tuple[int, ...]:
        """All that the student reads before it answers."""
        return self.student + self.thought

    @property
    def is_near(self) -> bool:
        """Whether it teaches what the model says untold, but for what it must not say or a program changed."""
        return (self.drawn or bool(self.original)) and (
            self.kind == "instructed" or self.context == self.teacher
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

    lessons: tuple[Lesson, ...] = field(repr=False)
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


def taught(
    teaching: Teaching,
    task: Task,
    answer: Answer,
    student: Prompt,
    said: Prompt,
    thought: tuple[int, ...] = (),
) -> Found:
    """What a teacher's answer to a task teaches.

    Here it is decided what the student is to expect: given which prompt, and held to what. What a told teacher thinks
    gives the instruction away, so a student that is not told reads its own thought instead.

    Args:
        teaching: The teacher.
        task: What was asked.
        answer: What there is to say.
        student: The prompt of a student that is not told.
        said: That of one that is.
        thought: What a student that is not told thinks by itself (`Asking.thoughts`).
    """
    plain, instructed = (tuple(prompt_ids(teaching.engine.tokenizer, prompt)) for prompt in (student, said))
    constraint = teaching.constraint(task.query)
    by_itself = not teaching.is_told
    expecting = plain if by_itself else instructed
    # A constrained answer begins at once.
    before = tuple(teaching.engine.thoughts.lead(expecting)) if teaching.is_held else answer.thought
    lesson = Lesson(
        kind="plain" if task.other is None else "other",
        student=plain,
        teacher=expecting + before,
        answer=answer.tokens,
        ended=answer.ended,
        constraint=constraint,
        drawn=teaching.is_held,
        original=answer.original,
        thought=before if by_itself else thought,
    )
    return Found(lesson, replace(lesson, kind="instructed", student=instructed, thought=before))
