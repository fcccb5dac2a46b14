"""The vectors and keys of a small GGUF file, written, and read with suspicion.

The `gguf` package's reader believes the counts that a file states: a damaged one makes it loop, and fill memory,
without end. Here every count and length is held against what is left of the file before anything is made of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.bounded import read_bytes

MOST_VALUES = 2**16
"""Keys, tensors, and items of lists that are read, all together."""

MAGIC = b"GGUF"
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_UINT32, _TEXT, _LIST = 4, 8, 9
_FLOAT32 = 0
_ARCHITECTURE = "general.architecture"


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.values = content, 0, 0

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise ValueError(f"it states {size} bytes at {self.at}, more than the file has")
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def count(self) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")

    def value(self, kind: int) -> Any:
        self.count()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            raise ValueError(f"a value has the unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner == _LIST or count > len(self.content) - self.at:  # an item takes a byte at least
            raise ValueError(f"it states a list of {count} items of type {inner}")
        return [self.value(inner) for _ in range(count)]


def read(path: Path, architecture: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The keys, and the float32 vectors `[d]` by name, of a GGUF file of version 2 or 3.

    Args:
        path: The file.
        architecture: What it must say that it is, under `general.architecture`.

    Raises:
        SteeringError: It cannot be read, is too large, is damaged, or holds another kind of tensor.
    """
    content = read_bytes(path)
    try:
        return _parsed(content, architecture)
    except (ValueError, struct.error) as error:
        raise SteeringError(f"{path} is no sound GGUF file: {error}; fetch or export it again") from error


def _parsed(content: bytes, architecture: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    cursor = _Cursor(content)
    if cursor.take(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in (2, 3):
        raise ValueError(f"it has version {version}, and 2 and 3 are read")
    tensors, keys = cursor.number("Q"), cursor.number("Q")
    found: dict[str, Any] = {}
    for _ in range(keys):  # the cursor fails at the end of the file, whatever the count
        name = cursor.text()
        if name in found:
            raise ValueError(f"the key {name!r:.60} stands in it twice")
        found[name] = cursor.value(cursor.number("I"))
        if name == _ARCHITECTURE:  # by custom the first: a model is known before its many keys are read
            _check(found[name], architecture)
    _check(found.get(_ARCHITECTURE), architecture)
    listed: dict[str, tuple[int, int]] = {}
    for _ in range(tensors):
        cursor.count()
        name, dimensions = cursor.text(), cursor.number("I")
        if dimensions != 1:
            raise ValueError(f"{name!r:.60} has {dimensions} dimensions; a control vector's have one")
        width, kind, offset = cursor.number("Q"), cursor.number("I"), cursor.number("Q")
        if kind != _FLOAT32:
            raise ValueError(f"{name!r:.60} is of the GGML type {kind}; a control vector's are float32 (0)")
        if name in listed:
            raise ValueError(f"the tensor {name!r:.60} stands in it twice")
        listed[name] = width, offset
    alignment = found.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment > 2**16:
        raise ValueError(f"its alignment is {alignment!r:.60}")
    start = math.ceil(cursor.at / alignment) * alignment
    vectors = {}
    spent = 0
    for name, (width, offset) in listed.items():
        begin, size = start + offset, 4 * width
        spent += size  # tensors that share their bytes would multiply them
        if width < 1 or begin + size > len(content) or spent > len(content):
            raise ValueError(f"{name!r:.60} states {width} numbers at {offset}, which the file does not have")
        vectors[name] = torch.frombuffer(bytearray(content[begin : begin + size]), dtype=torch.float32)
    return found, vectors


def _check(found: Any, architecture: str) -> None:
    if found != architecture:
        raise ValueError(f"it is of the kind {found!r:.60}, and {architecture!r} is wanted")


def packed(keys: Mapping[str, str | int], vectors: Mapping[str, Tensor]) -> bytes:
    """A GGUF file of version 3, of texts, uint32 numbers and float32 vectors `[d]`."""
    head = [MAGIC, struct.pack("<IQQ", 3, len(vectors), len(keys))]
    for name, value in keys.items():
        head.append(_text(name))
        if isinstance(value, str):
            head += [struct.pack("<I", _TEXT), _text(value)]
        else:
            head.append(struct.pack("<II", _UINT32, value))
    body: list[bytes] = []
    for name, vector in vectors.items():
        content = vector.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes()
        offset = sum(map(len, body))
        head += [_text(name), struct.pack("<IQIQ", 1, len(vector), _FLOAT32, offset)]
        body.append(_padded(content))
    return _padded(b"".join(head)) + b"".join(body)


def _text(value: str) -> bytes:
    content = value.encode("utf-8")
    return struct.pack("<Q", len(content)) + content


def _padded(content: bytes, alignment: int = 32) -> bytes:
    return content + b"\0" * (-len(content) % alignment)
