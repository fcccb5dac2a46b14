"""Where a model is, what it is called, and why it cannot be loaded: the same for every engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trimtab.engines import published
from trimtab.errors import ModelError
from trimtab.steering.identity import folder_id

_NANO = {"nano": "nano-instruct", "nano-instruct": "nano-instruct", "nano-base": "nano-base"}


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def name_and_revision(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """What `load` calls a model, and which revision of it; for engines that load models themselves."""
    source, model_id, built_in = source_of(name)
    return model_id, revision_of(source, built_in, revision)


def source_of(name: str | Path) -> tuple[str, str, str | None]:
    """Where to load a model from, what to call it, and its name if it is built in, or is the folder of one that is."""
    from trimtab import nano

    source, model_id = _source(name)
    known = model_id in nano.NAMES and Path(source).resolve() == nano.path(model_id).resolve()
    return source, model_id, model_id if known else None


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
    if isinstance(name, str) and text in published.PUBLISHED:
        return str(published.fetch(text)), text
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"the folder {text} holds no config.json; give the folder of a transformers model"
            )
        return str(folder), folder_id(folder.resolve())
    if folder.exists():
        raise ModelError(f"{text} is a file; give the folder of a transformers model")
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(text):
        raise ModelError(f"there is no folder {text}; give an existing one, a model of the Hub, or nano")
    return text, text


def revision_of(source: str, built_in: str | None, asked: str | None) -> str | None:
    """The commit of what was just loaded; None for a folder, which has none."""
    if built_in is not None:
        from trimtab import nano

        return nano.revision(built_in)
    if Path(source).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(source, "config.json", revision=asked)  # kept under the commit's name
    return Path(config).parent.name if isinstance(config, str) else None


def reason_of(name: str, source: str, error: BaseException) -> str:
    """What went wrong and what to do, from an error of transformers and what caused it."""
    from huggingface_hub import errors

    local = Path(source).is_dir()
    causes = list(causes_of(error))
    kinds = [type(cause) for cause in causes]
    text = " ".join(str(cause) for cause in causes)

    def is_a(*wanted: type[BaseException]) -> bool:
        return any(issubclass(kind, wanted) for kind in kinds)

    if "trust_remote_code" in text:
        return f"{name} comes with code of its own; if you trust it, say trust_remote_code=True"
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
        if local and not list(Path(source).glob("*.bin")):
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


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
