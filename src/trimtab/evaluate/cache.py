"""Answers kept by content: what was asked of which model, how, and what came back.

The key of an entry is what its value depends on, as far as can be told cheaply, so two runs may share a folder, and a
run that was killed goes on where it was. Every entry is a small JSON file that holds its own key and a
checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__
from trimtab.errors import TrimtabError
from trimtab.files import sealed, unsealed, write_bytes

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


class ContentCache:
    """A folder of values by key, both plain JSON.

    Args:
        folder: Made with the first entry, or by `make_folder`; None keeps the values in memory only, and forgets them
            with the object.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._memory: dict[str, Any] = {}

    def get(self, key: Mapping[str, Any]) -> Any:
        """The value of a key, or None where there is none.

        An entry that is damaged, or whose key is another, counts as none; it is replaced when the value is next put.
        """
        name, text = _name(key)
        if self.folder is None:
            return self._memory.get(name)
        try:
            key_kept, value = unsealed(self._path(name).read_bytes())
            return value if _canonical(key_kept) == text else None
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: Mapping[str, Any], value: Any) -> None:
        """Keeps a value, in one step.

        Raises:
            TrimtabError: The folder cannot be written.
        """
        name, _ = _name(key)
        if self.folder is None:
            self._memory[name] = value
            return
        try:
            content = sealed([dict(key), value]).encode()
            write_bytes(self._path(name), content, make_folder=True, flush=False)
        except TrimtabError as error:
            raise self._refusal(error) from error

    def make_folder(self) -> None:
        """Makes the folder, before there is work to keep in it.

        Raises:
            TrimtabError: It cannot be made.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error.strerror or error) from error

    def _refusal(self, why: object) -> TrimtabError:
        return TrimtabError(f"cannot write the cache {self.folder} ({why}); choose another folder (`cache`)")

    def _path(self, name: str) -> Path:
        """Two levels, so that no folder holds many thousand files."""
        folder = self.folder or Path()
        return folder / name[:2] / f"{name[2:]}.json"


def default_folder() -> Path:
    """Where answers are kept when nothing else is said: in the user's cache, as what was fetched is."""
    from trimtab.engines.published import cache_folder

    return cache_folder() / "answers"


def model_key(engine: Engine) -> dict[str, Any]:
    """What tells a model from any other: its identity, and its weights and settings where they can be read.

    The identity alone would not do: two checkpoints in folders of one name share it. The version of trimtab is part of
    it, since another one may generate otherwise.
    """
    from trimtab.engines.fingerprint import fingerprint

    key: dict[str, Any] = {
        "trimtab": __version__,
        "engine": type(engine).__name__,
        "identity": engine.identity.to_dict(),
    }
    model = getattr(engine, "model", None)
    if hasattr(model, "named_parameters"):
        key["weights"] = fingerprint(model)
    own = getattr(engine, "cache_key", None)  # of an engine whose model is in other processes
    if own is not None:
        key |= own()
    if engine.thoughts is not None and not engine.thoughts.is_trivial:
        key["thoughts"] = engine.thoughts.form.to_dict()  # what of the text is the answer goes by it
    settings = getattr(model, "generation_config", None)
    if settings is not None:
        key["generation"] = json.loads(json.dumps(settings.to_diff_dict(), default=str))
    return key


def _name(key: Mapping[str, Any]) -> tuple[str, str]:
    text = _canonical(key)
    return hashlib.sha256(text.encode()).hexdigest(), text


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps(dict(key), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
