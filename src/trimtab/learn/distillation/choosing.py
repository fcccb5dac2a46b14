"""Which teacher: chosen by what each gives on a few queries.

Told, most models follow most instructions, and then what they say when told is what is to be learned. Where that fails
too often, or is much shorter than what the model says by itself, the other teachers are tried on the same queries. A
teacher is *sound* if at least half of its answers pass, and those that do are about as long as plain answers (unless
the instruction is about length) and repeat themselves no more. Of the sound teachers the one is taken whose lessons
change least: KL(what the student is to expect || what it says by itself), per token of its answers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from trimtab.errors import SteeringError
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.lengths import FIRST_LIMIT, limit_for, told_length
from trimtab.learn.distillation.lessons import Lesson, taught
from trimtab.learn.distillation.loss import divergence_of
from trimtab.learn.distillation.targets import AtOnce, answer_logits, pad, teacher_targets
from trimtab.learn.distillation.tasks import Task, told
from trimtab.learn.distillation.teachers import Answer, Teacher, Teaching
from trimtab.measure.bounds import about_length
from trimtab.measure.quality import negative_log_likelihoods, repetition
from trimtab.measure.responses import follows
from trimtab.measure.statistics import mean, rounded
from trimtab.progress import Tell, part_of, silent

if TYPE_CHECKING:
    from trimtab.engines.base import Generation, Prompt
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

_STAGE = "choosing the teacher"
_SAMPLE = 16  # queries that teachers are tried on
_WELL = 0.75  # a sound told model that passes so often stays the teacher
_HALF = 0.5  # of its answers have to pass for a teacher to be sound
_SHORT = 0.7  # of the plain answers' length: shorter ones are not sound
_LOOPS = 0.05  # more repetition than plain answers have is not sound either: a student repeats more than its teacher
_TOP, _WEIGHT = 32, 0.5  # of what the student is to expect; see `targets`


@dataclass(frozen=True)
class Measured:
    """What a teacher gave on the sample; means are over its answers that pass, None without any.

    Attributes:
        teacher: Which one; `plain` for the model that is not told, whose answers all count as they are.
        passed: Share of the queries to which it gave an answer that can be learned from.
        sound: Whether its answers will do; see above.
        tokens: Mean length, in tokens.
        repetition: Mean share of repeated word 4-grams in its answers as it gave them, loops at the end included.
        nll: Mean nats per token under the plain model, given the query alone.
        change: KL(what the student is to expect || what it says by itself), in nats per token.
    """

    teacher: str
    passed: float
    sound: bool
    tokens: float | None
    repetition: float | None
    nll: float | None
    change: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON, rounded."""
        return {key: rounded(one) if isinstance(one, float) else one for key, one in asdict(self).items()}


@dataclass(frozen=True)
class Choice:
    """Which teacher was chosen, and by what.

    Attributes:
        teachers: The one chosen, then those to fall back on if it gives too few lessons.
        measured: The plain model, then every teacher that was tried.
        sample: On how many queries.
        told_followed: Share of all validation queries that the told model answers as instructed, at the first attempt.
        plain_lengths: Of the plain answers, in tokens.
        plain_cut: How many plain answers the limit cut off.
        max_new_tokens: The limit.
        note: Why teachers could not be tried; empty where all could.
    """

    teachers: tuple[Teacher, ...]
    measured: tuple[Measured, ...]
    sample: int
    told_followed: float
    plain_lengths: tuple[int, ...] = field(repr=False)
    plain_cut: int
    max_new_tokens: int
    note: str = ""

    @property
    def line(self) -> str:
        """What a person is told of it."""
        chosen = self.teachers[0]
        facts = [
            f"{one.teacher} passes {one.passed:.2f} of {self.sample}"
            + ("" if one.tokens is None else f" with {one.tokens:.0f} tokens, change {one.change or 0:.2f}")
            for one in self.measured[1:]
        ]
        plain = f"plain answers have {self.measured[0].tokens or 0:.0f}"
        if self.plain_cut:
            plain += f", {self.plain_cut} of {self.sample} cut off at {self.max_new_tokens}"
        return f"teacher {chosen} ({'; '.join([*facts, plain, *filter(None, [self.note])])})"

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Choice:
        """What `dataclasses.asdict` made of one."""
        measured = tuple(Measured(**one) for one in document["measured"])
        lists = {key: tuple(document[key]) for key in ("teachers", "plain_lengths")}
        return cls(**{**document, **lists, "measured": measured})


