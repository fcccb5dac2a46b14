"""Damaged copies of a file, and what every reader owes for them: one clear error, or content that can be used."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trimtab.errors import SteeringError
from trimtab.formats.base import Content
from trimtab.steering.record import ModelIdentity

FUZZED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def model(width: int = 16, blocks: int = 3, architecture: str = "llama") -> ModelIdentity:
    """An identity to read for."""
    return ModelIdentity("tiny", None, architecture, blocks, width, "plain")


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with bits flipped, bytes overwritten, cut off, repeated or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(changed) - 1, 0)))
        way = draw(st.sampled_from(("flip", "flip", "flip", "huge", "cut", "insert", "repeat")))
        if way == "flip" and changed:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif way == "huge":
            changed[place : place + 8] = draw(
                st.sampled_from((b"\xff" * 8, b"\x00" * 8, b"\x00" * 7 + b"\x7f"))
            )
        elif way == "cut":
            del changed[place:]
        elif way == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif way == "repeat":
            changed[place:place] = changed[place : place + draw(st.integers(1, 200))]
    return bytes(changed)


def is_refused_or_read(read: Callable[[], Content], size: int) -> None:
    """Reads a damaged file of that many bytes: one line of error, or vectors no larger than the file has room for."""
    refusal = None
    try:
        content = read()
    except SteeringError as error:
        refusal = str(error)
    if refusal is not None:
        assert len(refusal) < 600
        return
    vectors = [vector for edit in content.edits for vector in (edit.u, edit.p) if vector is not None]
    assert vectors
    assert all(bool(torch.isfinite(vector).all()) for vector in vectors)
    assert sum(vector.nbytes for vector in vectors) <= 8 * size


@contextlib.contextmanager
def path_tricks(folder: Path) -> Iterator[list[Path]]:
    """Places that are not files: a folder, a link to nothing, a pipe that nobody writes to, an endless device."""
    import os

    empty, link, pipe = folder / "empty", folder / "link", folder / "pipe"
    empty.mkdir()
    link.symlink_to(folder / "nothing")
    os.mkfifo(pipe)
    yield [empty, link, pipe, Path("/dev/zero"), folder / "missing", folder / ("x" * 300), Path("nul\0byte")]
    shutil.rmtree(empty)
