"""Values out of a JSON document and tensors out of a file, taken with suspicion."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.errors import SteeringError


def finite_vector(
    tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], where: str | Path
) -> Tensor:
    """Take a float32 tensor of a known shape out of a file's tensors, or say what is wrong with it."""
    tensor = tensors.get(name)
    if tensor is None:
        raise SteeringError(f"{where} lacks the tensor {name}; the file is not complete")
    if tensor.dtype != torch.float32:
        raise SteeringError(
            f"{where}: {name} is {str(tensor.dtype).removeprefix('torch.')}, expected float32"
        )
    if tuple(tensor.shape) != shape:
        raise SteeringError(f"{where}: {name} has shape {list(tensor.shape)}, expected {list(shape)}")
    if not bool(torch.isfinite(tensor).all()):
        raise SteeringError(f"{where}: {name} holds values that are not finite")
    return tensor


def finite_number(value: Any, what: str, where: str | Path) -> float:
    """Take a finite number out of a document, or say what is wrong with it."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SteeringError(f"{where}: {what} must be a finite number, not {value!r}")
    return number


def take(document: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], where: str | Path) -> Any:
    """Take a value of a known type out of a document, or say what is wrong with it."""
    if not isinstance(document, Mapping):
        raise SteeringError(
            f"{where} must be an object (values by their names), not {arguments.in_words(document)}"
        )
    if key not in document:
        raise SteeringError(f"{where} lacks '{key}'; it is not complete")
    value = document[key]
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(_JSON_NAMES[kind] for kind in allowed)
        raise SteeringError(f"{where}: '{key}' must be {names}, not {value!r:.60}")
    return value


def take_one_of(document: Mapping[str, Any], key: str, words: Sequence[str], where: str | Path) -> Any:
    """Take one of a few words out of a document, or say what is wrong with it."""
    value = take(document, key, str, where)
    if value not in words:
        raise SteeringError(f"{where}: {key} must be one of {', '.join(words)}, not {value!r:.60}")
    return value


_JSON_NAMES = {
    str: "text",
    int: "a whole number",
    dict: "an object",
    list: "a list",
    type(None): "null",
    bool: "true or false",
}


def canonical_digest(value: Any) -> str:
    """`"sha256:..."` of a JSON value, whatever the order of its keys and its spacing.

    Raises:
        TypeError, ValueError: The value is not plain JSON (numbers that are not finite included).
    """
    # JSON turns keys that are numbers into text, which sorts otherwise: the digest is of what will be read.
    plain = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return sha256(text.encode())


def sha256(content: bytes) -> str:
    """`"sha256:..."` of bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
