"""What callers give an engine: prompts, blocks and steerings, read in one place for all engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab.engines.chat import messages_of
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering
from trimtab.steering.when.base import Prompt


def prompt_list(prompts: Sequence[Prompt], name: str = "prompts") -> list[Prompt]:
    """The prompts as a list; `name` is the argument they are.

    Raises:
        PromptError: There is none, a single one that is not in a list, or something that is no prompt.
    """
    if isinstance(prompts, str) or (
        isinstance(prompts, list | tuple) and prompts and isinstance(prompts[0], Mapping)
    ):
        raise PromptError(f"{name} must be a list of prompts; put the one prompt (or chat) into a list")
    found = arguments.listed(prompts, name, "prompts, each a text or a chat", PromptError)
    if not found:
        raise PromptError(
            f"there are no prompts{'' if name == 'prompts' else f' ({name})'}; give at least one"
        )
    for number, one in enumerate(found):
        if not isinstance(one, str | Sequence):
            found_there = arguments.in_words(one)
            raise PromptError(
                f"each of {name} must be a text or a chat, and number {number} is {found_there}"
            )
        if not isinstance(one, str):
            messages_of(one)
    return found


def block_numbers(blocks: Sequence[int] | None, model: ModelIdentity) -> tuple[int, ...]:
    """The blocks of a model that are meant, in ascending order, negative numbers counted from the last.

    Raises:
        ModelError: There is none, or the model has no such block.
    """
    total = model.blocks
    if blocks is None:
        return tuple(range(total))
    found = set()
    for one in arguments.listed(blocks, "blocks", "block numbers", ModelError):
        block = arguments.whole(one, "each of the blocks", ModelError)
        if not -total <= block < total:
            raise ModelError(f"there is no block {block}: {model.id} has blocks 0 to {total - 1}")
        found.add(block % total)
    if not found:
        raise ModelError("no blocks to read were given; leave `blocks` out to read all of them")
    return tuple(sorted(found))


def steerings_of_rows(
    steering: Steering | Sequence[Steering | None] | None, count: int, model: ModelIdentity
) -> list[Steering | None]:
    """The steering of each of `count` rows, after checking every one against the model.

    Raises:
        SteeringError: One was made for another model, or their number is not `count`.
    """
    if steering is None or isinstance(steering, Steering | str | Path):
        rows: list[Any] = [_loaded(steering)] * count
    else:
        given = arguments.listed(
            steering, "steering", "steerings, one (or None) for each prompt", SteeringError
        )
        rows = [_loaded(one) for one in given]
    if len(rows) != count:
        raise SteeringError(
            f"there are {len(rows)} steerings for {count} prompts; give one for all, or one (or None) for each"
        )
    for one in {id(one): one for one in rows if one is not None}.values():
        if not isinstance(one, Steering):
            raise SteeringError(f"a steering is a Steering or None, not {type(one).__name__}")
        one.check_model(model)
    return rows


def _loaded(steering: Any) -> Any:
    """A steering that is named by its folder, or by its name on the Hub, read; anything else as it is."""
    if not isinstance(steering, str | Path):
        return steering
    from trimtab.steering.collection import SteeringFolder

    return Steering.load(SteeringFolder.found(steering).path)
