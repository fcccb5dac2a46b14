"""A folder that holds one JSON document beside one safetensors file: written whole, read with suspicion.

Steerings and directions are kept this way. The JSON is for people and carries the record; the tensors are float32 and
named by the JSON. Two checksums tie the files together, so that a changed byte in either is noticed:

    {"format": "trimtab-steering", "format_version": 1, ...,
     "checksums": {"document": "sha256:...", "tensors": "sha256:..."}}

Both files are written under temporary names, flushed to the disk and then renamed, the JSON last: a crash leaves the
old folder, the new one, or one that `read_folder` refuses, never one that loads and is wrong.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialize_tensors
from torch import Tensor

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.files import check_name, replacement
from trimtab.steering.documents import canonical_digest, sha256
from trimtab.steering.suspicion import read_document, read_tensor_file

FORMAT_VERSION = 3
"""The newest that is read. What needs nothing new is written as version 1, which every trimtab reads."""


@dataclass(frozen=True)
class FileKind:
    """What a folder holds: `stem.json`, which says `"format": "trimtab-stem"`, and `stem.safetensors`."""

    stem: str

    @property
    def format(self) -> str:
        """The word by which a document of this kind is recognised."""
        return f"trimtab-{self.stem}"

    def document_path(self, folder: Path) -> Path:
        """The path of the JSON document in a folder."""
        return folder / f"{self.stem}.json"

    def tensors_path(self, folder: Path) -> Path:
        """The path of the tensors in a folder."""
        return folder / f"{self.stem}.safetensors"


STEERING = FileKind("steering")
DIRECTIONS = FileKind("directions")
CARD = "README.md"
"""What may lie beside them: a card for people."""
_KINDS = (STEERING, DIRECTIONS)


def write_folder(
    folder: str | Path,
    kind: FileKind,
    document: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    version: int = 1,
) -> Path:
    """Write a document and its tensors into a folder, atomically.

    The folder is made when it is missing. One that already holds a document of this project is written over (other
    files in it stay); one that holds anything else is left alone. Tensors are stored as contiguous float32. `version`:
    the oldest format version whose readers understand the document: steerings with conditions have 2, those with
    rectified edits or edits of the answer alone 3, so that an older trimtab refuses them, where it would otherwise do
    something else.
    """
    folder = arguments.place(folder, "folder", SteeringError)
    # Clones: safetensors refuses tensors that share memory, as the u and p of one edit may.
    content = serialize_tensors(
        {
            name: tensor.detach().to("cpu", torch.float32).contiguous().clone()
            for name, tensor in tensors.items()
        }
    )
    whole = {"format": kind.format, "format_version": version, **document}
    try:
        checksums = {"document": canonical_digest(whole), "tensors": sha256(content)}
        text = json.dumps({**whole, "checksums": checksums}, indent=2, ensure_ascii=False, allow_nan=False)
        written = (text + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:  # lone surrogates are ValueErrors
        raise SteeringError(f"the {kind.stem} holds a value that JSON cannot keep: {error}") from error
    try:
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as temporaries:
            renames = []
            for path, what in ((kind.tensors_path(folder), content), (kind.document_path(folder), written)):
                renames.append((replacement(path, what), path))
                temporaries.callback(renames[-1][0].unlink, missing_ok=True)
            for temporary, path in renames:
                temporary.replace(path)
        _flush_folder(folder)
    except (OSError, ValueError) as error:  # ValueErrors: names with a zero byte
        raise SteeringError(
            f"cannot write {folder}: {getattr(error, 'strerror', None) or error}; choose another folder"
        ) from error
    return folder


def read_folder(folder: str | Path, kind: FileKind) -> tuple[dict[str, Any], dict[str, Tensor], str | None]:
    """Read what `write_folder` wrote.

    Returns:
        The document (without its format and checksum keys), the tensors by name, and None or the reason why a checksum
        does not fit. The caller looks at the content first, because "block 99 of 32" helps more than "was changed",
        and must then refuse if there is a reason.
    """
    folder = arguments.place(folder, "folder", SteeringError)
    try:
        there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise SteeringError(f"cannot read {folder}: {error.strerror or error}") from error
    if not there:
        raise SteeringError(f"there is no folder {folder}; give the folder that holds {kind.stem}.json")
    if not is_folder:
        raise SteeringError(f"{folder} is a file; give the folder that holds {kind.stem}.json")
    path = kind.document_path(folder)
    document = _parse_document(path, _read(path, kind, read_document), kind)
    path = kind.tensors_path(folder)
    content = _read(path, kind, read_tensor_file)
    tensors = read_tensors(content, path)
    checksums = document.pop("checksums", None)
    expected = checksums if isinstance(checksums, dict) else {}
    reason = None
    if expected.get("tensors") != sha256(content):
        reason = f"{path} is not the file that {kind.stem}.json was written with; fetch or learn both again"
    elif expected.get("document") != canonical_digest(document):
        reason = f"{kind.document_path(folder)} was changed after it was written; fetch or learn it again"
    del document["format"], document["format_version"]
    return document, tensors, reason


def read_tensors(content: bytes, where: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, by name."""
    try:
        tensors: dict[str, Tensor] = parse_tensors(content)
    # Damaged headers surface as any of these, depending on the byte that was hit.
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise SteeringError(f"{where} is damaged or cut off ({error}); fetch or learn it again") from error
    return tensors


