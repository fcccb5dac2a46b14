"""What all judges of instructions have in common: calibration on contrast examples, and that nothing is asked twice.

A judge gives each response log-odds of yes. A model that is asked may lean to one side whatever it reads, so that its
odds are calibrated on the contrast examples of the question, by a logistic regression of one feature:

    log-odds = slope * (what the judge gave) + offset,    yes above 0

A question without examples takes the odds as they are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trimtab import arguments
from trimtab.errors import TrimtabError
from trimtab.measure.judges import logistic
from trimtab.progress import Progress, part_of, shown

if TYPE_CHECKING:
    from trimtab.instructions import Instruction, Question

LEAST = 0.7
"""Share of the contrast examples that a judge must get right, each left out in turn, to be believed at all.

Of 16 examples, one that guesses gets so many right in 4 of 100 cases.
"""

AT_ONCE = 32
"""Responses that a judge reads between two savings."""


class Store(Protocol):
    """Where what a judge said is kept, by what it was asked."""

    def get(self, key: Mapping[str, Any]) -> Any:
        """What is kept, or None."""

    def put(self, key: Mapping[str, Any], value: Any) -> None:
        """Keep a value that JSON can hold."""


@dataclass(frozen=True)
class Calibration:
    """How a judge's odds are read for one question.

    Attributes:
        slope: What its odds are multiplied by; above 0.
        offset: What is added then.
        right: Share of the contrast examples that it gets right when each is left out of the calibration in turn; None
            without examples.
        examples: How many contrast examples there are.
        silent: Of how many of these it says neither yes nor no.
    """

    slope: float = 1.0
    offset: float = 0.0
    right: float | None = None
    examples: int = 0
    silent: int = 0

    @property
    def believable(self) -> bool:
        """Whether it tells the sides apart better than guessing, as far as that is known."""
        return self.right is None or self.right >= LEAST


class InstructionJudge(ABC):
    """Answers the questions of instructions with yes or no. Nothing is asked twice.

    Args:
        name: What stands beside every figure.
        store: Where what was said is kept for later runs; None forgets it with the judge.

    Attributes:
        unread: The last thing that it said which is neither yes nor no; None without any.
    """

    def __init__(self, name: str, *, store: Store | None = None) -> None:
        self._name = arguments.text(name, "name (of a judge)", TrimtabError)
        if store is not None and not (hasattr(store, "get") and hasattr(store, "put")):
            raise TrimtabError(
                f"store must have get and put, or be None, and {arguments.in_words(store)} has not"
            )
        self._store = store
        self.unread: str | None = None
        self._said: dict[tuple[str, str], float | None] = {}
        self._calibrations: dict[Question, Calibration] = {}

    @property
    def name(self) -> str:
        """What stands beside every figure."""
        return self._name

    @abstractmethod
    def ask(
        self, question: Question, responses: Sequence[str], *, progress: Progress = False
    ) -> list[float | None]:
        """What the judge itself gives, without memory and calibration.

        Returns:
            Log-odds of yes in nats for each response; None where it gives no answer.

        Raises:
            TrimtabError: It cannot be asked.
        """

    def key(self) -> Mapping[str, Any] | None:
        """What tells this judge from any other, for the store; None where nothing is to be kept."""
        return None

    def odds(
        self, question: Question, responses: Sequence[str], *, progress: Progress = False
    ) -> list[float | None]:
        """Calibrated log-odds of yes in nats, one for each response; None where the judge cannot tell.

        Raises:
            TrimtabError: It cannot be asked.
        """
        calibration = self.calibration(question, progress=progress)
        return [
            None if one is None else calibration.slope * one + calibration.offset
            for one in self._raw(question, responses, progress)
        ]

    def calibration(self, question: Question, *, progress: Progress = False) -> Calibration:
        """How its odds are read for a question, found once; raises as `odds`."""
        if question not in self._calibrations:
            self._calibrations[question] = self._calibrate(question, progress)
        return self._calibrations[question]

    def require(self, question: Question, *, progress: Progress = False) -> None:
        """Make sure that the judge can answer a question, as far as its contrast examples tell.

        Raises:
            TrimtabError: It cannot be asked, or cannot tell the contrast examples apart.
        """
        calibration = self.calibration(question, progress=progress)
        if not calibration.believable and 2 * calibration.silent >= calibration.examples:
            said = (
                "nothing"
                if not (self.unread or "").strip()
                else repr(" ".join(str(self.unread).split())[:80])
            )
            raise TrimtabError(
                f"the judge {self.name} answers {question.text!r} with neither Yes nor No for {calibration.silent} of "
                f"{calibration.examples} contrast examples (it said {said}); take another judge, or a probe"
            )
        if not calibration.believable:
            raise TrimtabError(
                f"the judge {self.name} cannot answer {question.text!r}: it is right about {calibration.right:.2f} of "
                f"{calibration.examples} contrast examples ({LEAST} are needed); take another judge, or a probe"
            )

    def passes(self, question: Question, response: str) -> bool | None:
        """Whether it says yes of a response; None where it cannot tell.

        Raises:
            TrimtabError: It cannot be asked, or cannot tell even the contrast examples apart.
        """
        self.require(question)
        found = self.odds(question, [response])[0]
        return None if found is None else found > 0

    def know(self, cases: Iterable[tuple[Question, str]], *, progress: Progress = False) -> None:
        """Ask about many responses at once, which is quicker than one by one; raises as `odds`."""
        by_question: dict[Question, list[str]] = {}
        for question, response in cases:
            by_question.setdefault(question, []).append(response)
        with shown(progress) as tell:
            for question, responses in by_question.items():
                self.calibration(question, progress=tell)
                self._raw(question, responses, tell)

    def _raw(
        self, question: Question, responses: Sequence[str], progress: Progress = False
    ) -> list[float | None]:
        own = self.key() if self._store is not None else None
        missing = []
        for response in dict.fromkeys(responses):
            place = (question.text, response)
            if place in self._said:
                continue
            kept = None if own is None or self._store is None else self._store.get(_entry(own, place))
            if isinstance(kept, int | float):
                self._said[place] = float(kept)
            elif response.strip():
                missing.append(response)
            else:
                self._said[place] = -math.inf  # an empty response follows nothing
        with shown(progress if missing else False) as tell:
            # Part by part, so that one that fails or is interrupted need not be asked all of it again.
            for begin in range(0, len(missing), AT_ONCE):
                part = missing[begin : begin + AT_ONCE]
                told = part_of(tell, f"judging by {self.name}", begin, len(missing))
                for response, odds in zip(part, self.ask(question, part, progress=told), strict=True):
                    self._said[question.text, response] = odds
                    if odds is not None and own is not None and self._store is not None:
                        self._store.put(_entry(own, (question.text, response)), odds)
        return [self._said[question.text, response] for response in responses]

    def _calibrate(self, question: Question, progress: Progress = False) -> Calibration:
        labels = [True] * len(question.follows) + [False] * len(question.fails)
        if not labels:
            return Calibration()
        given = self._raw(question, [*question.follows, *question.fails], progress)
        told = [(odds, label) for odds, label in zip(given, labels, strict=True) if odds is not None]
        features = torch.tensor([[odds] for odds, _ in told], dtype=torch.float64).reshape(-1, 1)
        sides = torch.tensor([label for _, label in told], dtype=torch.bool)
        if min(int(sides.sum()), int((~sides).sum())) < 2:
            return Calibration(right=0.0, examples=len(labels), silent=len(labels) - len(told))
        found = logistic.fit(features, sides)
        right = int(((logistic.left_out(features, sides) > 0) == sides).sum()) / len(labels)
        slope = float(found.weights[0])
        # One that says no the more often the more it should say yes does not answer the question.
        return Calibration(
            slope, found.bias, right if slope > 0 else 0.0, len(labels), len(labels) - len(told)
        )


def known(
    instructions: Iterable[Instruction], responses: Sequence[str], *, progress: Progress = False
) -> None:
    """Have the judges of instructions, where they have any, read responses all at once; raises as `odds`."""
    for one in instructions:
        if one.question is not None and isinstance(one.judge_in_place, InstructionJudge):
            one.judge_in_place.know(((one.question, text) for text in responses), progress=progress)


def judges_of(instructions: Iterable[Instruction]) -> dict[str, Any]:
    """For a record: ``{"judges": {label: name}}`` of those with a judge in the place of a check, if any."""
    found = {one.label: one.judge_in_place.name for one in instructions if one.judge_in_place is not None}
    return {"judges": found} if found else {}


def _entry(own: Mapping[str, Any], place: tuple[str, str]) -> dict[str, Any]:
    return {**own, "kind": "instruction judge", "question": place[0], "response": place[1]}
