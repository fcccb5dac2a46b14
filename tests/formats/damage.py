"""Damaged copies of a file, and what every reader owes for them: one clear error, or content that can be used."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings
from tests.fuzzing.damage import damaged as damaged

from trimtab.errors import SteeringError
from trimtab.formats.base import Content
from trimtab.steering.record import ModelIdentity

FUZZED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def model(width: int = 16, blocks: int = 3, architecture: str = "llama") -> ModelIdentity:
    """An identity to read for."""
    return ModelIdentity("tiny", None, architecture, blocks, width, "plain")


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
