"""Gathering lessons: a teacher answers, and what follows is kept.

An answer that fails the check is thrown away and the query answered again, in other words and then sampled: the
student learns from successes only and can end above its teacher.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.lengths import differ, matched
from trimtab.learn.distillation.lessons import Found, Lessons, taught
from trimtab.learn.distillation.tasks import Task, say, told
from trimtab.learn.distillation.teachers import Answer, Teacher, Teaching
from trimtab.measure.bounds import about_length
from trimtab.measure.responses import all_follow
from trimtab.progress import Tell, part_of, silent
from trimtab.prompts.pairs import PromptPair
from trimtab.prompts.queries import Split

if TYPE_CHECKING:
    from trimtab.engines.base import Generation, Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

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


FEWEST = 6
"""Answers that pass, to be learned from. Of so many queries hardly all are answered well: take some more."""


class TooFewAnswersError(PromptError):
    """The teacher follows too seldom to be learned from."""


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
    least: int = FEWEST,
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
        if any(one.judge_in_place is not None for one in teaching.instructions):
            # Judges read them at once, and know them when they are asked for one after the other.
            read = [teaching.read(one, teaching.instructions) for one in given]
            there = [(one[0], task.query) for one, task in zip(read, tasks, strict=True) if one and one[0]]
            all_follow([text for text, _ in there], [query for _, query in there], teaching.instructions)
        passed = [
            self._passed(task, prompt, one) for task, prompt, one in zip(tasks, asked, given, strict=True)
        ]
        students = [student for _, _, student, _ in filter(None, passed)]
        thoughts = iter(self.asking.thoughts(students) if teaching.is_told else [()] * len(students))
        return [None if one is None else taught(teaching, *one, next(thoughts)) for one in passed]

    def _passed(
        self, task: Task, asked: Prompt, given: Generation
    ) -> tuple[Task, Answer, Prompt, Prompt] | None:
        answer = self.teaching.answer(given, task.query, task.other)
        if answer is None:
            return None
        if self.teaching.is_told:
            student, said = self._student(task), asked
        else:
            student, said = asked, told(self.rng, task, self.teaching.instructions, self.split)
        return task, answer, student, said

    def _student(self, task: Task) -> Prompt:
        """The student's prompt: the query, with the other instruction if there is one."""
        if task.other is None:
            return task.plain
        return f"{task.query} {say(self.rng, task.other, task.query, self.split)}"


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