def choose(
    asking: Asking,
    instructions: Sequence[Instruction],
    queries: Sequence[str],
    *,
    teacher: Teacher | None = None,
    start: Steering | None = None,
    limited: bool = True,
    seed: int = 0,
    tell: Tell = silent,
) -> Choice:
    """Choose a teacher by its answers to a few queries, and how long answers may be.

    Args:
        asking: What asks the model; its limit is set.
        instructions: What is to be followed, all at once.
        queries: Validation queries; the first 16 are the sample.
        teacher: The one to take, if that is settled; the others are not tried then.
        start: What was learned so far; without it, nothing is steered.
        limited: Whether the limit stays as it is; otherwise it follows from the plain answers.
        seed: Draws wordings.
        tell: Told when it begins, and what it came to.

    Raises:
        SteeringError: The teacher that is to be taken cannot teach this.
    """
    sample = list(queries[:_SAMPLE])
    tell(_STAGE, 0)
    asking.tell = part_of(tell, _STAGE)
    if not limited:
        asking.lengthen(FIRST_LIMIT)
        asking.lengthen(limit_for(asking.greedily(sample)))
    rng = random.Random(f"{seed}/validation/lessons")  # the wordings that the validation lessons begin with
    said = [told(rng, Task.of(query), instructions, "validation") for query in queries]
    answers = asking.greedily([*sample, *said])
    count = len(sample)
    trying = _Trying(asking, tuple(instructions), sample, said[:count], answers[:count])

    is_told = trying.teaching("told")
    given = [is_told.answer(one, query) for one, query in zip(answers[count:], queries, strict=True)]
    told_followed = sum(one is not None for one in given) / len(given)
    measured = [trying.plain, trying.measured("told", answers[count : 2 * count], given[:count])]
    teachers: list[Teacher] = ["told"]
    note = ""
    if teacher is not None:
        if reason := trying.teaching(teacher).why_not(sample[0]):
            raise SteeringError(f"there is no teacher {teacher} for this: {reason}")
        teachers = [teacher]
    elif not (measured[1].sound and measured[1].passed >= _WELL):
        others, left, note = trying.others(start)
        measured += others
        teachers = best_first(measured[1:], left)
    choice = Choice(
        tuple(teachers),
        tuple(measured),
        count,
        told_followed,
        tuple(told_length(one) for one in answers[:count]),
        sum(not one.finished for one in answers[:count]),
        asking.max_new_tokens,
        note,
    )
    choice = asking.ranks.merge({"choice": choice} if asking.ranks.is_first else {})["choice"]
    tell(choice.line, 0)
    return choice


