"""The register of engines: what `load(engine=...)` and `--engine` find by name.

An engine of another package is one entry point in the group `trimtab.engines`: its name, and the class or function that
opens it, called as `opener(model, **options)` with the options of `load`. Nothing of it is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.engines.base import Engine

ENTRY_POINT_GROUP = "trimtab.engines"
DEFAULT = "transformers"

Opener = Callable[..., "Engine"]
"""`(name, **options) -> engine`; it should take `dtype`, `revision` and `trust_remote_code`."""

_own = {DEFAULT: EntryPoint(DEFAULT, "trimtab.engines.loading:load_transformers", ENTRY_POINT_GROUP)}
_registered: dict[str, Opener] = {}


def register(name: str, opener: Opener) -> None:
    """Adds an engine for this process.

    Raises:
        ModelError: The name is taken.
    """
    if name in names_of_engines():
        raise ModelError(f"there is an engine {name!r} already; choose another name")
    _registered[name] = opener


def names_of_engines() -> list[str]:
    """The engines there are: the default one, those of installed packages, those registered."""
    return list(_declared() | _registered)


def find(name: str) -> Opener:
    """What opens the engine of that name; refused if there is none, or the package it is in fails."""
    arguments.text(name, "engine", ModelError)
    if name in _registered:
        return _registered[name]
    entry = _declared().get(name)
    if entry is None:
        raise ModelError(f"there is no engine {name!r}; there are {', '.join(names_of_engines())}")
    try:
        opener: Opener = entry.load()
    except Exception as error:  # whatever the code of another package raises
        raise ModelError(f"the engine {name!r} ({entry.value}) cannot be loaded: {error}") from error
    return opener


def _declared() -> dict[str, Any]:
    # What is trimtab's own cannot be replaced from outside.
    return _own | {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)} | _own
