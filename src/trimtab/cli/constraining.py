"""The options by which answers are held to a constraint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.errors import InstructionError
from trimtab.files import json_value

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.instructions import Instruction

_PANEL = "What answers are held to"


@dataclass(frozen=True)
class ConstraintChoice:
    """What the answers of a command are held to, if anything; several constraints hold together."""

    constrain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INSTRUCTION",
            help="Hold the answer to the constraint of this instruction. May be repeated.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    constrain_regex: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Hold it to a regular expression that all of it matches. May be repeated.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    constrain_schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Hold it to a JSON schema.", rich_help_panel=_PANEL),
    ] = None
    constrain_grammar: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Hold it to a grammar in llguidance's dialect of Lark.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def of(self, prompts: Sequence[str]) -> list[Constraint | None]:
        """The constraint of the answer to each prompt; None where none was asked for.

        Raises:
            InstructionError: There is no such instruction, it has no constraint, a file cannot be used, or those asked
                for cannot hold together.
        """
        from trimtab import instructions
        from trimtab.constraint import Constraint

        wanted = [instructions.resolve(name) for name in self.constrain or ()]
        if "" in (self.constrain_regex or ()):
            raise InstructionError(
                "--constrain-regex is empty, and only an empty answer would fit; write one"
            )
        fixed = [Constraint.regex(pattern) for pattern in self.constrain_regex or ()]
        if self.constrain_schema is not None:
            fixed.append(_schema(self.constrain_schema))
        if self.constrain_grammar is not None:
            fixed.append(Constraint.lark(_text(self.constrain_grammar)))
        return [_together([*(_of(one, prompt) for one in wanted), *fixed]) for prompt in prompts]


def _of(instruction: Instruction, prompt: str) -> Constraint:
    constraint = instruction.constraint(prompt)
    if constraint is None:
        raise InstructionError(
            f"{instruction.label} has no constraint to hold an answer to; leave --constrain {instruction.label} out, "
            "or write one with --constrain-regex, --constrain-schema or --constrain-grammar"
        )
    return constraint


def _together(constraints: Sequence[Constraint]) -> Constraint | None:
    from trimtab.constraint import intersection

    held = intersection(constraints)
    if held is None and constraints:
        kinds = ", ".join(dict.fromkeys(one.kind for one in constraints))
        raise InstructionError(
            f"constraints of these kinds cannot hold together: {kinds}; only those that are regular expressions can"
        )
    return held


def _schema(file: Path) -> Constraint:
    from trimtab.constraint import Constraint

    try:
        schema = json_value(_text(file))
    except ValueError as error:
        raise InstructionError(f"{file} is not JSON ({error}); give a file with a JSON schema") from None
    if not isinstance(schema, dict | bool):
        raise InstructionError(f"{file} is no JSON schema: that is an object, not {type(schema).__name__}")
    return Constraint.json_schema(schema)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InstructionError(f"cannot read {file}: {reason}; give a file with the constraint") from None
