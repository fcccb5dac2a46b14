"""Which instructions the answer to each prompt must follow: given, or those that its steering stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.errors import InstructionError

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering


def wanted_of(
    instructions: Instruction | Sequence[Instruction] | Sequence[Sequence[Instruction]] | None,
    steerings: Sequence[Steering | None],
    count: int,
) -> list[tuple[Instruction, ...]]:
    """The instructions of each prompt, after the mistakes that can be seen beforehand.

    Args:
        instructions: One for all prompts, several for all, a list for each, or None for those of the steerings.
        steerings: The steering of each prompt, or None.
        count: How many prompts there are.

    Raises:
        InstructionError: A prompt has none, one has no check, two cannot both be followed, or their number is wrong.
    """
    from trimtab import instructions as catalogue
    from trimtab.instructions import Instruction

    if instructions is None:
        rows = [
            tuple(dict.fromkeys(catalogue.from_dict(item) for item in one.record.instructions)) if one else ()
            for one in steerings
        ]
    elif isinstance(instructions, Instruction):
        rows = [(instructions,)] * count
    else:
        several = list(instructions)
        if all(isinstance(one, Instruction) for one in several):
            rows = [tuple(several)] * count  # type: ignore[arg-type]
        elif len(several) == count and not any(isinstance(one, Instruction) for one in several):
            rows = [tuple(one) for one in several]  # type: ignore[arg-type]
        else:
            raise InstructionError(
                f"there are instructions for {len(several)} prompts, and {count} prompts; give a list of "
                "instructions for each, or one list for all"
            )
    for wanted in dict.fromkeys(rows):
        _refuse_impossible(wanted)
    return rows


def _refuse_impossible(wanted: Sequence[Instruction]) -> None:
    if not wanted:
        raise InstructionError(
            "no instruction is named that an answer could be checked for; name one, or use a steering that stands "
            "for one"
        )
    for number, one in enumerate(wanted):
        if not one.can_check:
            raise InstructionError(
                f"{one.name} has phrasings but no check, so no answer could be verified; give it a check, or leave "
                "it out"
            )
        for other in wanted[:number]:
            reason = other.conflicts_with(one)
            if reason is not None:
                raise InstructionError(f"{other.label} and {one.label} cannot both be followed: {reason}")
