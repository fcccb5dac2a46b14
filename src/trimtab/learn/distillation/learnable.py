"""What can be learned: instructions that can be judged and go together, and those that common prompts add to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal, get_args

from trimtab import arguments
from trimtab.errors import SteeringError

if TYPE_CHECKING:
    from trimtab.instructions import Instruction


Accept = Literal["followed", "all"]
"""Which told answers become lessons: those that pass the checks and judges, or all that come to an end."""


def check_accept(accept: str) -> None:
    """Make sure that answers can be accepted so.

    Raises:
        SteeringError: They cannot.
    """
    arguments.one_of(accept, "accept", get_args(Accept), SteeringError)


def check_compatible(instructions: Sequence[Instruction]) -> None:
    """Make sure that one answer can follow all instructions.

    Raises:
        SteeringError: Two of them contradict each other; the message gives the reason.
    """
    for one, other in combinations(instructions, 2):
        reason = one.conflicts_with(other)
        if reason is not None:
            raise SteeringError(f"{one.label} and {other.label} cannot be followed at once: {reason}")


def check_learnable(instructions: Sequence[Instruction], accept: Accept = "followed") -> None:
    """Make sure that answers can be judged if they have to be, and that one answer can follow all instructions.

    Raises:
        SteeringError: There is no instruction, one has no check, or two contradict each other.
    """
    if not instructions:
        raise SteeringError("there is no instruction to learn; give at least one")
    for one in instructions:
        if not one.can_check and accept == "followed":
            raise SteeringError(
                f"{one.label} has no check, so nothing can tell which answers follow it: "
                f"{'give it one' if one.question is None else 'name who judges (--judged-by)'}, or do what needs none "
                "(learning: --accept all, --method mean_difference; composing: --fit never)"
            )
    check_compatible(instructions)


def companions(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Common instructions that can stand beside these in a prompt."""
    from trimtab import instructions as catalogue

    get = catalogue.get
    common = [
        get(name) for name in ("json", "lowercase", "uppercase", "no_commas", "quotes", "title", "postscript")
    ]
    common += [get("bullets", num_bullets=3), get("sentences", at_most=2)]
    return [
        one
        for one in common
        if not any(one.name == other.name or one.conflicts_with(other) for other in instructions)
    ]
