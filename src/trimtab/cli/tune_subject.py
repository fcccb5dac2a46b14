"""What `trimtab tune` is to tune, where its model is, and which questions it is tuned on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli.options import instruction_named
from trimtab.errors import PromptError, SteeringError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
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


def model_of(subject: Subject) -> str:
    """The model to load when none was named: that of the folder, if its record says where to get it.

    Raises:
        SteeringError: The record does not say it.
    """
    from trimtab import nano

    model = subject.model
    if model is None:
        return "nano"
    if nano.is_built_in(model.id) or model.revision is not None or "/" in model.id:
        return model.id
    raise SteeringError(
        f"what is to be tuned is for {model}, which came from a folder; say where: --model FOLDER"
    )


def revision_of(subject: Subject) -> str | None:
    """The revision of the model that was not named."""
    from trimtab import nano

    model = subject.model
    return None if model is None or nano.is_built_in(model.id) else model.revision


def queries_for(
    engine: Engine, source: str | None, pairs: int, validation: int, seed: int, *, learns: bool
) -> tuple[list[str], list[str]]:
    """Base queries to learn from, where something is to be learned, and others to choose on.

    Raises:
        PromptError: There are too few.
    """
    from trimtab import prompts

    if source is None:
        learning = prompts.default_queries(engine.identity, "learning", pairs, seed) if learns else []
        return learning, prompts.default_queries(engine.identity, "validation", validation, seed)
    found = prompts.load_queries(source)
    if not learns:
        return [], prompts.sample_queries(found, min(validation, len(found)), seed)
    parts = prompts.split_queries(found)
    if not parts["learning"] or not parts["validation"]:
        raise PromptError(
            f"{source} has too few queries ({len(found)}) to learn from some and choose on others; give more"
        )
    return (
        prompts.sample_queries(parts["learning"], min(pairs, len(parts["learning"])), seed),
        prompts.sample_queries(parts["validation"], min(validation, len(parts["validation"])), seed),
    )
