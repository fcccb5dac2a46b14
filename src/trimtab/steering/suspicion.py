"""What a file is before it is read whole: a regular one, of a size that can be, that is what its header says."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from trimtab.errors import SteeringError

MOST_TENSORS: Final = 4 * 2**30
"""Bytes of tensors. Edits of rank 64 in every block of a model of 70 B parameters take less."""
MOST_DOCUMENT: Final = 64 * 2**20
"""Bytes of a JSON document."""
_MOST_HEADER = 16 * 2**20


def read_document(path: Path) -> bytes:
    """The content of a JSON document.

    Raises:
        OSError: It cannot be read.
        SteeringError: It is no file, or too large.
    """
    with open(path, "rb", opener=_opener) as file:
        return file.read(_size(path, file, MOST_DOCUMENT))


def read_tensor_file(path: Path) -> bytes:
    """The content of a safetensors file that is as long as its header says, which is looked at before the rest.

    Raises:
        OSError: It cannot be read.
        SteeringError: It is no file, too large, or of another length.
    """
    with open(path, "rb", opener=_opener) as file:
        size = _size(path, file, MOST_TENSORS)
        length = int.from_bytes(file.read(8), "little")
        expected = (
            8 + length + (_length_of_tensors(file.read(length)) if length <= min(size, _MOST_HEADER) else 0)
        )
        if expected != size:
            raise SteeringError(
                f"{path} is damaged or cut off (it has {size} bytes, and its header tells of {expected}); fetch or "
                "learn it again"
            )
        file.seek(0)
        return file.read(size)


def _opener(path: str, flags: int) -> int:
    # A pipe would wait for a writer that never comes.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _size(path: Path, file: BinaryIO, most: int) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise SteeringError(f"cannot read {path}: it is not a file")
    if status.st_size > most:
        raise SteeringError(
            f"{path} has {status.st_size} bytes, more than the {most} that any steering takes"
        )
    return status.st_size


def _length_of_tensors(header: bytes) -> int:
    """Bytes of the tensors that a header tells of; 0 where it cannot be read."""
    try:
        tensors = [value for key, value in json.loads(header).items() if key != "__metadata__"]
        return max((int(one["data_offsets"][1]) for one in tensors), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError):
        return 0