def read_metadata(content: bytes) -> dict[str, str]:
    """What a safetensors file says of itself; its own library tells it of files on a disk only."""
    length = int.from_bytes(content[:8], "little")  # of the header, which follows
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata


def _parse_document(path: Path, content: bytes, kind: FileKind) -> dict[str, Any]:
    try:
        document = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except (ValueError, RecursionError) as error:
        raise SteeringError(f"{path} is not valid JSON ({error}); fetch or learn it again") from error
    found = document.get("format") if isinstance(document, dict) else None
    if not isinstance(document, dict) or found != kind.format:
        says = f"it says format {found!r}" if found is not None else "it names no format"
        raise SteeringError(f"{path} is not a trimtab {kind.stem}: {says}, expected '{kind.format}'")
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise SteeringError(f"{path}: format_version must be a whole number from 1 on, not {version!r:.60}")
    if version > FORMAT_VERSION:
        raise SteeringError(
            f"{path} has format version {version}, this trimtab reads up to {FORMAT_VERSION}; install a newer trimtab"
        )
    return document


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _finite_float(word: str) -> float:
    number = float(word)
    return number if math.isfinite(number) else _refuse_constant(word)


def _read(path: Path, kind: FileKind, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(path)
    except FileNotFoundError:
        raise SteeringError(
            f"{path.parent} lacks {path.name}; a {kind.stem} is {kind.stem}.json and {kind.stem}.safetensors together"
        ) from None
    except OSError as error:
        raise SteeringError(f"cannot read {path}: {error.strerror or error}") from error


def check_folder(folder: Path) -> None:
    """Let only a missing or empty folder, or one that this project wrote, be written to."""
    check_name(folder, SteeringError)
    if folder.is_symlink() and not folder.exists():
        raise SteeringError(f"{folder} is a link to nothing; choose another folder")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise SteeringError(f"{there} is a file; choose a folder to write to")
    if there != folder:
        return
    ours = {path(folder).name for kind in _KINDS for path in (kind.document_path, kind.tensors_path)}
    leftovers = [
        path for path in folder.iterdir() if path.name not in (*ours, CARD) and not _is_left_over(path, ours)
    ]
    for kind in _KINDS:
        path = kind.document_path(folder)
        if path.exists():
            try:
                found = json.loads(path.read_bytes()).get("format")
            except (OSError, ValueError, AttributeError, RecursionError):
                found = None
            if found == kind.format:
                return
            leftovers.append(path)
    if leftovers:
        raise SteeringError(
            f"{folder} holds something else ({min(path.name for path in leftovers)}); choose an empty or a new folder"
        )


def _is_left_over(path: Path, ours: Collection[str]) -> bool:
    """Whether a process that was killed while it wrote one of our files, or while it learned, left it here."""
    if path.name.startswith(".trimtab-"):
        return True
    return path.suffix == ".tmp" and any(path.name.startswith(f".{name}-") for name in ours)


def _flush_folder(folder: Path) -> None:
    """Put the renames themselves on the disk, where the system can open folders (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
