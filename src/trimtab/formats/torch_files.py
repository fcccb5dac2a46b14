"""What `torch.save` wrote, read without running anything in it.

Such a file is a zip with a pickle. torch's loader of weights alone runs a part of that language, and believes the sizes
that a file states; here it is followed by hand (`trimtab.formats.pickled`).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.bounded import first_bytes, read_bytes
from trimtab.formats.pickled import DAMAGED, Machine

MAGIC = b"PK\x03\x04"

_DAMAGED = (*DAMAGED, zipfile.BadZipFile)


def is_torch_file(path: Path) -> bool:
    """Whether it is a zip file, as those of `torch.save` are."""
    return first_bytes(path, len(MAGIC)) == MAGIC


def read(path: Path) -> Any:
    """The value in a file of `torch.save`: of numbers, texts, None, lists, tuples, dictionaries and float tensors.

    Tensors and numpy arrays become tensors on the CPU, in their own dtype.

    Raises:
        SteeringError: It cannot be read, is too large or damaged, or holds anything else.
    """
    content = read_bytes(path)
    if not content.startswith(MAGIC):
        raise SteeringError(
            f"{path} is no file of torch.save; if an old torch made it, load and save it again"
        )
    try:
        records = _records(content)
        if "data.pkl" not in records:
            raise ValueError("it has no data.pkl, so it is no file of torch.save")
        storages = {name[5:]: one for name, one in records.items() if name.startswith("data/")}
        return Machine(bytes(records["data.pkl"]), storages, len(content)).run()
    except _DAMAGED as error:
        told = type(error) in (ValueError, zipfile.BadZipFile)
        raise SteeringError(
            f"{path} cannot be read: {str(error)[:300] if told else 'it is damaged'}"
        ) from error


def packed(value: Any) -> bytes:
    """What `torch.save` writes; a value of dictionaries, texts, numbers and tensors loads with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def vector(value: Any, where: str | Path) -> Tensor:
    """The vector `[d]`, float32, that a value is, also one of shape `[1, d]`.

    Raises:
        SteeringError: It is something else.
    """
    if not isinstance(value, Tensor):
        raise SteeringError(f"{where} is no tensor")
    if value.dim() == 2 and value.shape[0] == 1:
        value = value[0]
    if value.dim() != 1:
        raise SteeringError(f"{where} has the shape {list(value.shape)}, and [d] or [1, d] is expected")
    found: Tensor = value.float()
    return found


def _records(content: bytes) -> dict[str, bytearray]:
    """The files in the zip by their names inside its one folder; writable, so that tensors need no copies."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save does not do")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("it states more bytes than it has")
        found = {entry.filename.partition("/")[2]: bytearray(archive.read(entry)) for entry in entries}
    if len(found) != len(entries):
        raise ValueError("a name stands in it twice")
    if found.get("byteorder", b"little") != b"little":
        raise ValueError("its numbers are big-endian")
    return found
