"""The size of the cache on a CPU: vLLM would take nine tenths of the machine, or not start where others need it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_SPACE = "VLLM_CPU_KVCACHE_SPACE"
_GIB = 2**30


def bytes_on_cpu(given: Collection[str], environment: Mapping[str, str], *, built_in: bool) -> int | None:
    """The size to ask for as vLLM's `kv_cache_memory_bytes`.

    Args:
        given: vLLM's options that a user gave, by their names in Python.
        environment: Of vLLM's processes.
        built_in: Whether the model is one of trimtab's own, which are small.

    Returns:
        Bytes; None if the user said how much, in one of the three ways that vLLM has for it.
    """
    if environment.get(_SPACE) or not {"kv_cache_memory_bytes", "gpu_memory_utilization"}.isdisjoint(given):
        return None
    return (1 if built_in else 4) * _GIB
