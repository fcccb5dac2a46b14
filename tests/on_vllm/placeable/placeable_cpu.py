"""A platform for vLLM: its CPU, on which Ray may place workers. vLLM's own CPU platform refuses Ray."""

from __future__ import annotations


def platform() -> str:
    """The entry point `vllm.platform_plugins`: where the class is. vLLM must not be imported here."""
    return "placeable_cpu_platform.PlaceableCpu"
