"""What holds for every test: no network, and tiny random models that are made once per session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

# Before anything imports huggingface_hub, which reads it once: what asks for the Hub by mistake shall fail at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def engines() -> Callable[[str], Any]:
    """Engines by name: an architecture of `tests.tiny`, or `"nano"`."""

    @cache
    def make(name: str) -> Any:
        if name == "nano":
            import trimtab

            return trimtab.load("nano", device="cpu")
        from tests.tiny import tiny_engine

        return tiny_engine(name)

    return make


@pytest.fixture(scope="session")
def tiny_llama(engines: Callable[[str], Any]) -> Any:
    """An engine over a tiny random Llama: 3 blocks of width 32, one token per byte, a context of 128."""
    return engines("llama")
