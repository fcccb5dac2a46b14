"""What a distillation learns from and validates with: the teacher, its lessons, and what is expected in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import SteeringError
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.choosing import Choice, choose
from trimtab.learn.distillation.gathering import TooFewAnswersError, gather
from trimtab.learn.distillation.lengths import USUAL_LIMIT, quantiles
from trimtab.learn.distillation.lesson_files import kept_choice, kept_lessons, kept_queries
from trimtab.learn.distillation.lessons import Lessons
from trimtab.learn.distillation.targets import AtOnce, Targets, teacher_targets
from trimtab.learn.distillation.tempting import tempting_queries
from trimtab.measure.responses import all_follow
from trimtab.progress import part_of

if TYPE_CHECKING:
    from trimtab.engines.ranks import Ranks
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.learn.distillation.schedule import Schedule
    from trimtab.learn.distillation.teachers import Teacher
    from trimtab.progress import Tell
    from trimtab.steering.steering import Steering

_HELD = 0.95  # of queries: what a student of a teacher that cannot fail shall follow
_AT_ONCE = 16  # lessons that go through the teacher together
_BRIEF, _SEARCH = (
    64,
    64,
)  # where plain answers have more tokens, fewer queries are searched for those that tempt
_SELDOM = 0.25  # of plain answers follow by themselves: then every query tempts, and none is looked for


@dataclass(frozen=True)
class Material:
    """What is learned from.

    Attributes:
        queries: Those to learn on, or pairs.
        lessons: What they gave.
        examples: The same of those to validate with.
        choice: How the teacher was chosen; None of prompt pairs, whose teacher is told.
        asking: What asked the model, and knows the greedy answers.
        judged: Share of the validation queries that the told model answers as instructed, where lessons are not chosen
            by that; None where they are.
    """

    queries: list[Any]
    lessons: Lessons
    examples: Lessons
    choice: Choice | None
    asking: Asking
    judged: float | None = None

    @property
    def teacher(self) -> Teacher:
        """Whose answers are learned from."""
        return self.lessons.teacher

    @property
    def told_followed(self) -> float:
        """Share of the validation queries that the told model answers as instructed, at the first attempt."""
        if self.judged is not None:
            return self.judged
        if self.choice is None or self.teacher == "told":
            return self.examples.first_time
        return self.choice.told_followed

    @property
    def enough(self) -> float:
        """Share of them that a steering shall follow: as the told model and the teacher do.

        A teacher that is held to a constraint always does, which no student can.
        """
        if self.judged is not None:
            return self.judged
        taught = self.examples.first_time if self.teacher in ("told", "steered") else _HELD
        return max(self.told_followed, min(taught, self.examples.first_time))

    def settings(self) -> dict[str, Any]:
        """For the record: the teacher, and the tenth, half and nine tenths of lengths in tokens."""
        plain = () if self.choice is None else self.choice.plain_lengths
        lengths = {"lessons": quantiles(self.lessons.lengths), "plain": quantiles(plain)}
        thoughts = self.asking.engine.thoughts
        return {
            "teacher": self.teacher,
            "max_new_tokens": self.asking.max_new_tokens,
            "cut_off": self.lessons.cut,
            "lengths": {name: one for name, one in lengths.items() if one},
            **({} if thoughts is None or thoughts.is_trivial else {"thoughts": thoughts.form.name}),
        }


@dataclass(frozen=True)
class Finding:
    """How material is found.

    Attributes:
        engine: The model that teaches.
        instructions: What is to be followed, all at once.
        ranks: The processes that share the work.
        seed: Chooses wordings and samples.
        tell: Told of it.
        teacher: Which; None chooses.
        start: What was learned so far.
        max_new_tokens: The longest answer; None lets it follow from the model's own.
        folder: Where what was found is kept, and read again.
    """

    engine: TransformersEngine
    instructions: Sequence[Instruction]
    ranks: Ranks
    seed: int
    tell: Tell
    teacher: Teacher | None = None
    start: Steering | None = None
    max_new_tokens: int | None = None
    folder: Path | None = None

    def find(
        self,
        learning: Sequence[Any],
        held_out: Sequence[Any],
        *,
        paired: bool = False,
        pool: Sequence[str] = (),
        **options: Any,
    ) -> Material:
        """What there is to learn from queries, and to validate with.

        Args:
            learning: Queries, or pairs, to learn on.
            held_out: Others to validate with.
            paired: Whether they are pairs.
            pool: As of `distill`.
            **options: `phrasings`, `instructed`, `others` and `other`, as of `distill`.

        Raises:
            TooFewAnswersError: No teacher gives enough answers that pass.
            SteeringError: The teacher that is asked for cannot teach this.
        """
        if paired and self.teacher not in (None, "told"):
            raise SteeringError(
                f"prompt pairs are learned from as they are: their teacher is told, not {self.teacher}"
            )
        # All that decides which lessons come out.
        what = [self.engine.identity, self.instructions, learning, pool, held_out, options]
        what += [self.max_new_tokens, self.seed, self.start and self.start.digest(), self.teacher]
        if not self.engine.thoughts.is_trivial:
            what.append(self.engine.thoughts.form)
        asking = Asking(self.engine, self.max_new_tokens or USUAL_LIMIT, self.ranks)
        choice = None if paired else self._chosen(what, asking, held_out)
        limit = asking.max_new_tokens if choice is None else choice.max_new_tokens
        if limit != asking.max_new_tokens:
            asking.lengthen(limit)
        queries = list(learning)
        if pool and choice is not None and choice.measured[0].passed > _SELDOM:
            usual = sum(choice.plain_lengths) / len(choice.plain_lengths)
            some = pool if usual <= _BRIEF else pool[:_SEARCH]

            def followed(asked: Sequence[str]) -> Sequence[bool]:
                asking.tell = part_of(self.tell, "looking for questions that tempt")
                return all_follow([one.text for one in asking.greedily(asked)], asked, self.instructions)

            look = partial(tempting_queries, queries, some, followed, seed=self.seed)
            queries = kept_queries(self._path("queries"), what, self.ranks, look)

        def gathered(name: str, asked: Sequence[Any], teacher: Teacher, **settings: Any) -> Lessons:
            """The lessons of one teacher, from a file if they are there."""
            make: Callable[[], Lessons] = partial(
                gather,
                self.engine,
                asked,
                self.instructions,
                teacher=teacher,
                asking=asking,
                plain_lengths=() if choice is None else choice.plain_lengths,
                helper=self.start,
                seed=self.seed,
                tell=self.tell,
                **settings,
            )
            return kept_lessons(self._path(name), [*what, teacher], self.ranks, make)

        teachers = ("told",) if choice is None else choice.teachers
        lessons = self._first(
            teachers, lambda one: gathered("lessons", queries, one, split="learning", **options)
        )
        examples = gathered("validation", held_out, lessons.teacher, split="validation", least=0)
        return Material(queries, lessons, examples, choice, asking)

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.json"

    def _chosen(self, what: Sequence[Any], asking: Asking, held_out: Sequence[str]) -> Choice:
        make = partial(
            choose,
            asking,
            self.instructions,
            held_out,
            teacher=self.teacher,
            start=self.start,
            limited=self.max_new_tokens is not None,
            seed=self.seed,
            tell=self.tell,
        )
        return kept_choice(self._path("teacher"), what, self.ranks, make)

    def _first(self, teachers: Sequence[Teacher], gathered: Callable[[Teacher], Lessons]) -> Lessons:
        """The lessons of the first teacher that gives enough."""
        failed: list[TooFewAnswersError] = []
        for teacher in teachers:
            try:
                return gathered(teacher)
            except TooFewAnswersError as error:
                failed.append(error)
                self.tell(f"teacher {teacher} gives too few answers that pass", 0)
        others = f"; nor is there enough from the other teachers ({', '.join(teachers[1:])})"
        raise TooFewAnswersError(f"{failed[0]}{others if len(teachers) > 1 else ''}")


def targets_of(
    engine: TransformersEngine,
    material: Material,
    schedule: Schedule,
    ranks: Ranks,
    steering: Steering | None,
) -> dict[int, Targets]:
    """What the student expects where the teacher is steered; elsewhere nothing, as a course finds that by itself."""
    if material.teacher != "steered":
        return {}
    lessons = [*material.lessons.lessons, *material.examples.lessons]
    order = sorted(range(len(lessons)), key=lambda one: len(lessons[one].teacher + lessons[one].answer))
    found = teacher_targets(
        engine,
        lessons,
        ranks.share(order),
        AtOnce(schedule.batch_size or _AT_ONCE),
        top=schedule.top,
        answer_weight=schedule.answer_weight,
        steering=steering,
    )
    return ranks.merge(found)
