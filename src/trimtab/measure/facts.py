"""Closed-book facts: whether a steered model still knows what the plain one knows.

The project's own questions with short, certain answers (geography, science, language, arithmetic, everyday life) are
asked plain and steered, and an answer is right if it contains an accepted one, whatever it looks like (`containment`).
What is lost is the share of right answers that steering costs. The built-in models know only their invented world: they
are not asked, and their exact facts stand elsewhere.

An instruction can forbid an answer itself: an excluded word, or one of three set answers. Such questions are left out.
Accepted answers stand in English, Spanish, French and German; of an instruction to answer in another language only the
questions remain whose answer is a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from trimtab import nano
from trimtab.engines import Model, as_engine
from trimtab.instructions import from_dict
from trimtab.instructions.demands import Demands, clash
from trimtab.measure.containment import contains
from trimtab.measure.statistics import Interval, rounded, wilson
from trimtab.progress import Progress
from trimtab.prompts.queries import Split, checked_split, sample_queries

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

MAX_NEW_TOKENS = 64
"""The longest answer: the fact is said at once or not at all; enough for a title, JSON or a bullet before it."""

LANGUAGES = ("en", "es", "fr", "de")
"""In which the accepted answers stand."""


@dataclass(frozen=True)
class Question:
    """A question with a short, certain answer.

    Attributes:
        text: What is asked.
        answers: What is accepted, the usual form first, in all of `LANGUAGES`.
        subject: `geography`, `science`, `language`, `arithmetic` or `everyday`.
    """

    text: str
    answers: tuple[str, ...]
    subject: str

    def answered(self, response: str) -> bool:
        """Whether a response contains an accepted answer."""
        return any(contains(response, answer) for answer in self.answers)

    def suits(self, instruction: Instruction) -> bool:
        """Whether an answer that follows the instruction can be right, and be seen to be."""
        if instruction.name == "constrained":  # only three answers are allowed
            return False
        demands = instruction.demands()
        spoken = demands.language in (None, *LANGUAGES)
        return any(
            clash(Demands(contains=(answer,)), demands) is None
            for answer in self.answers
            if spoken or answer.isdecimal()
        )


@cache
def _shipped(split: Split) -> tuple[Question, ...]:
    file = resources.files("trimtab") / "data" / "facts" / f"{split}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return tuple(Question(row["question"], tuple(row["answers"]), row["subject"]) for row in rows)


def questions(
    split: Split, n: int | None = None, *, instructions: Iterable[Instruction] = (), seed: int = 0
) -> list[Question]:
    """The closed-book questions of one split; no other split has one of them, and no base query is one.

    Args:
        split: `"learning"`, `"validation"` or `"test"`: a third of them each.
        n: How many at most; all when None.
        instructions: What answers are to follow: questions that do not suit it are left out.
        seed: Which ones, when fewer than all.

    Raises:
        PromptError: There is no such split.
    """
    wanted = list(instructions)
    found = [one for one in _shipped(checked_split(split)) if all(map(one.suits, wanted))]
    if n is None or n >= len(found):
        return found
    chosen = set(sample_queries([one.text for one in found], n, seed))
    return [one for one in found if one.text in chosen]


@dataclass(frozen=True)
class Facts:
    """Closed-book questions answered plain and steered.

    Attributes:
        questions: What was asked; at least one.
        plain: The answers without steering.
        steered: The answers with it.
    """

    questions: tuple[Question, ...] = field(repr=False)
    plain: tuple[str, ...] = field(repr=False)
    steered: tuple[str, ...] = field(repr=False)
    _right: Mapping[str, tuple[bool, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        judged = {
            name: tuple(
                one.answered(text) for one, text in zip(self.questions, getattr(self, name), strict=True)
            )
            for name in ("plain", "steered")
        }
        object.__setattr__(self, "_right", judged)

    @property
    def n(self) -> int:
        """Number of questions."""
        return len(self.questions)

    @property
    def right_plain(self) -> float:
        """Share answered rightly without steering."""
        return sum(self._right["plain"]) / self.n

    @property
    def right_steered(self) -> float:
        """Share answered rightly with steering."""
        return sum(self._right["steered"]) / self.n

    @property
    def lost(self) -> float:
        """How much smaller the share of right answers is with steering; negative where it is larger."""
        return self.right_plain - self.right_steered

    @property
    def kept(self) -> float | None:
        """Of the questions answered rightly plain, the share that still is when steered; None if none was."""
        both = [after for before, after in zip(*self._right.values(), strict=True) if before]
        return sum(both) / len(both) if both else None

    @property
    def intervals(self) -> tuple[Interval, Interval]:
        """The 95 % Wilson intervals of the two shares, plain and steered."""
        plain, steered = (wilson(sum(right), self.n) for right in self._right.values())
        return plain, steered

    def to_dict(self, *, answers: bool = False) -> dict[str, Any]:
        """The figures as JSON, to four digits, with every answer if it is wanted."""
        plain, steered = self.intervals
        document: dict[str, Any] = {
            "n": self.n,
            "plain": {"right": round(self.right_plain, 4), "interval": plain.to_list()},
            "steered": {"right": round(self.right_steered, 4), "interval": steered.to_list()},
            "lost": round(self.lost, 4),
            "kept": rounded(self.kept),
        }
        if answers:
            document["answers"] = [
                {
                    "question": one.text,
                    "accepted": list(one.answers),
                    "plain": plain_text,
                    "steered": steered_text,
                    "right": [before, after],
                }
                for one, plain_text, steered_text, before, after in zip(
                    self.questions, self.plain, self.steered, *self._right.values(), strict=True
                )
            ]
        return document


def measure(
    model: Model,
    steering: Steering,
    *,
    split: Split = "test",
    n: int | None = None,
    instructions: Iterable[Instruction] | None = None,
    known: MutableMapping[str, str] | None = None,
    steered: MutableMapping[str, str] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Facts | None:
    """Asks closed-book questions plain and steered, all in one call.

    Args:
        model: An engine, or a model of transformers and its tokenizer. It answers greedily.
        steering: What the steered answers are steered by.
        split: Whose questions are asked.
        n: How many at most; all when None.
        instructions: What the steered answers are to follow; None takes it from the steering's record.
        known: Plain answers by question, to share them between steerings; those that are missing are asked for, and
            added.
        steered: The same of the steered answers.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which questions, when fewer than all.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The answers; None where there is nothing to ask: the model is a built-in one, or no question suits what is to be
        followed.

    Raises:
        PromptError: There is no such split.
        InstructionError: The record names an instruction that is not known here.
        SteeringError: The steering is for another model.
    """
    engine = as_engine(model)
    if instructions is None:
        instructions = [from_dict(one) for one in steering.record.instructions]
    asked = questions(split, n, instructions=instructions, seed=seed)
    if nano.is_built_in(engine.identity.id) or not asked:
        return None
    known = {} if known is None else known
    steered = {} if steered is None else steered
    texts = [one.text for one in asked]
    rows: list[tuple[MutableMapping[str, str], Steering | None, str]]
    rows = [(known, None, text) for text in texts if text not in known]
    rows += [(steered, steering, text) for text in texts if text not in steered]
    if rows:
        answers = engine.generate(
            [text for _, _, text in rows],
            steering=[applied for _, applied, _ in rows],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=progress,
        )
        for (into, _, text), answer in zip(rows, answers, strict=True):
            into[text] = answer.text
    return Facts(tuple(asked), tuple(known[text] for text in texts), tuple(steered[text] for text in texts))


def lost(
    engine: Engine,
    steering: Steering,
    split: Split,
    n: int | None = None,
    *,
    known: MutableMapping[str, str] | None = None,
    batch_size: int | None = None,
) -> float:
    """By how much steering lowers the share of closed-book questions that are answered rightly.

    Args:
        engine: The engine.
        steering: What steers.
        split: Whose questions are asked.
        n: How many at most; all when None.
        known: Plain answers by question, as of `measure`.
        batch_size: Rows per batch; None lets the engine choose.

    Returns:
        A share in [-1, 1], negative where more answers are right; 0 where there is nothing to ask.
    """
    found = measure(engine, steering, split=split, n=n, known=known, batch_size=batch_size)
    return 0.0 if found is None else found.lost
