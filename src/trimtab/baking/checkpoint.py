"""A checkpoint of transformers, written whole: a class, its config, all its tensors, and the folder they are put in."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import ModelError, TrimtabError

RECORD = "trimtab-baked.json"
"""In a folder that was baked: which way was taken, what of it is exact, and the steering's record."""
_NOT_CARRIED = ("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path", "dtype")


@dataclass(frozen=True)
class Checkpoint:
    """What is to be written.

    Attributes:
        kind: The class of the model.
        config: Its config.
        tensors: All its tensors by their names, parameters and persistent buffers; tied ones may stand under each name.
    """

    kind: Any
    config: Any
    tensors: Mapping[str, Tensor]

    def write(self, folder: Path, generation_config: Any) -> None:
        """Write config and weights as transformers does; the tensors are not copied.

        Raises:
            ModelError: They are not those of the class.
        """
        with torch.device("meta"):
            model = self.kind(self.config)
        missing, unexpected = model.load_state_dict(dict(self.tensors), strict=False, assign=True)
        if missing or unexpected:
            raise ModelError(
                f"{self.kind.__name__} has other tensors than those to be written: {(missing + unexpected)[0]}"
            )
        model.tie_weights()
        model.generation_config = generation_config
        model.save_pretrained(folder)


def plain_values(config: Any) -> dict[str, Any]:
    """The values of a config, less what says of which class it is and where it was read from."""
    return {name: value for name, value in config.to_dict().items() if name not in _NOT_CARRIED}


def tensors_of(model: Any) -> dict[str, Tensor]:
    """All tensors of a model by their names.

    Raises:
        ModelError: They are not all there, or are not plain ones.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        raise ModelError(
            "the weights of this model are held in fewer bits; to bake, load it without quantization"
        )
    tensors: dict[str, Tensor] = model.state_dict()
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ModelError(
                f"the weights of this model are not all in memory ({name}); load it without device_map"
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def check_out(out: Path) -> None:
    """Let only a missing or empty folder, or one that was baked before, be written to.

    Raises:
        TrimtabError: It holds something else, or is no folder.
    """
    try:
        out.resolve()  # refuses a name with a zero byte, which the next lines would take
        if out.is_symlink() and not out.exists():
            raise TrimtabError(f"{out} is a link to nothing; choose another folder")
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
        if not there.is_dir():
            raise TrimtabError(f"{there} is a file; choose a folder to write to")
        others = (
            [] if there != out or (out / RECORD).is_file() else sorted(path.name for path in out.iterdir())
        )
    except (OSError, ValueError) as error:  # ValueErrors: names with a zero byte
        raise TrimtabError(f"cannot write {out}: {getattr(error, 'strerror', None) or error}") from error
    if others:
        raise TrimtabError(f"{out} holds something else ({others[0]}); choose an empty or a new folder")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `out` when the block ends well, and is gone when it does not.

    Raises:
        TrimtabError: It cannot be written.
    """
    check_out(out)
    out = out.resolve()
    work = out.parent / f".{out.name[:64]}-{secrets.token_hex(4)}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
    except OSError as error:
        raise TrimtabError(f"cannot write {out}: {error.strerror or error}") from error
    old = work.with_suffix(".old")
    try:
        yield work
        for path in sorted(work.rglob("*")):
            _flush(path)
        if out.exists():
            out.rename(old)
        try:
            work.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        _flush(out.parent)
    except OSError as error:
        raise TrimtabError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk; not every system can for folders."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
