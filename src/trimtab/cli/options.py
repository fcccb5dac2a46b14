"""Options that several commands have: each is written once, and those that belong together are one argument."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from trimtab import instructions
from trimtab.cli import claims
from trimtab.errors import InstructionError, SteeringError
from trimtab.files import check_name, check_writable, json_value
from trimtab.instructions import Instruction

N = TypeVar("N", int, float)


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """A command in whose signature every parameter that is a dataclass has become that class's own options.

    So `def command(*, output: Output)` has the options `--json` and `--quiet`, and is called with an `Output`.
    """
    hints = get_type_hints(command, include_extras=True)
    options: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = hints[parameter.name]
        if not dataclasses.is_dataclass(group):
            options.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=group))
            continue
        own = [
            inspect.Parameter(one.name, parameter.KEYWORD_ONLY, default=one.default, annotation=hint)
            for one in dataclasses.fields(group)
            if one.init and (hint := get_type_hints(group, include_extras=True)[one.name])
        ]
        groups[parameter.name] = (group, [one.name for one in own])
        options += own

    @functools.wraps(command)
    def flattened(**values: Any) -> None:
        for name, (group, fields) in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields})
        command(**values)

    del flattened.__wrapped__  # typer would read the signature of what is wrapped
    flattened.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    flattened.__annotations__ = {one.name: one.annotation for one in options}
    return flattened


def _know(files: list[Path] | None) -> list[Path] | None:
    for file in files or ():
        instructions.load_file(file)
    return files


FileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        metavar="TOML",
        # Eager: before anything names an instruction. A command has no more to do with it than to declare it.
        callback=_know,
        is_eager=True,
        help="Also know the instructions of this file. May be repeated.",
    ),
]
ParamsOption = Annotated[
    str | None,
    typer.Option("--params", metavar="JSON", help="Parameters of the instruction: '{\"at_most\": 2}'."),
]
QueriesOption = Annotated[
    str | None,
    typer.Option(
        "--queries",
        metavar="FILE",
        help="Base queries: one a line, .jsonl, or a dataset of the Hub. Left out: the project's own.",
    ),
]
MaxNewTokensOption = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Rows per forward pass; chosen when left out."),
]
ConstrainedOption = Annotated[
    bool,
    typer.Option(
        "--constrained",
        help="Also hold answers to the instruction's constraint: constrained, steered+constrained.",
    ),
]


def page_file(value: Path | None) -> Path | None:
    """Refuse before the work what could not be written after it."""
    if value is not None:
        check_name(value)
        if value.is_dir() or not value.absolute().parent.is_dir():
            raise typer.BadParameter(f"{value} cannot be a file; name one in a folder that exists")
        check_writable(value)
        from trimtab.report import pages

        pages.check_installed()
    return value


def _first_written(folder: Path) -> Path:
    """What is made first where a steering is saved: a file in the folder, or the uppermost folder that is missing."""
    if folder.exists():
        return folder / "steering.json"
    while not folder.absolute().parent.exists():
        folder = folder.parent
    return folder


def instruction_named(name: str, params: str | None) -> Instruction:
    """An instruction by its spelling, or by its name and the value of `--params`.

    Raises:
        InstructionError: There is none of the name, or the parameters are not those that it takes.
    """
    if params is None:
        return instructions.resolve(name)
    try:
        values = json_value(params)
    except ValueError as error:
        raise InstructionError(
            f"--params is not JSON ({error}); write for instance --params '{{\"at_most\": 2}}'"
        ) from None
    if not isinstance(values, dict):
        raise InstructionError("--params must be a JSON object, for instance '{\"at_most\": 2}'")
    return instructions.get(name, **values)


def steering_folder(value: Path | None) -> Path | None:
    """Refuse before the work what would be refused after it: a file, a folder with other things, none to write."""
    if value is not None:
        from trimtab.steering.folder import check_folder

        check_folder(value)
        check_writable(_first_written(value), SteeringError)
        claims.claim(value)
    return value


def numbers(
    text: str,
    option: str,
    kind: Callable[[str], N],
    *,
    zero: bool = True,
    takes: str = "numbers separated by commas",
) -> list[N]:
    """The value of an option that takes numbers: `2`, `.5,1e-1`, `1, 2, 3`.

    Args:
        text: The value.
        option: Its name, for the message.
        kind: `float`, or `int`, which refuses fractions.
        zero: Whether 0 may be among them.
        takes: What it takes, for the message.

    Raises:
        BadParameter: Something in it is no finite number.
    """
    try:
        found = [kind(part) for part in text.split(",")]
        sound = all(math.isfinite(number) and (zero or number) for number in found)
    except (ValueError, OverflowError):  # no numbers, or whole ones that no float holds
        sound = False
    if not sound:
        raise typer.BadParameter(f"{option} takes {takes}, not {text!r}")
    return found


def number_or_auto(text: str | None, option: str, kind: Callable[[str], N]) -> N | None:
    """The value of an option that takes a number or `auto`, which is None.

    Raises:
        BadParameter: It is neither.
    """
    if text in (None, "auto"):
        return None
    takes = "auto or a number"
    found = numbers(str(text), option, kind, takes=takes)
    if len(found) > 1:
        raise typer.BadParameter(f"{option} takes {takes}, not {text!r}")
    return found[0]
