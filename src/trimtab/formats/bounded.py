"""Bytes of a stranger's file: a regular file, no larger than what is expected there."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from trimtab.errors import SteeringError

LIMIT = 64 * 2**20
"""Bytes; larger files are refused unread. A vector for each of 126 blocks of width 16384 takes 8 MiB. What a reader
holds in memory at once is at most eight times the file."""


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
