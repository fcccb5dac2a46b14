"""Engines: what runs a model, to read it and to answer with a steering for each row.

Each name is imported when it is first used, since most need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.engines.base import Capture, Engine, Generation, Model, Positions, Prompt
    from trimtab.engines.loading import load
    from trimtab.engines.registry import names_of_engines, register
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.engines.wrapping import as_engine

__all__ = [
    "Capture",
    "Engine",
    "Generation",
    "Model",
    "Positions",
    "Prompt",
    "TransformersEngine",
    "as_engine",
    "load",
    "names_of_engines",
    "register",
]

_HOMES = {
    "TransformersEngine": "transformers",
    "as_engine": "wrapping",
    "load": "loading",
    "names_of_engines": "registry",
    "register": "registry",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"trimtab.engines.{_HOMES.get(name, 'base')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
