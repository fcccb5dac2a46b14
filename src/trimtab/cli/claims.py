"""Folders that a command is going to write: of two processes that write one at once, one would undo the other."""

from __future__ import annotations

import getpass
import hashlib
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from trimtab.errors import SteeringError

_held: dict[Path, FileLock] = {}


def claim(folder: Path) -> None:
    """Keep a folder for this process until `release`; processes that a launcher started together share it.

    Raises:
        SteeringError: Another process is going to write it.
    """
    from trimtab.engines.ranks import started_first

    place = folder.absolute().resolve()
    if place in _held or not started_first():
        return
    # Beside the folder it would be left behind; and that may be one where nobody else may write.
    name = hashlib.sha256(str(place).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    try:
        kept = Path(tempfile.gettempdir()) / f"trimtab-{getpass.getuser()}"
        kept.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(kept / f"{name}.lock", thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise SteeringError(
            f"another process is writing {folder}; wait for it, or choose another folder"
        ) from None
    except (OSError, KeyError, ImportError, NotImplementedError):
        return  # where nothing can be locked, commands run all the same
    _held[place] = lock


def release() -> None:
    """Give back what was claimed."""
    while _held:
        _held.popitem()[1].release()
