"""What can be chosen on the page: every steering there is, and every other instruction of the catalogue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from trimtab import instructions
from trimtab.errors import InstructionError, SteeringError
from trimtab.page.checking import in_words
from trimtab.page.workplace import Workplace, known_instructions

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering

WEAKEST, STRONGEST = -1.0, 3.0
"""How far the sliders go; 1 is what was taught."""


@dataclass(frozen=True)
class Choice:
    """Something to choose.

    Attributes:
        key: The name of a steering, or the spelling of an instruction that there is no steering for.
        title: What it asks for, in plain words.
        family: The group of instructions it is from.
        taught: Whether there is a steering: else the model can only be told.
        search: What a search looks through.
    """

    key: str
    title: str
    family: str
    taught: bool
    search: str

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        return dict(vars(self))


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Attributes:
        strengths: By key, how strong.
        wanted: The instructions, each once.
        steering: All steerings chosen together; None where there is none.
        missing: Keys that mean nothing here.
    """

    strengths: Mapping[str, float] = field(default_factory=dict)
    wanted: tuple[Instruction, ...] = ()
    steering: Steering | None = None
    missing: tuple[str, ...] = ()

    @property
    def clash(self) -> str | None:
        """Why no answer can follow all of them, or None."""
        for number, one in enumerate(self.wanted):
            for other in self.wanted[number + 1 :]:
                if reason := one.conflicts_with(other):
                    return f"{one.label} and {other.label} cannot both be followed: {reason}"
        return None


def choices(workplace: Workplace) -> list[Choice]:
    """Everything there is to choose, what has a steering first."""
    found = []
    there: set[str] = set()
    for name, steering in workplace.steerings().items():
        known = known_instructions(steering)
        there |= {one.name for one in known} if len(known) == 1 else set()
        words = " ".join(in_words(one) for one in known) or f"The steering {name}"
        summary = " ".join(f"{one.label} {one.type.summary} {one.type.family}" for one in known)
        family = known[0].type.family if known else "steerings"
        found.append(Choice(name, words, family, True, f"{name} {words} {summary}".lower()))
    for kind in instructions.catalogue():
        if kind.name in there:
            continue
        try:
            one = kind(**kind.example).for_query("What is it?")
            words = in_words(one)
        except InstructionError:  # it has no example to show
            continue
        if one.type.name == "repeat_prompt":
            one = kind(**kind.example)
        search = f"{one.label} {words} {kind.summary} {kind.family}".lower()
        found.append(Choice(one.label, words, kind.family, False, search))
    return found


def chosen(workplace: Workplace, picked: Mapping[str, Any] | None) -> Chosen:
    """What keys and strengths stand for; a strength that is no number counts as 1.

    Raises:
        SteeringError: It is something else than keys with strengths.
    """
    if not isinstance(picked, Mapping | None):
        raise SteeringError(f"what is chosen are names with strengths, not {type(picked).__name__}")
    strengths: dict[str, float] = {}
    wanted: list[Instruction] = []
    parts: list[Steering] = []
    missing: list[str] = []
    there = set(workplace.library.names())
    for key, value in (picked or {}).items():
        strength = _strength(value)
        if key in there:
            steering = workplace.steering(key)
            wanted += known_instructions(steering)
            parts.append(steering * strength)
        else:
            try:
                wanted += instructions.parse_instructions(key)
            except InstructionError:
                missing.append(key)
                continue
        strengths[key] = strength
    together = reduce(add, parts) if parts else None
    return Chosen(strengths, tuple(dict.fromkeys(wanted)), together, tuple(missing))


def _strength(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0
    return min(max(number, WEAKEST), STRONGEST) if math.isfinite(number) else 1.0


def told(query: str, wanted: Sequence[Instruction]) -> str:
    """A query with the instructions put into words behind it."""
    return " ".join([query, *(in_words(one.for_query(query)) for one in wanted)])


def check_question(text: str | None) -> str:
    """A question without the space around it.

    Raises:
        SteeringError: There is none.
    """
    question = (text or "").strip()
    if not question:
        raise SteeringError("there is no question yet; write one, or take one of the examples")
    return question