class _Trying:
    """A sample of queries with the plain answers to them, beside which those of teachers are measured."""

    def __init__(
        self,
        asking: Asking,
        instructions: tuple[Instruction, ...],
        queries: Sequence[str],
        said: Sequence[Prompt],
        answers: Sequence[Generation],
    ) -> None:
        self._asking, self._engine = asking, asking.engine
        self._instructions = instructions
        self._queries = list(queries)
        self._said = list(said)
        self._answers = list(answers)

    def teaching(self, teacher: Teacher) -> Teaching:
        return Teaching(self._engine, teacher, self._instructions)

    @cached_property
    def plain(self) -> Measured:
        passed = [
            follows(answer.text, query, self._instructions)
            for query, answer in zip(self._queries, self._answers, strict=True)
        ]
        written = [one.token_ids for one in self._answers]
        return Measured(
            "plain",
            sum(passed) / len(passed),
            True,
            mean(float(told_length(one)) for one in self._answers),
            mean(repetition(one.text) for one in self._answers),
            mean(negative_log_likelihoods(self._engine, self._queries, written)),
        )

    def measured(
        self, teacher: Teacher, given: Sequence[Generation], answers: Sequence[Answer | None]
    ) -> Measured:
        """What a teacher's answers are worth, as it gave them and as they are learned from, one for each query."""
        passed = [row for row, one in enumerate(answers) if one is not None]
        found = [
            taught(self.teaching(teacher), Task.of(query), one, query, said, thought).lesson
            for query, said, thought, one in zip(
                self._queries, self._said, self._asking.thoughts(self._queries), answers, strict=True
            )
            if one is not None
        ]
        lengths = [len(one.answer) - one.ended for one in found]
        tokens = mean(float(length) for length in lengths)
        # Of the whole answer: a student goes on where its lesson was cut off before a loop.
        repeats = mean(repetition(given[row].text) for row in passed)
        asked = [self._queries[row] for row in passed]
        written = [one.thought + one.answer[:length] for one, length in zip(found, lengths, strict=True)]
        long = about_length(self._instructions) or (tokens or 0) >= _SHORT * (self.plain.tokens or 0)
        sound = len(found) >= _HALF * len(answers) and (repeats or 0) <= (self.plain.repetition or 0) + _LOOPS
        return Measured(
            teacher,
            len(found) / len(answers),
            sound and long,
            tokens,
            repeats,
            mean(negative_log_likelihoods(self._engine, asked, written)),
            self._change(found) if found else None,
        )

    def others(self, start: Steering | None) -> tuple[list[Measured], list[Teacher], str]:
        """The other teachers; those that could be tried as well; and why some cannot.

        One that is told and constrained is tried only where the constraint alone does not do.
        """
        found: list[Measured] = []
        left: list[Teacher] = []
        reason = self.teaching("constrained").why_not(self._queries[0])
        held = [self.teaching("constrained").constraint(query) for query in self._queries]
        if reason is None:
            found.append(self._tried("constrained", self._asking.greedily(self._queries, constraints=held)))
        changed = self._tried("rewritten", self._answers)
        if changed.passed > self.plain.passed:  # a program mends what did not pass by itself
            found.append(changed)
        if reason is None and any(one.sound for one in found):
            left.append("told+constrained")
        elif reason is None:
            given = self._asking.greedily(self._said, constraints=held)
            found.append(self._tried("told+constrained", given))
        if start is not None:
            found.append(self._tried("steered", self._asking.greedily(self._said, steering=start)))
        return found, left, "" if reason is None else f"nothing can be constrained: {reason}"

    def _tried(self, teacher: Teacher, given: Sequence[Generation]) -> Measured:
        teaching = self.teaching(teacher)
        answers = [teaching.answer(one, query) for one, query in zip(given, self._queries, strict=True)]
        return self.measured(teacher, given, answers)

    def _change(self, lessons: Sequence[Lesson]) -> float:
        """What there is to learn in lessons, in nats per token."""
        count = AtOnce(len(lessons))
        everything = range(len(lessons))
        targets = teacher_targets(self._engine, lessons, everything, count, top=_TOP, answer_weight=_WEIGHT)

        def measure(at_once: int) -> float:
            total = 0.0
            for start in range(0, len(lessons), at_once):
                some = everything[start : start + at_once]
                rows = pad(
                    [lessons[one].context for one in some],
                    [lessons[one].answer for one in some],
                    self._engine.device,
                )
                with torch.inference_mode():
                    logits = answer_logits(self._engine, rows)
                    total += divergence_of(logits, [targets[one] for one in some])
            return total

        return count.fit(measure) / sum(len(one.answer) for one in lessons)


def best_first(measured: Sequence[Measured], left: Sequence[Teacher] = ()) -> list[Teacher]:
    """The teachers: the sound ones first, then those half of whose answers pass, then who passes most.

    Among the sound ones, and among those of the second kind, the one whose lessons change least is first. Those that
    were not tried, `left`, come after the sound ones.
    """

    def rank(one: Measured) -> tuple[bool, bool, float]:
        often = one.passed >= _HALF
        return not one.sound, not often, one.change or 0.0 if often else -one.passed

    found: list[Any] = [one.teacher for one in sorted(measured, key=rank)]
    sound = sum(one.sound for one in measured)
    return [*found[:sound], *left, *found[sound:]]
