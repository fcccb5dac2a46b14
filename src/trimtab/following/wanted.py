"""What is to be followed, and how a prompt says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from trimtab import arguments
from trimtab.engines.chat import beginning
from trimtab.errors import InstructionError
from trimtab.instructions import Instruction, from_dict, resolve_all
from trimtab.steering.when.base import content_text

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.steering.steering import Steering

Wanted = Instruction | str
"""An instruction, or the spelling of one or several."""


def wanted_of(
    instructions: Wanted | Sequence[Wanted] | Sequence[Sequence[Wanted]] | None,
    steerings: Sequence[Steering | None],
    count: int,
) -> list[tuple[Instruction, ...]]:
    """What the answer to each prompt must follow: given, or what its steering stands for."""
    if instructions is None:
        rows = [
            tuple(dict.fromkeys(from_dict(item) for item in one.record.instructions)) if one else ()
            for one in steerings
        ]
    elif isinstance(instructions, Wanted):
        rows = [tuple(resolve_all(instructions))] * count
    elif not isinstance(instructions, Sequence):
        raise InstructionError(
            "instructions must be one for all prompts, several for all, or a list for each, not "
            f"{arguments.in_words(instructions)}"
        )
    elif _one_list(instructions):
        rows = [tuple(resolve_all(instructions))] * count
    elif len(instructions) == count and not any(isinstance(one, Wanted) for one in instructions):
        rows = [tuple(resolve_all(one)) for one in instructions]
    else:
        raise InstructionError(
            f"there are instructions for {len(instructions)} prompts, and {count} prompts; give a list of "
            "instructions for each, or one list for all"
        )
    for wanted in dict.fromkeys(rows):
        _refuse_impossible(wanted)
    return rows


def _one_list(instructions: Sequence[Wanted] | Sequence[Sequence[Wanted]]) -> TypeGuard[Sequence[Wanted]]:
    return all(isinstance(one, Wanted) for one in instructions)


def _refuse_impossible(wanted: Sequence[Instruction]) -> None:
    if not wanted:
        raise InstructionError(
            "no instruction is named that an answer could be checked for; name one, or use a steering that stands "
            "for one"
        )
    for number, one in enumerate(wanted):
        if not one.can_check:
            raise InstructionError(
                f"{one.name} has phrasings but no check, so no answer could be verified; "
                f"{'give it a check' if one.question is None else 'name who judges (--judged-by)'}, or leave it out"
            )
        for other in wanted[:number]:
            reason = other.conflicts_with(one)
            if reason is not None:
                raise InstructionError(f"{other.label} and {one.label} cannot both be followed: {reason}")


def with_words(prompt: Prompt, words: str) -> Prompt:
    """A prompt with the instructions said behind it; in a chat, behind what is asked last."""
    if isinstance(prompt, str):
        return f"{prompt} {words}".rstrip()
    asked = len(prompt) - (2 if beginning(prompt) else 1)
    told = {**prompt[asked], "content": f"{content_text(prompt[asked]['content'])} {words}".rstrip()}
    return [*prompt[:asked], told, *prompt[asked + 1 :]]
