"""What `trimtab tune` is to tune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli.options import instruction_named
from trimtab.errors import SteeringError

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.learn import Directions
    from trimtab.steering.record import ModelIdentity
    from trimtab.steering.steering import Steering


@dataclass
class Subject:
    """What is tuned: directions, a finished steering, or an instruction that is learned first."""

    instruction: Instruction
    directions: Directions | None = None
    steering: Steering | None = None

    @property
    def learns(self) -> bool:
        """Whether directions are still to be learned."""
        return self.directions is None and self.steering is None

    @property
    def model(self) -> ModelIdentity | None:
        """The model it was made for, if it was made."""
        if self.directions is not None:
            return self.directions.model
        return None if self.steering is None else self.steering.record.model


def subject_of(what: str, params: str | None, strength_only: bool) -> Subject:
    """Tell a folder from the name of an instruction, and read what it holds.

    Raises:
        InstructionError: There is neither such a folder nor such an instruction.
        SteeringError: The folder holds nothing to tune.
    """
    from trimtab import instructions
    from trimtab.learn import Directions
    from trimtab.steering.collection import SteeringFolder
    from trimtab.steering.steering import Steering

    folder = SteeringFolder.found(what).path
    if not folder.is_dir():
        if strength_only:
            raise SteeringError(
                f"--strength-only needs a folder with a steering, and there is no folder {what}"
            )
        return Subject(instruction_named(what, params))
    if params is not None:
        raise typer.BadParameter("--params is for an instruction to be learned; a folder says its own")
    if (folder / "directions.json").exists() and not strength_only:
        directions = Directions.load(folder)
        wanted = directions.instruction
        if (folder / "steering.json").exists():
            # An exclusion is learned from its inclusion: only the steering says what it stands for.
            wanted = _only_instruction(Steering.load(folder))
        if wanted is None:
            raise SteeringError(
                f"the directions in {what} stand for no instruction, so nothing can judge answers; apply them in Python"
            )
        return Subject(instructions.from_dict(wanted), directions=directions)
    steering = Steering.load(folder)
    return Subject(instructions.from_dict(_only_instruction(steering)), steering=steering)


def _only_instruction(steering: Steering) -> dict[str, Any]:
    known = steering.record.instructions
    if len(known) != 1:
        raise SteeringError(
            f"the steering '{steering.name}' stands for {len(known)} instructions, and a search needs exactly one to "
            "judge answers by; tune its parts, then compose them"
        )
    return known[0]
