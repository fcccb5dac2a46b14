"""How edits do on validation queries: how often they follow, and at what quality beside plain answers.

Edits that follow and spoil the text are worth little, so the choice among sets of edits goes by both: what is within
the bounds of quality (`trimtab.measure.bounds`) before what is not. What the instruction costs by itself is allowed:
answers may be as unusual and as repetitive as those that the edits are held to, the answers of validation lessons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from trimtab.engines.base import Generation
from trimtab.engines.chat import prompt_ids
from trimtab.engines.ranks import Ranks
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.teachers import end_token
from trimtab.measure import facts as closed_book
from trimtab.measure.bounds import Bounds, Comparison, about_length, compare
from trimtab.measure.quality import FactCheck, Quality
from trimtab.measure.responses import Response, all_follow, measured, quality_of

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction
    from trimtab.learn.distillation.lessons import Lesson
    from trimtab.learn.distillation.tasks import Task
    from trimtab.measure.scorer import Scorer
    from trimtab.steering.steering import Steering


@dataclass(frozen=True)
class Examined:
    """What a set of edits came to on validation queries.

    Attributes:
        followed: The share of queries that it follows, without the instruction in the prompt.
        comparison: The quality of its answers beside that of plain ones.
    """

    followed: float
    comparison: Comparison


class Examination:
    """Validation queries, answered by one set of edits after the other.

    Args:
        engine: The model.
        tasks: The validation queries.
        wanted: What shall be followed.
        lessons: Answers to them that follow, which the edits are held to; there may be none.
        max_new_tokens: Longest answer, in tokens.
        asking: What asks the model, and may know answers already; one is made by default.
        bounds: How much worse than plain answers those of edits may be; the defaults when None.
        facts: Judges the truth of an answer to a query; None leaves it out.
        scorer: Another model, which scores answers; None leaves it out.
        questions: How many closed-book questions to ask plain and steered; 0 for none. A built-in model is asked none.
        ranks: The processes that share the work: all call alike, and all find the same.
    """

    def __init__(
        self,
        engine: TransformersEngine,
        tasks: Sequence[Task],
        wanted: Sequence[Instruction],
        lessons: Sequence[Lesson] = (),
        *,
        max_new_tokens: int = 192,
        asking: Asking | None = None,
        bounds: Bounds | None = None,
        facts: FactCheck | None = None,
        scorer: Scorer | None = None,
        questions: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._wanted = wanted
        self._lessons = lessons
        self._bounds = bounds
        self._facts = facts
        self._scorer = scorer
        self._questions = questions
        self._known: dict[str, str] = {}
        self._ranks = ranks or Ranks()
        self._asking = asking or Asking(engine, max_new_tokens, self._ranks)

    @cached_property
    def plain(self) -> Quality:
        """The quality of plain answers: without instruction, without steering."""
        return quality_of(self._plain)

    @cached_property
    def baseline_followed(self) -> float:
        """The share of queries that plain answers follow."""
        return self._share(self._plain)

    @cached_property
    def following(self) -> Quality | None:
        """The quality of the lessons' answers; None without any."""
        if not self._lessons:
            return None
        ids = {tuple(prompt_ids(self._engine.tokenizer, task.plain)): task for task in self._tasks}
        known = [(ids[one.student], one) for one in self._lessons if one.student in ids]
        end, decode = end_token(self._engine), self._engine.tokenizer.decode
        written = [one.answer[:-1] if one.answer[-1] == end else one.answer for _, one in known]
        answers = [
            Generation(
                decode(ids, skip_special_tokens=True),
                one.thought + ids,
                row,
                finished=True,
                begins=len(one.thought),
            )
            for row, (ids, (_, one)) in enumerate(zip(written, known, strict=True))
        ]
        return quality_of(self._measured([task for task, _ in known], answers)) if known else None

    def examine(self, steering: Steering) -> Examined:
        """Have a set of edits answer all queries."""
        responses = self._answered(steering)
        quality, plain = quality_of(responses), self.plain
        known = self._closed_book(steering)
        if known is not None:
            quality, plain = replace(quality, facts=known[1]), replace(plain, facts=known[0])
        comparison = compare(
            quality,
            plain,
            self._bounds,
            following=self.following,
            any_length=about_length(self._wanted),
        )
        return Examined(self._share(responses), comparison)

    @cached_property
    def _plain(self) -> list[Response]:
        return self._answered(None)

    def _answered(self, steering: Steering | None) -> list[Response]:
        answers = self._asking.greedily([task.plain for task in self._tasks], steering=steering)
        return self._measured(self._tasks, answers)

    def _closed_book(self, steering: Steering) -> tuple[float, float] | None:
        """The shares of closed-book questions answered rightly, plain and steered; None where none are asked."""
        mine: dict[int, tuple[float, float] | None] = {}
        if self._questions and self._ranks.is_first:
            found = closed_book.measure(
                self._engine,
                steering,
                split="validation",
                n=self._questions,
                instructions=self._wanted,
                known=self._known,
            )
            mine[0] = None if found is None else (found.right_plain, found.right_steered)
        return self._ranks.merge(mine).get(0)

    def _measured(self, tasks: Sequence[Task], answers: Sequence[Generation]) -> list[Response]:
        return measured(
            self._engine,
            [_asked(task.plain, task.query) for task in tasks],
            [task.plain for task in tasks],
            answers,
            facts=self._facts,
            scorer=self._scorer,
            ranks=self._ranks,
        )

    def _share(self, responses: Sequence[Response]) -> float:
        texts, queries = [one.text for one in responses], [task.query for task in self._tasks]
        passed = all_follow(texts, queries, self._wanted)
        return sum(passed) / len(passed)


def _asked(plain: Prompt, query: str) -> str:
    """The question that an answer is measured against: all of a bare prompt that is text, of a chat what it asks."""
    return plain if isinstance(plain, str) else query
