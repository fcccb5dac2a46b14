"""Files: written in one step, and JSON Lines read with the number of a line that is wrong.

A reader of what is written here sees the old content or the new, never a part: it is written under a temporary name
beside the file, flushed to the disk, and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError

__all__ = ["json_lines", "read_text", "replacement", "write_bytes", "write_text"]


def write_text(path: str | Path, text: str, *, make_folder: bool = False) -> Path:
    """Write a UTF-8 file in one step; lines end with a line feed everywhere.

    Args:
        path: The file. What was there before is replaced, or stays if this fails.
        text: The whole content.
        make_folder: Make the folder, and those above it, where missing.

    Returns:
        The path.

    Raises:
        TrimtabError: The file cannot be written.
    """
    return write_bytes(path, text.encode("utf-8"), make_folder=make_folder)


def write_bytes(path: str | Path, content: bytes, *, make_folder: bool = False) -> Path:
    """Write a file in one step; see `write_text`.

    Raises:
        TrimtabError: The file cannot be written.
    """
    path = Path(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = replacement(path, content)
        try:
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TrimtabError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def replacement(path: Path, content: bytes) -> Path:
    """Write what shall replace a file under a temporary name beside it, flushed to the disk.

    For files that must change together: write the replacements of all, then rename them. `write_bytes` does both.

    Returns:
        The temporary file, with the permissions that the user's umask gives to new files.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name[:64]}-", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner may read
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def read_text(path: str | Path, error: type[TrimtabError] = TrimtabError) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Args:
        path: The file.
        error: What to raise.

    Raises:
        TrimtabError: Of the class given: the file is missing, cannot be read, or is not UTF-8.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as missing:
        raise error(f"there is no file {path}") from missing
    except OSError as failure:
        raise error(f"cannot read {path}: {failure.strerror or failure}") from failure
    except UnicodeDecodeError as failure:
        raise error(f"{path} is not UTF-8 text (byte {failure.start}); save it as UTF-8") from failure


def json_lines(
    path: str | Path, text: str | None = None, error: type[TrimtabError] = TrimtabError
) -> Iterator[tuple[str, Any]]:
    """The values of a JSON Lines file, each with where it stands; empty lines are passed over.

    Args:
        path: The file, named in messages.
        text: Its content, where it was read already.
        error: What to raise.

    Yields:
        `"queries.jsonl, line 3"`, and the value of that line.

    Raises:
        TrimtabError: Of the class given: the file cannot be read, or a line is not JSON.
    """
    content = read_text(path, error) if text is None else text
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines would split inside JSON text
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as failure:
            raise error(f"{where} is not valid JSON ({failure})") from failure
        yield where, value


def _umask() -> int:
    """The permissions a new file must not have. The system only tells by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
