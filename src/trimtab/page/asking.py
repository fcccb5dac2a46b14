"""One question, three answers: as the model is, told, and steered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from trimtab import prompts
from trimtab.page.answering import Wanted, streamed, tokens_of
from trimtab.page.checking import Verdict, verdicts
from trimtab.page.choosing import Chosen, check_question, chosen, told

if TYPE_CHECKING:
    from trimtab.page.workplace import Workplace

Way = Literal["without", "told", "steered"]
WAYS: tuple[Way, ...] = ("without", "told", "steered")


@dataclass(frozen=True)
class Answer:
    """One of the three answers.

    Attributes:
        way: How the model was asked.
        prompt: What it was given.
        text: What it wrote so far.
        ended: Whether all of it is there.
        cut: Whether it ran into the limit.
        verdicts: What the checks say of it, once it has ended.
        note: Why there is nothing to see, if so.
    """

    way: Way
    prompt: str
    text: str = ""
    ended: bool = False
    cut: bool = False
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Asked:
    """A question with its three answers, and what they are kept by.

    Attributes:
        question: The question.
        picked: What was chosen, with strengths.
        answers: The three, in the order of `WAYS`.
        known: Whole answers by what was asked: to be shown again without asking.
    """

    question: str
    picked: Mapping[str, float]
    answers: tuple[Answer, ...]
    known: Mapping[Any, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether all answers are there."""
        return all(one.ended for one in self.answers)


def ask(
    workplace: Workplace, question: str | None, picked: Mapping[str, Any] | None, before: Asked | None = None
) -> Iterator[Asked]:
    """Answers a question in the three ways, as the answers grow.

    Args:
        workplace: The model, and its steerings.
        question: The question.
        picked: What was chosen, with strengths.
        before: What was asked before: what of it is asked again is not answered again.

    Raises:
        SteeringError: There is no question.
        PromptError: The question does not fit the model.
    """
    query, choice = check_question(question), chosen(workplace, picked)
    ways = _ways(query, choice)
    known = {} if before is None else dict(before.known)
    keys = {
        way: (wanted.prompt, None if wanted.steering is None else wanted.steering.digest())
        for way, wanted in ways.items()
    }
    missing = {way: wanted for way, wanted in ways.items() if keys[way] not in known}
    limit = workplace.max_new_tokens
    asked = Asked(query, choice.strengths, tuple(_first(query, choice, way) for way in WAYS))
    yield asked
    for texts in streamed(
        workplace.engine, list(missing.values()), max_new_tokens=limit, embedded=workplace.embedded
    ):
        growing = dict(zip(missing, texts, strict=True))
        answers = tuple(
            replace(one, text=growing.get(one.way, known.get(keys.get(one.way), ""))) for one in asked.answers
        )
        asked = replace(asked, answers=answers)
        yield asked
    known |= {keys[one.way]: one.text for one in asked.answers if one.way in keys}
    ended = tuple(_ended(workplace, query, choice, one, limit) for one in asked.answers)
    yield replace(asked, answers=ended, known=dict(list(known.items())[-64:]))


def _ways(query: str, choice: Chosen) -> dict[Way, Wanted]:
    found: dict[Way, Wanted] = {"without": Wanted(query)}
    if choice.wanted:
        found["told"] = Wanted(told(query, choice.wanted))
    if choice.steering is not None:
        found["steered"] = Wanted(query, choice.steering)
    return found


def _first(query: str, choice: Chosen, way: Way) -> Answer:
    if way == "told":
        if not choice.strengths:
            return Answer(way, query, note="Choose an instruction, and it is said here.")
        if not choice.wanted:
            return Answer(way, query, note="This steering names no instruction, so there is nothing to say.")
        return Answer(way, told(query, choice.wanted))
    if way == "steered" and choice.steering is None:
        if choice.strengths:
            return Answer(way, query, note="There is no steering for this yet. Teach it, and come back.")
        return Answer(way, query, note="Choose an instruction, and the model is steered to it here.")
    return Answer(way, query)


def _ended(workplace: Workplace, query: str, choice: Chosen, one: Answer, limit: int) -> Answer:
    if one.note:
        return replace(one, ended=True)
    cut = tokens_of(workplace.engine, one.text) >= limit
    found = tuple(verdicts(choice.wanted, query, one.text, workplace.engine))
    return replace(one, ended=True, cut=cut, verdicts=found)


def examples(workplace: Workplace, count: int = 4) -> list[str]:
    """Questions that suit the model, to begin with."""
    return prompts.default_queries(workplace.engine.identity, "test", count, seed=3)
