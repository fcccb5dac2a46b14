"""The register of formats: what `trimtab import`, `trimtab export --format` and `trimtab.formats` find by name.

One of this project is a `Format` named `FORMAT` in its module here. One of another package is a `Format` in its
entry-point group `trimtab.formats`.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.formats.base import Format
from trimtab.plugins import load_each

ENTRY_POINT_GROUP = "trimtab.formats"

_MODULES = ("gguf", "lm_eval", "svec", "vllm_hook", "easyedit", "pyreft", "peft", "llm_steer_instruct")
_registered: dict[str, Format] = {}


def formats() -> tuple[Format, ...]:
    """All formats: those of this project, those that other packages declare, those registered; each name once."""
    known = {one.name: one for one in _own()}
    for one in (*_declared(), *_registered.values()):
        known.setdefault(one.name, one)
    return tuple(known.values())


def find(name: str) -> Format:
    """The format of that name.

    Raises:
        SteeringError: There is none; the message names those that there are.
    """
    arguments.text(name, "format", SteeringError)
    known = {one.name: one for one in formats()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise SteeringError(f"there is no format {name!r:.60}; {hint}")


def register(one: Format) -> None:
    """Adds a format for this process.

    Raises:
        SteeringError: The name is taken.
    """
    if any(one.name == other.name for other in formats()):
        raise SteeringError(f"there is a format {one.name!r} already; choose another name")
    _registered[one.name] = one


def _own() -> tuple[Format, ...]:
    return tuple(import_module(f"trimtab.formats.{name}").FORMAT for name in _MODULES)


def _declared() -> list[Format]:
    """What installed packages declare."""
    found: list[Format] = []

    def take(one: Any) -> None:
        if not isinstance(one, Format):
            raise TypeError(f"a trimtab.formats.Format is wanted, and this is a {type(one).__name__}")
        found.append(one)

    load_each(ENTRY_POINT_GROUP, "the format", take)
    return found
