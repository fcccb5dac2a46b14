"""What several commands are given alike: prompts, and folders with steerings that are added up."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.errors import PromptError, SteeringError

if TYPE_CHECKING:
    from trimtab.steering.steering import Steering

PromptArgument = Annotated[
    str | None, typer.Argument(help="What to ask; '-' reads it from standard input.", show_default=False)
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="Answer all prompts of a file: one a line, or .jsonl with 'prompt'.",
        show_default=False,
    ),
]
SteeredModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="nano, nano-base, a model of the Hub, or a folder. Left out: that of the steering, or nano.",
        show_default=False,
    ),
]
SteeringOption = Annotated[
    list[str] | None,
    typer.Option(
        "--steering",
        "-s",
        metavar="DIR[,DIR]",
        help="Apply these steerings, all at once. May be repeated.",
        show_default=False,
    ),
]


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts asked for: exactly one of the argument, standard input and the file.

    Args:
        prompt: The prompt; `-` for standard input.
        file: A file of prompts.

    Raises:
        PromptError: The file is missing or holds none, or the prompt is empty.
    """
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give one prompt (or - to read it from standard input), or --prompts FILE")
    if file is not None:
        from trimtab.prompts.queries import load_queries

        if not file.exists():
            raise PromptError(f"there is no file {file}; give one with a prompt a line, or .jsonl")
        return load_queries(file)
    text = sys.stdin.read().strip() if prompt == "-" else prompt
    if not text:
        raise PromptError("the prompt is empty; give the model something to answer")
    return [text]


def folders_of(given: Sequence[str]) -> list[Path]:
    """The folders of `--steering A,B --steering C`; a folder may have a comma in its own name.

    Args:
        given: What `--steering` was given.
    """
    folders = []
    for text in given:
        folders += [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(",") if part]
    return folders


def compose(folders: Sequence[Path], strength: str) -> Steering | None:
    """Load steerings and add them up, each at its strength.

    Args:
        folders: Where they are.
        strength: One number for all, or one for each, separated by commas.

    Returns:
        The composition; None without folders.

    Raises:
        SteeringError: One is no steering, or they are for different models.
    """
    try:
        strengths = [float(part) for part in strength.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--strength takes numbers separated by commas, not {strength!r}") from error
    if len(strengths) not in (1, max(1, len(folders))):
        raise typer.BadParameter(
            f"there are {len(strengths)} strengths for {len(folders)} steerings; give one for all, or one for each"
        )
    if not folders:
        return None
    from trimtab.steering.steering import Steering

    if len(strengths) == 1:
        strengths *= len(folders)
    parts = [Steering.load(folder) * factor for folder, factor in zip(folders, strengths, strict=True)]
    return functools.reduce(operator.add, parts)


def model_of(steering: Steering | None, revision: str | None) -> tuple[str, str | None]:
    """The model to load when none was named: that of the steering, if its record says where to get it.

    Args:
        steering: The steering; nano where there is none.
        revision: What the user asked for, if anything.

    Returns:
        Name and revision.

    Raises:
        SteeringError: It was learned on a model from a folder.
    """
    if steering is None:
        return "nano", revision
    from trimtab import nano

    model = steering.record.model
    if nano.is_built_in(model.id):
        return model.id, revision
    if model.revision is not None or "/" in model.id:
        return model.id, revision or model.revision
    # A model from a folder is recorded by the folder's name only: paths mean nothing on another machine.
    raise SteeringError(
        f"the steering '{steering.name}' is for {model}, which came from a folder; say where it is: --model FOLDER"
    )
