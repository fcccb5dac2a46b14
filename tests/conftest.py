"""What holds for every test: no network, no deadline, and tiny random models that are made once per session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

# No test fails for being slow: the first use of a language detector alone takes longer than hypothesis grants.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

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
