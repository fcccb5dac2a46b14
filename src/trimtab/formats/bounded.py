"""Bytes of a stranger's files: regular ones, no larger than what is expected there; and folders that are written."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.errors import SteeringError
from trimtab.files import write_bytes

LIMIT = 64 * 2**20
"""Bytes; larger files are refused unread. A vector for each of 126 blocks of width 16384 takes 8 MiB. What a reader
holds in memory at once is at most eight times the file; of JSON, whose lists take more room than their text, 32."""

MOST_FILES = 4096
"""Names in a folder that are looked at."""


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """The content of a regular file.

    Raises:
        SteeringError: There is none, it is no regular file (a pipe would never end), or it is larger than `limit`.
    """
    try:
        if not path.is_file():
            reason = "it is not a file" if path.exists() else "there is no such file"
            raise SteeringError(f"cannot read {path}: {reason}")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SteeringError(f"cannot read {path}: it is not a file")
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueErrors: names with a zero byte
        raise SteeringError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > limit:
        raise SteeringError(f"{path} has more than {limit} bytes, too many for a steering; is it a model?")
    return content


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a regular file; none of what cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError):
        return b""


def read_json(path: Path, limit: int = LIMIT) -> Any:
    """The value of a JSON file, in which every number is finite.

    Raises:
        SteeringError: As of `read_bytes`, or it is not JSON.
    """
    content = read_bytes(path, limit)
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise SteeringError(f"{path} is not valid JSON ({error}); fetch or export it again") from error


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no finite number")


def _finite(word: str) -> float:
    number = float(word)
    return number if math.isfinite(number) else _refused(word)


def numbered_files(folder: Path, pattern: str, limit: int = LIMIT) -> dict[int, Path]:
    """The files of a folder whose whole names match, by the number in the pattern's first group, ascending.

    Raises:
        SteeringError: There is no such folder, one number stands for two files, or together they are too large.
    """
    found: dict[int, Path] = {}
    try:
        names = sorted(one.name for one in itertools.islice(folder.iterdir(), MOST_FILES))
        for name in names:
            match = re.fullmatch(pattern, name)
            if match is None:
                continue
            number = int(match[1])
            if number in found:
                raise SteeringError(f"{folder} has both {found[number].name} and {name}; leave one of them")
            found[number] = folder / name
        size = sum(path.stat().st_size for path in found.values())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SteeringError(f"cannot read {folder}: {reason}") from error
    if size > limit:
        raise SteeringError(f"{folder} has more than {limit} bytes, too many for a steering; is it a model?")
    return dict(sorted(found.items()))


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that is new or empty.

    Raises:
        SteeringError: It holds something.
        TrimtabError: It cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SteeringError(f"{folder} holds something; choose an empty or a new folder")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SteeringError(f"cannot write {folder}: {reason}") from error
    for name, content in files.items():
        write_bytes(folder / name, content, make_folder=True)
