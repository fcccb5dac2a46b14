"""GGUF files written out as folders of transformers, once and into the cache, for engines that cannot read them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.engines import published
from trimtab.engines.names import Source
from trimtab.errors import ModelError


def unpacked(source: Source) -> Source:
    """A model that is no GGUF file: the same one, or what was written out of the file, under the file's name.

    The weights have the dtype of the file, bfloat16 where it is quantised. A process that wants the same file waits for
    the one that writes it.

    Raises:
        ModelError: The file is on the Hub and not here, cannot be read, or there is no place to write to.
    """
    if source.gguf_file is None:
        return source
    file = Path(source.place) / source.gguf_file
    if not file.is_file() or source.model_id != file.name:
        raise ModelError(
            f"{source.model_id} is a GGUF file on the Hub, which this engine cannot read from there; download it, and "
            "name the file"
        )
    from filelock import FileLock

    parent = published.cache_folder() / "unpacked" / published.digest(file)[:16]
    target = parent / file.name  # so that it is the same model to steerings
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "lock"):
            if not target.is_dir():
                with tempfile.TemporaryDirectory(dir=parent) as scratch:
                    _write(file, Path(scratch) / "model")
                    (Path(scratch) / "model").rename(target)
    except OSError as error:
        raise ModelError(
            f"{file.name} can't be written out as a folder in {parent}: {error.strerror or error}; name another place: "
            f"{published.CACHE}"
        ) from error
    return Source(str(target), file.name)


def _write(file: Path, folder: Path) -> None:
    from trimtab.engines.loading import load_transformers, quiet_bars

    engine = load_transformers(file, dtype="auto", device="cpu")
    with quiet_bars():
        engine.model.save_pretrained(folder)
    engine.tokenizer.save_pretrained(folder)
