"""Steering on vLLM: a plug-in that serves every request its own, and an engine over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.vllm.engine import VllmEngine

__all__ = ["WORKER", "VllmEngine"]

WORKER = "trimtab.vllm.worker.worker.SteeringWorker"
"""What vLLM's workers are to be extended by: its `worker_extension_cls`."""


def __getattr__(name: str) -> Any:
    if name == "VllmEngine":
        from trimtab.vllm.engine import VllmEngine

        return VllmEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
