"""A file of another library becomes a steering, and a steering such a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.formats import registry
from trimtab.formats.base import Content, Format
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record, identity_given
from trimtab.steering.steering import Steering, given

__all__ = ["read", "recognised", "write"]


def read(
    path: str | Path,
    model: ModelIdentity,
    format: str | None = None,  # noqa: A002
    *,
    name: str | None = None,
    blocks: Collection[int] | None = None,
    strength: float = 1.0,
    instructions: Sequence[Mapping[str, Any]] = (),
    options: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
) -> Steering:
    """Read what another library wrote, as a steering of ours.

    Nothing in a file is run. The record's `settings` say the format, the file's name, and under `notes` what to know.

    Args:
        path: The file or folder.
        model: The model it was made for: `engine.identity`. Foreign files seldom say more of it than the width.
        format: The name of the format; None tells it from the content.
        name: What to call the steering; None takes the file's name.
        blocks: Take only the edits of these blocks; None for all.
        strength: Multiplies the edits. Files of unit vectors leave it to whoever applies them.
        instructions: What it makes the model follow, as of a record: `{"name": ..., "params": {...}}`.
        options: Those of the format; `trimtab import --format list` shows them.
        allow_pickle: Read files of formats that are pickled tables; without it they are refused unread.

    Raises:
        SteeringError: It is of no known format, damaged, does not fit the model, or does what our edits cannot say.
    """
    path = arguments.place(path, "path", SteeringError)
    model = identity_given(model, "model")
    allow_pickle = arguments.flag(allow_pickle, "allow_pickle", SteeringError)
    if name is not None:
        arguments.text(name, "name", SteeringError)
    if blocks is not None:
        blocks = arguments.each(blocks, "blocks", "block numbers", int, SteeringError)
    strength = arguments.number(strength, "strength", SteeringError)
    kind = recognised(path) if format is None else registry.find(format)
    kind.check_trusted(path, allow_pickle)
    options = _options(options)
    kind.check("read", options)
    content: Content = kind.read(path, model, **options)
    settings = {"format": kind.name, "file": path.name, **options, **content.settings}
    content = replace(content, settings=settings)
    return steering_of(
        content,
        model,
        str(path),
        name or path.stem or kind.name,
        blocks=blocks,
        strength=strength,
        instructions=instructions,
    )


def steering_of(
    content: Content,
    model: ModelIdentity,
    where: str,
    name: str,
    *,
    blocks: Collection[int] | None = None,
    strength: float = 1.0,
    instructions: Sequence[Mapping[str, Any]] = (),
) -> Steering:
    """The steering of what was found somewhere; see `read`."""
    instructions = arguments.each(
        instructions, "instructions", "mappings, as of a record", Mapping, SteeringError
    )
    edits = _kept(content, where, model, blocks)
    settings = {**content.settings, **({"notes": list(content.notes)} if content.notes else {})}
    record = Record(
        model=model,
        instructions=tuple(dict(one) for one in instructions),
        method="imported",
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Steering(name, edits, record) * strength


def write(
    steering: Steering,
    path: str | Path,
    format: str,  # noqa: A002
    *,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Write a steering as another library keeps its own.

    Args:
        steering: The steering.
        path: The file, or for some formats the folder. A file is replaced, a folder must be new or empty.
        format: The name of the format.
        options: Those of the format; `trimtab export --format list` shows them.

    Returns:
        One line that says how the file is used there.

    Raises:
        SteeringError: The format cannot say what the steering does: the message names the reason and the nearest thing
            that it could say. Nothing is written then.
    """
    steering, path = given(steering), arguments.place(path, "path", SteeringError)
    kind = registry.find(format)
    options = _options(options)
    kind.check("write", options)
    use: str = kind.write(steering, path, **options)
    return use


def _options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    return dict(arguments.instance(options, "options", Mapping, "a mapping by their names", SteeringError))


def recognised(path: Path) -> Format:
    """The format of a file or folder, by its content.

    Raises:
        SteeringError: It is of none that is known.
    """
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name that is too long
        there = False
    if not there:
        raise SteeringError(f"there is no file {path}")
    for one in registry.formats():
        if one.recognises(path):
            return one
    names = ", ".join(one.name for one in registry.formats())
    raise SteeringError(f"{path} is of no format that is known; name it with --format: {names}")


def _kept(
    content: Content, where: str, model: ModelIdentity, blocks: Collection[int] | None
) -> tuple[Edit, ...]:
    """The edits to take, all of which fit the model."""
    wanted = None if blocks is None else set(blocks)
    edits = [edit for edit in content.edits if wanted is None or edit.block in wanted]
    if not edits:
        there = ", ".join(str(block) for block in sorted({edit.block for edit in content.edits}))
        raise SteeringError(f"{where} has edits for the blocks {there}, none of those that were asked for")
    for edit in edits:
        if edit.block >= model.blocks:
            raise SteeringError(
                f"{where} has an edit for block {edit.block}, and {model} has blocks 0 to {model.blocks - 1}; it is "
                "for another model, or --blocks takes those that fit"
            )
        if edit.width != model.width:
            raise SteeringError(
                f"{where} has vectors of width {edit.width}, and {model} has width {model.width}; it is for another "
                "model"
            )
    return tuple(replace(edit) for edit in edits)
