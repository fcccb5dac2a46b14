"""Files are looked at before they are read whole."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch

from trimtab.errors import SteeringError
from trimtab.steering import suspicion
from trimtab.steering.edits import Edit
from trimtab.steering.steering import ModelIdentity, Record, Steering


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record = Record(ModelIdentity("fake", None, "Fake", 4, 8, "plain"))
    return Steering("a", (Edit.add(1, torch.ones(8), 1.0),), record).save(tmp_path / "a")


def grow(path: Path, size: int) -> None:
    """Make a file longer, with a hole: it takes no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(size)


def refused(folder: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SteeringError, match=message):
            Steering.load(folder)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_file_longer_than_its_header_says_is_not_read(folder: Path) -> None:
    grow(folder / "steering.safetensors", 2**30)
    refused(
        folder,
        rf"steering.safetensors is damaged or cut off \(it has {2**30} bytes, and its header tells of \d+\)",
    )


def test_a_header_that_promises_more_than_any_steering_is_refused(folder: Path) -> None:
    size = 30 * 2**30
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path = folder / "steering.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    grow(path, 8 + len(header) + size)
    refused(
        folder, r"steering.safetensors has 322\d+ bytes, more than the 4294967296 that any steering takes"
    )


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 8, b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"[]", b"\x01" + b"\x00" * 9]
)
def test_a_header_that_is_none_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "steering.safetensors").write_bytes(content)
    refused(folder, "steering.safetensors is damaged or cut off")


def test_a_document_too_large_is_not_read(folder: Path) -> None:
    grow(folder / "steering.json", suspicion.MOST_DOCUMENT + 1)
    refused(folder, "steering.json has 67108865 bytes, more than")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("name", ["steering.json", "steering.safetensors"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, "it is not a file")
