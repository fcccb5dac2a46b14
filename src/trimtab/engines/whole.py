"""A checkpoint is whole or it is refused: what it lacks, transformers would fill with random numbers and go on."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trimtab.errors import ModelError

READING: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""How `from_pretrained` is asked for what `check` needs; its own report of shapes names no shape in its error."""

_SHOWN = 3
_BLOCK = re.compile(r"(.*?\b(?:layers?|blocks?|h)\.)(\d{1,9})\.")
"""The name of a weight in a list of blocks: the list's, and the number of the block."""


def check(name: str, found: Mapping[str, Any]) -> None:
    """Refuses a model of which not every weight came from its checkpoint.

    Args:
        name: What the user called it.
        found: What `from_pretrained` gives with `output_loading_info`.

    Raises:
        ModelError: Weights are missing, or have another shape than its config says.
    """
    shapes = sorted(found.get("mismatched_keys") or ())
    if shapes:
        weight, saved, wanted = shapes[0][:3]
        others = f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""
        raise ModelError(
            f"{name} does not fit its own config.json: {weight} is {list(saved)} in the checkpoint and {list(wanted)} "
            f"by the config{others}; download or save the model anew"
        )
    missing = sorted(found.get("missing_keys") or ())
    if missing:
        raise ModelError(
            f"{name} is incomplete: its checkpoint lacks {_some(missing)}, which would be random; download or save the "
            "model anew"
        )


def check_surplus(name: str, found: Mapping[str, Any], model: Any) -> None:
    """Refuses a model whose checkpoint holds more blocks than its config says: it would run without them.

    Args:
        name: What the user called it.
        found: What `from_pretrained` gives with `output_loading_info`.
        model: The model.

    Raises:
        ModelError: It does.
    """
    built = [match for key, _ in model.named_parameters() if (match := _BLOCK.match(key))]
    most: dict[str, int] = {}
    for match in built:
        most[match[1]] = max(most.get(match[1], -1), int(match[2]))
    surplus = sorted(
        key
        for key in found.get("unexpected_keys") or ()
        if (match := _BLOCK.match(key)) and int(match[2]) > most.get(match[1], sys.maxsize)
    )
    if surplus:
        raise ModelError(
            f"{name} does not fit its own config.json: its checkpoint holds {_some(surplus)}, of blocks that the "
            "config does not have; download or save the model anew"
        )


def check_shapes(name: str, model: Any) -> None:
    """Refuses a model whose weights have other shapes than its config says; of a GGUF file transformers looks at none.

    Args:
        name: What the user called it.
        model: The model; another of its config is made for the shapes alone, without weights.

    Raises:
        ModelError: Some weight has another shape.
    """
    with torch.device("meta"):
        wanted = {key: weight.shape for key, weight in type(model)(model.config).named_parameters()}
    for key, weight in model.named_parameters():
        if weight.shape != wanted.get(key, weight.shape):
            raise ModelError(
                f"{name} does not fit its own head: {key} is {list(weight.shape)} in the file and {list(wanted[key])} "
                "by its head; download or make the file anew"
            )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def without_report() -> Iterator[None]:
    """Without the table of transformers on what is missing: `check` says it in a line."""
    logger = logging.getLogger("transformers.modeling_utils")

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "LOAD REPORT" not in text or "UNEXPECTED" in text

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
