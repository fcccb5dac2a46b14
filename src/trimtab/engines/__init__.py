"""Engines: what runs a model. Heavy libraries are imported when an engine is made, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.engines.base import Capture, Engine, Generation, Model, Positions, Prompt
from trimtab.engines.loading import as_engine, load
from trimtab.engines.transformers import TransformersEngine

if TYPE_CHECKING:
    from trimtab.vllm.engine import VllmEngine

__all__ = [
    "Capture",
    "Engine",
    "Generation",
    "Model",
    "Positions",
    "Prompt",
    "TransformersEngine",
    "VllmEngine",
    "as_engine",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "VllmEngine":
        from trimtab.vllm.engine import VllmEngine

        return VllmEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
