"""Where a model is, what it is called, and why it cannot be loaded: the same for every engine."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimtab import arguments
from trimtab.engines import published
from trimtab.errors import ModelError, is_out_of_memory
from trimtab.files import json_value
from trimtab.steering.identity import folder_id

_NANO = {"nano": "nano-instruct", "nano-instruct": "nano-instruct", "nano-base": "nano-base"}
_GGUF = ".gguf"
SOURCE_FILE = "trimtab-source.json"
"""In a folder that was made of a GGUF file: what that is called, and its revision."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """Where a model is.

    Attributes:
        place: The folder or the name on the Hub, as transformers takes it.
        model_id: What to call it in records: the folder's name, the file's, or the name on the Hub.
        built_in: Its name if it is built in, or is the folder of one that is.
        gguf_file: The GGUF file in `place` that it is read from; None for a model of transformers.
    """

    place: str
    model_id: str
    built_in: str | None = None
    gguf_file: str | None = None

    @property
    def reading(self) -> dict[str, str]:
        """What every `from_pretrained` of transformers needs beside the place."""
        return {} if self.gguf_file is None else {"gguf_file": self.gguf_file}


def name_and_revision(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """What `load` calls a model, and which revision of it; for engines that load models themselves."""
    source = source_of(name)
    return source.model_id, revision_of(source, revision)


def source_of(name: str | Path, gguf_file: str | None = None) -> Source:
    """Where to load a model from, and what to call it.

    Args:
        name: As `load` takes it: the built-in model, a folder, a name on the Hub, or a GGUF file; one on the Hub is
            `owner/name/file.gguf`.
        gguf_file: A GGUF file in the folder or the repository of that name.

    Raises:
        ModelError: There is nothing of the name.
    """
    from trimtab import nano

    arguments.place(name, "name", ModelError)
    if name in published.PUBLISHED and gguf_file is None:
        name = published.fetch(str(name))  # called by its file, as if that were given
    if str(name) in _NANO and gguf_file is not None:
        raise ModelError(f"{name} comes with trimtab: it has no GGUF file; leave gguf_file={gguf_file!r} out")
    whole, file = _gguf(str(name))
    if file is not None and gguf_file is not None:
        raise ModelError(
            f"{name} is a GGUF file itself; leave gguf_file={gguf_file!r} out, or name its folder"
        )
    if file is not None or gguf_file is not None:
        return _gguf_source(whole if file is not None else str(name), file or str(gguf_file))
    place, model_id = _source(name)
    known = model_id in nano.NAMES and Path(place).resolve() == nano.path(model_id).resolve()
    return Source(place, model_id, model_id if known else None)


def _gguf(text: str) -> tuple[str, str | None]:
    """A name that ends in `.gguf`, as the folder or repository and the file in it."""
    if not text.lower().endswith(_GGUF) or Path(text).expanduser().is_dir():
        return text, None
    path = Path(text).expanduser()
    parts = text.split("/")
    if path.is_file() or len(parts) < 3 or text.startswith((".", "/", "~")):
        return str(path.parent), path.name
    return "/".join(parts[:2]), "/".join(parts[2:])


def _gguf_source(place: str, file: str) -> Source:
    folder = Path(place).expanduser()
    if not file.lower().endswith(_GGUF):
        raise ModelError(f"gguf_file={file!r} is no GGUF file; its name ends in {_GGUF}")
    if folder.is_dir():
        if not (folder / file).is_file():
            others = ", ".join(sorted(one.name for one in folder.glob(f"*{_GGUF}"))[:5])
            found = f"it holds {others}" if others else "it holds no GGUF file"
            raise ModelError(f"there is no file {file} in the folder {place}; {found}")
        model_id = folder_id(folder.resolve())
        on_hub = "/" in model_id
        return Source(str(folder), f"{model_id}/{file}" if on_hub else Path(file).name, gguf_file=file)
    if place.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(place):
        raise ModelError(
            f"there is no file {folder / file}; give an existing GGUF file, or owner/name/file.gguf"
        )
    return Source(place, f"{place}/{file}", gguf_file=file)


def _source(name: str | Path) -> tuple[str, str]:
    text = str(name)
    if text in _NANO:
        from trimtab import nano

        weights = nano.path(_NANO[text])
        if not (weights / "model.safetensors").is_file():
            raise ModelError(
                f"the weights of {text} are missing from this installation ({weights}); install trimtab again, or "
                "make them with `python -m trimtab.nano.recipe.train`"
            )
        return str(weights), _NANO[text]
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            files = sorted(one.name for one in folder.glob(f"*{_GGUF}"))
            if files:
                raise ModelError(
                    f"the folder {text} holds no config.json, but {', '.join(files[:5])}; name the GGUF file: "
                    f"{folder / files[0]}"
                )
            raise ModelError(
                f"the folder {text} holds no config.json; give the folder of a transformers model"
            )
        return str(folder), _made_of(folder) or folder_id(folder.resolve())
    if folder.exists():
        raise ModelError(
            f"{text} is a file; give the folder of a transformers model, or a file in GGUF (.gguf)"
        )
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(text):
        raise ModelError(f"there is no folder {text}; give an existing one, a model of the Hub, or nano")
    return text, text


def _made_of(folder: Path) -> str | None:
    try:
        found = json_value((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(found["id"]) if isinstance(found, dict) and "id" in found else None


def revision_of(source: Source, asked: str | None) -> str | None:
    """The commit of what was just loaded; None for a folder, which has none."""
    if source.built_in is not None:
        from trimtab import nano

        return nano.revision(source.built_in)
    if Path(source.place).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    # Kept under the commit's name.
    file = source.gguf_file or "config.json"
    found = try_to_load_from_cache(source.place, file, revision=asked)
    return Path(found).parents[file.count("/")].name if isinstance(found, str) else None


def reason_of(name: str, source: Source, error: BaseException) -> str:
    """What went wrong and what to do, from an error of transformers and what caused it."""
    from huggingface_hub import errors

    local = Path(source.place).is_dir()
    causes = list(causes_of(error))
    kinds = [type(cause) for cause in causes]
    text = " ".join(str(cause) for cause in causes)

    def is_a(*wanted: type[BaseException]) -> bool:
        return any(issubclass(kind, wanted) for kind in kinds)

    if "trust_remote_code" in text:
        return f"{name} comes with code of its own; if you trust it, say trust_remote_code=True"
    if any(is_out_of_memory(cause) for cause in causes) or "cannot allocate memory" in text.lower():
        return (
            f"{name} can't be loaded: there is not enough memory for it ({first_line(error):.200}); take a smaller "
            "dtype, or, if it should fit, download or save it anew"
        )
    if "deserializing header" in text:
        file = _damaged(Path(source.place)) if local else "a file of its weights"
        return f"{name} can't be loaded: {file} is damaged ({first_line(error):.200}); download or save the model anew"
    if isinstance(error, ImportError):
        return f"{name} can't be loaded without another package: {first_line(error)}"
    if local and "backend tokenizer" in text:
        return f"{name} holds no tokenizer (tokenizer.json); give the folder of a whole model"
    if not local and is_a(errors.GatedRepoError):
        return f"{name} is gated: accept its terms on its page on the Hub and log in with `hf auth login`"
    if not local and is_a(errors.RevisionNotFoundError):
        return f"{name} has no such revision on the Hub: {first_line(error)}"
    if not local and is_a(errors.RepositoryNotFoundError, errors.HFValidationError):
        return f"there is no model {name} on the Hub (or it is private); a folder is written ./{name}"
    if "safetensors" in text and re.search(r"no file named|does not appear to have a file named", text):
        if local and not list(Path(source.place).glob("*.bin")):
            return f"{name} holds no weights (model.safetensors); give the folder of a whole model"
        return (
            f"{name} has no weights in safetensors; if you trust it, say allow_pickle=True to unpickle others"
        )
    unreachable = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if not local and (is_a(*unreachable) or "couldn't connect" in text.lower()):
        return (
            f"the Hub can't be reached and {name} is not in its cache: check the network, give a folder, or use "
            "the built-in model nano"
        )
    return f"{name} can't be loaded: {first_line(error)}"


def _damaged(folder: Path) -> str:
    """The first file of weights in a folder whose head cannot be read."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError):
            return path.name
    return "a file of its weights"


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def check_reachable(name: str, source: Source, revision: str | None = None) -> None:
    """Refuses a model of the Hub that is not in its cache where the Hub cannot be reached, without trying for long.

    Raises:
        ModelError: It is so: no name server knows the Hub, or nothing answers there.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if Path(source.place).is_dir():
        return
    file = source.gguf_file or "config.json"
    try:
        if not isinstance(try_to_load_from_cache(source.place, file, revision=revision), str):
            get_hf_file_metadata(hf_hub_url(source.place, file, revision=revision))
    except Exception as error:  # whatever else is wrong, whoever loads it says
        if any(isinstance(one, socket.gaierror | ConnectionRefusedError) for one in causes_of(error)):
            raise ModelError(reason_of(name, source, ConnectionError(str(error)))) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
