"""GGUF files written out as folders of transformers, once and into the cache, for engines that cannot read them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from trimtab.engines import published
from trimtab.engines.names import SOURCE_FILE, Source, check_reachable, reason_of, revision_of, source_of
from trimtab.errors import ModelError


def unpacked(source: Source, dtype: torch.dtype | str | None = None, revision: str | None = None) -> Source:
    """A model that is no GGUF file: the same one, or what was written out of the file, under the file's name.

    A process that wants the same file waits for the one that writes it.

    Args:
        source: Where the file is, here or on the Hub.
        dtype: Of the weights; None is what `load` chooses on this machine.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: The file cannot be read, or there is no place to write to.
    """
    if source.gguf_file is None:
        return source
    if dtype is None and torch.accelerator.is_available():
        dtype = "auto"
    check_reachable(source.model_id, source, revision)
    file = file_of(source, revision)
    from filelock import FileLock

    kind = str(dtype or "default").removeprefix("torch.")
    parent = published.cache_folder() / "unpacked" / f"{published.digest(file)[:16]}-{kind}"
    target = parent / file.name  # so that it is the same model to steerings
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "lock"):
            if not target.is_dir():
                with tempfile.TemporaryDirectory(dir=parent) as scratch:
                    _write(source, dtype, revision, Path(scratch) / "model")
                    (Path(scratch) / "model").rename(target)
    except OSError as error:
        raise ModelError(
            f"{file.name} can't be written out as a folder in {parent}: {error.strerror or error}; name another place: "
            f"{published.CACHE}"
        ) from error
    return source_of(target)


def file_of(source: Source, revision: str | None = None) -> Path:
    """The GGUF file that a model is read from, on this machine.

    Raises:
        ModelError: It cannot be had.
    """
    from transformers.utils import cached_file

    try:
        return Path(str(cached_file(source.place, source.gguf_file, revision=revision)))
    except OSError as error:
        raise ModelError(reason_of(source.model_id, source, error)) from error


def _write(source: Source, dtype: torch.dtype | str | None, revision: str | None, folder: Path) -> None:
    from trimtab.engines.ends import end_tokens
    from trimtab.engines.loading import load_transformers, quiet_bars

    engine = load_transformers(
        source.place, gguf_file=source.gguf_file, dtype=dtype, device="cpu", revision=revision
    )
    # A server that reads the folder looks nowhere else for where an answer ends.
    ends = end_tokens(engine.model.generation_config, engine.tokenizer)
    engine.model.generation_config.eos_token_id = list(ends) or None
    with quiet_bars():
        engine.model.save_pretrained(folder)
    engine.tokenizer.save_pretrained(folder)
    known = {"id": source.model_id, "revision": revision_of(source, revision)}
    (folder / SOURCE_FILE).write_text(json.dumps(known), encoding="utf-8")
