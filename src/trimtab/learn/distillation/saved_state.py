"""The file that a course of training is resumed from: tensors, and what else there is to say, under a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.files import write_bytes

_FILE = "state.safetensors"


def write_state(folder: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a state in the place of the one before, whole or not at all; the folder is made.

    Args:
        folder: Where it is kept.
        document: Plain JSON.
        tensors: On the CPU, by name.
    """
    from safetensors.torch import save

    said = json.dumps(document)
    content = save(dict(tensors), {"state": said, "checksum": _checksum(said, tensors)})
    write_bytes(folder / _FILE, content, make_folder=True)


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The document and the tensors of a state; None where there is none.

    Raises:
        SteeringError: The file is no such state, or a byte of it has changed.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / _FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            document: dict[str, Any] = json.loads(about["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["checksum"] != _checksum(about["state"], tensors):
            raise ValueError("the checksum does not fit")
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise SteeringError(f"{path} is not the state of a distillation; remove it to start anew") from error
    return document, tensors


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, under what is left of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _checksum(said: str, tensors: Mapping[str, Tensor]) -> str:
    """So that a changed byte never goes into what is learned."""
    digest = hashlib.sha256(said.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
