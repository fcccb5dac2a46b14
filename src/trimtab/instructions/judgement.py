"""What a response was found to be, and by what: a check, or a judge that answers a question about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.errors import InstructionError

Check = Callable[[str], bool | None]
"""Says of a response whether it satisfies one instruction; None where the response does not let anybody tell."""


@dataclass(frozen=True)
class Question:
    """What a judge is asked about a response, where no program can check it.

    Attributes:
        text: A question that yes answers where the response follows the instruction, such as "Is the text formal?"
        follows: Contrast examples: responses to which yes is right. A judge is calibrated on them, or learned.
        fails: As many to which no is right; at best the same content, said otherwise.

    Raises:
        InstructionError: The question or an example is blank, or there are examples of one side only.
    """

    text: str
    follows: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InstructionError(
                'a judge needs a question that yes or no answers, such as "Is the text formal?"'
            )
        if not all(one.strip() for one in (*self.follows, *self.fails)):
            raise InstructionError(f"{self.text!r} has a blank contrast example; leave it out")
        if bool(self.follows) != bool(self.fails):
            raise InstructionError(
                f"{self.text!r} has contrast examples of one side only; give some that follow and some that fail"
            )


class Judge(Protocol):
    """Who answers the question of an instruction that has no check: see `trimtab.measure.judges`."""

    @property
    def name(self) -> str:
        """What stands beside every figure."""

    def passes(self, question: Question, response: str) -> bool | None:
        """Whether it answers yes of the response; None where it cannot tell."""


@dataclass(frozen=True)
class Judgement:
    """What a response was found to be.

    Attributes:
        strict: The response as it is satisfies the instruction.
        loose: It does in at least one of IFEval's eight readings; a judge reads the response as it is.
        undecided: Nothing can tell whether it satisfies the instruction (it is too short to tell its language, say).
            Both checks then count it as one that does not.
        notes: What judged where that can differ between machines, such as ``{"splitter": "nltk-punkt"}``; where there
            is no check, ``{"judge": name}``.
    """

    strict: bool
    loose: bool
    undecided: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
