"""Engines: what runs a model. Heavy libraries are imported when an engine is made, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.engines.base import (
    Capture,
    Engine,
    Generation,
    Positions,
    Progress,
    Prompt,
)

if TYPE_CHECKING:
    from trimtab.engines.loading import load
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.vllm.engine import VllmEngine

__all__ = [
    "Capture",
    "Engine",
    "Generation",
    "Positions",
    "Progress",
    "Prompt",
    "TransformersEngine",
    "VllmEngine",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "load":
        from trimtab.engines.loading import load

        return load
    if name == "TransformersEngine":
        from trimtab.engines.transformers import TransformersEngine

        return TransformersEngine
    if name == "VllmEngine":
        from trimtab.vllm.engine import VllmEngine

        return VllmEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
