"""What several commands are given alike: prompts, and folders with steerings that are added up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import numbers
from trimtab.cli.output import Output, standard_input
from trimtab.errors import PromptError, SteeringError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.steering.record import ModelIdentity
    from trimtab.steering.steering import Steering

LoadingT = TypeVar("LoadingT", bound=Loading)

PromptArgument = Annotated[str | None, typer.Argument(help="What to ask; '-' reads it from standard input.")]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts", metavar="FILE", help="Answer all prompts of a file: one a line, or .jsonl with 'prompt'."
    ),
]
SteeredModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder, or a GGUF file. Left out: that of the "
        "steering, or nano.",
    ),
]
SteeringOption = Annotated[
    list[str] | None,
    typer.Option(
        "--steering",
        "-s",
        metavar="DIR[,DIR]",
        help="Apply these steerings, folders or owner/name of the Hub, all at once.",
    ),
]


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompts asked for: exactly one of the argument, standard input (`-`) and the file.

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
    text = standard_input().strip() if prompt == "-" else prompt
    if not text:
        raise PromptError("the prompt is empty; give the model something to answer")
    return [text]


SteeringArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder with a saved steering, or owner/name of the Hub.")
]


def read_steering(place: str | Path) -> Steering:
    """A saved steering: a folder, or `owner/name` or `owner/name@revision` of the Hub.

    Raises:
        SteeringError: There is none, or it is damaged.
    """
    from trimtab.steering.collection import SteeringFolder
    from trimtab.steering.steering import Steering

    return Steering.load(SteeringFolder.found(place).path)


def folders_of(given: Sequence[str]) -> list[str]:
    """The folders of `--steering A,B --steering C`; a folder may have a comma in its own name."""
    folders = []
    for text in given:
        folders += [text] if Path(text).exists() else [part for part in text.split(",") if part]
    return folders


def served_folder(given: str, kept_in: Path) -> Path:
    """The folder whose subfolders are the steerings of a server, of what `--steerings` names.

    Args:
        given: A folder of steerings, taken as it is; or several of these, steerings and names of the Hub, separated by
            commas: a folder of links to all of them is made.
        kept_in: Where to make it.

    Raises:
        SteeringError: There is none, or two have one name.
    """
    from trimtab.steering import hub
    from trimtab.steering.collection import SteeringFolder

    parts = folders_of([given])
    if len(parts) == 1 and not hub.named(hub.split(parts[0])[0]):
        return Path(given)
    links: dict[str, Path] = {}
    for part in parts:
        for name, path in SteeringFolder.found(part).places().items():
            there = links.setdefault(name, path.resolve())
            if there != path.resolve():
                raise SteeringError(
                    f"{there} and {path} would both be served as '{name}'; rename one of them"
                )
    folder = (
        kept_in / hashlib.sha256(json.dumps(links, default=str, sort_keys=True).encode()).hexdigest()[:16]
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in links.items():
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(path, target_is_directory=True)
    return folder


def compose(folders: Sequence[str], strength: str) -> Steering | None:
    """Load steerings and add them up, each at its strength: one number for all, or one for each.

    Raises:
        SteeringError: One is no steering, or they are for different models.
    """
    strengths = numbers(strength, "--strength", float)
    if len(strengths) not in (1, max(1, len(folders))):
        raise typer.BadParameter(
            f"there are {len(strengths)} strengths for {len(folders)} steerings; give one for all, or one for each"
        )
    if not folders:
        if strengths != [1]:
            raise typer.BadParameter("--strength is of a steering; name one: --steering DIR")
        return None
    if len(strengths) == 1:
        strengths *= len(folders)
    parts = [read_steering(folder) * factor for folder, factor in zip(folders, strengths, strict=True)]
    return functools.reduce(operator.add, parts)


def model_of(steering: Steering | None, model: str | None, loading: LoadingT) -> tuple[str, LoadingT]:
    """The model to load, and how: if none was named, that of the steering; see `named_or_known`."""
    if steering is None:
        return model or "nano", loading
    return named_or_known(model, steering.record.model, loading, f"the steering '{steering.name}'")


def named_or_known(
    model: str | None, known: ModelIdentity | None, loading: LoadingT, what: str, option: str = "--model"
) -> tuple[str, LoadingT]:
    """The model to load, and how: if none was named, the one that `what` is for, if its record says where to get it.

    Raises:
        SteeringError: It is for a model from a folder or a file.
    """
    if model is not None or known is None:
        return model or "nano", loading
    from trimtab import nano

    if nano.is_built_in(known.id):
        return known.id, loading
    if known.revision is not None or "/" in known.id:
        return known.id, dataclasses.replace(loading, revision=loading.revision or known.revision)
    # A model from a folder is recorded by the folder's name only: paths mean nothing on another machine.
    raise SteeringError(
        f"{what} is for {known}, which came from a folder or file; say where it is: {option} FOLDER"
    )


def open_for(steering: Steering | None, model: str | None, loading: Loading, output: Output) -> Engine:
    """The model, which may be that of a steering, loaded and found to be one that the steering fits."""
    name, loading = model_of(steering, model, loading)
    engine = loading.open(output, name, reads=steering is not None and bool(steering.whens))
    if steering is not None:
        steering.check_model(engine.identity)
    return engine
