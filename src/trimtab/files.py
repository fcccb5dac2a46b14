"""Files: written in one step, and JSON Lines read with the number of a line that is wrong.

A reader of what is written here sees the old content or the new, never a part: it is written under a temporary name
beside the file, flushed to the disk, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError

__all__ = [
    "check_name",
    "check_writable",
    "decoded",
    "json_lines",
    "json_value",
    "read_text",
    "replacement",
    "sealed",
    "unsealed",
    "write_bytes",
    "write_text",
]


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


def write_bytes(path: str | Path, content: bytes, *, make_folder: bool = False, flush: bool = True) -> Path:
    """Write a file in one step; see `write_text`.

    Args:
        path: The file.
        content: The whole content.
        make_folder: Make the folder, and those above it, where missing.
        flush: Wait until the disk has it. Not needed for what costs nothing to lose, such as an entry of a cache.

    Raises:
        TrimtabError: The file cannot be written.
    """
    path = Path(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = replacement(path, content, flush=flush)
        try:
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TrimtabError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def check_name(path: str | Path, error: type[TrimtabError] = TrimtabError) -> None:
    """Refuse a path that no file and no folder can have, such as one of 300 letters; whether it is there is no matter.

    Args:
        path: The path.
        error: What to raise.

    Raises:
        TrimtabError: Of the class given.
    """
    try:
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as failure:
        raise error(
            f"cannot write {path!s:.80}: {getattr(failure, 'strerror', None) or failure}"
        ) from failure


def check_writable(path: str | Path, error: type[TrimtabError] = TrimtabError) -> None:
    """Try to make a file where one shall be written after long work, and take it away again.

    Args:
        path: The file; its folder is there.
        error: What to raise.

    Raises:
        TrimtabError: Of the class given: no file can be written there, or none of that name.
    """
    check_name(path, error)
    try:
        replacement(Path(path), b"", flush=False).unlink()
    except OSError as failure:
        raise error(f"cannot write {path}: {failure.strerror or failure}") from failure


def replacement(path: Path, content: bytes, *, flush: bool = True) -> Path:
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
            if flush:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner may read
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def read_text(path: str | Path, error: type[TrimtabError] = TrimtabError, *, hint: str = "") -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Args:
        path: The file.
        error: What to raise.
        hint: What to do about it, for the end of the message.

    Raises:
        TrimtabError: Of the class given: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as missing:
        raise error(_said(f"there is no file {path}", hint)) from missing
    except (OSError, ValueError) as failure:  # ValueErrors: names with a zero byte
        reason = getattr(failure, "strerror", None) or failure
        raise error(_said(f"cannot read {path}: {reason}", hint)) from failure
    return decoded(content, path, error)


def decoded(content: bytes, where: str | Path, error: type[TrimtabError] = TrimtabError) -> str:
    """The text of UTF-8 bytes, with or without a byte order mark.

    Args:
        content: The whole content.
        where: What it is from, named in messages.
        error: What to raise.

    Raises:
        TrimtabError: Of the class given: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise error(f"{where}, line {line}: not UTF-8 text; save it as UTF-8") from failure


def json_lines(
    path: str | Path, text: str | None = None, error: type[TrimtabError] = TrimtabError, *, hint: str = ""
) -> Iterator[tuple[str, Any]]:
    """The values of a JSON Lines file, each with where it stands; empty lines are passed over.

    Args:
        path: The file, named in messages.
        text: Its content, where it was read already.
        error: What to raise.
        hint: What to do about a wrong line, for the end of the message.

    Yields:
        `"queries.jsonl, line 3"`, and the value of that line.

    Raises:
        TrimtabError: Of the class given: the file cannot be read, or a line is not JSON.
    """
    content = read_text(path, error, hint=hint) if text is None else text
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines would split inside JSON text
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json_value(line)
        except ValueError as failure:
            raise error(_said(f"{where} is not valid JSON ({failure})", hint)) from failure
        yield where, value


def json_value(text: str | bytes) -> Any:
    """The value of JSON that somebody wrote.

    Raises:
        ValueError: It is no JSON, or lies inside itself deeper than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def sealed(value: Any) -> str:
    """A JSON value as a text that holds its own checksum, for what is kept between runs; see `unsealed`."""
    value = json.loads(json.dumps(value))  # keys that are numbers become text, which sorts otherwise
    return json.dumps({"checksum": _checksum(value), "value": value})


def unsealed(content: str | bytes) -> Any:
    """What `sealed` was given.

    Raises:
        ValueError: It is something else, or was damaged.
    """
    try:
        document = json_value(content)
        if document["checksum"] == _checksum(document["value"]):
            return document["value"]
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    raise ValueError("the checksum does not fit")


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _said(what: str, hint: str) -> str:
    return f"{what}; {hint}" if hint else what


def _umask() -> int:
    """The permissions a new file must not have. The system only tells by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
