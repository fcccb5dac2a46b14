"""What a response was found to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[str], bool | None]
"""Says of a response whether it satisfies one instruction; None where the response does not let anybody tell."""


@dataclass(frozen=True)
class Judgement:
    """What a response was found to be.

    Attributes:
        strict: The response as it is satisfies the instruction.
        loose: It does in at least one of IFEval's eight readings.
        undecided: Nothing can tell whether it satisfies the instruction (it is too short to tell its language, say).
            Both checks then count it as one that does not.
        notes: What judged where that can differ between machines, such as ``{"splitter": "nltk-punkt"}``.
    """

    strict: bool
    loose: bool
    undecided: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
