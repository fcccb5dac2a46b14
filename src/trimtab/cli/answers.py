"""Many prompts answered in portions, and a file that keeps the answers as they come.

A file of answers is JSON Lines, a line for each answer, in the order of the prompts. A portion is appended when it is
done, so that a run that was killed goes on behind the last whole portion, and ends with the file that it would have
written at once: what is answered together stays together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.files import json_value

Row = dict[str, Any]

PORTION = 256
"""Prompts that are answered before the answers are shown and kept; on a CPU, which is slower, a quarter of it."""


def portions(count: int, size: int) -> list[range]:
    """The places of so many prompts, in portions of at most so many."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class AnswerFile:
    """Answers in a file, each line with the digest of the run that it is of.

    Args:
        path: The file; made if it is missing.
        run: Digest of all that decides the answers beside the prompts.
        prompts: The prompts, in order.
        each: How many answers there are to one prompt.
        size: How many prompts a portion has.

    Raises:
        TrimtabError: The file cannot be read or written, another process writes it, or it holds something else.
    """

    def __init__(self, path: Path, run: str, prompts: Sequence[str], each: int, size: int) -> None:
        self.path = path
        self._run = run
        self._lock = _locked(path)
        try:
            self.done = self._whole_portions(prompts, each, size)
        except BaseException:
            self.close()
            raise

    def _whole_portions(self, prompts: Sequence[str], each: int, size: int) -> int:
        """How many portions it holds; what stands behind the last whole one is cut off."""
        ends: list[int] = []
        end = 0
        try:
            self.path.touch()
            with self.path.open("rb") as file:
                for number, line in enumerate(file):
                    if not line.endswith(b"\n"):
                        break  # cut off
                    self._check(line, number, prompts, each)
                    end += len(line)
                    ends.append(end)
            counts = [each * (places[-1] + 1) for places in portions(len(prompts), size)]
            done = sum(count <= len(ends) for count in counts)
            os.truncate(self.path, ends[counts[done - 1] - 1] if done else 0)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TrimtabError(f"cannot write {self.path}: {reason}; choose another file") from error
        return done

    def _check(self, line: bytes, number: int, prompts: Sequence[str], each: int) -> None:
        try:
            row = json_value(line)
            same = row["run"] == self._run and row["prompt"] == prompts[number // each]
        except (ValueError, KeyError, TypeError, IndexError):
            same = False
        if not same:
            raise TrimtabError(
                f"{self.path}, line {number + 1}, is of other prompts or settings; give the same ones to go on, or "
                "choose another file"
            )

    def append(self, rows: Sequence[Row], render: Callable[[Any], str]) -> None:
        """Keeps the answers of a portion.

        Raises:
            TrimtabError: They cannot be written.
        """
        text = "".join(render({**row, "run": self._run}) + "\n" for row in rows)
        try:
            with self.path.open("ab") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrimtabError(
                f"cannot write {self.path}: {error.strerror or error}; make room: the same command goes on"
            ) from error

    def rows(self) -> Iterator[Row]:
        """All answers that it holds."""
        with self.path.open("rb") as file:
            for line in file:
                row = json_value(line)
                del row["run"]
                yield row

    def close(self) -> None:
        """Lets other processes write it."""
        self._lock.release()
        with contextlib.suppress(OSError):
            Path(self._lock.lock_file).unlink()


def _locked(path: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name[:200]}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrimtabError(f"another process writes {path}; wait for it, or choose another file") from None
    except (OSError, NotImplementedError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrimtabError(f"cannot write {path}: {reason}; choose another file") from error
    return lock


def digest_of_run(parts: Mapping[str, Any]) -> str:
    """A short digest of what decides answers."""
    from trimtab.steering.documents import canonical_digest

    return canonical_digest(parts)[:23]
