"""What holds for every test: no network, no deadline, and tiny random models that are made once per session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A stand-in for the Hub, where huggingface_hub looks for it; no token and no file is kept on this machine."""
    from huggingface_hub import constants
    from tests.steering.hub_stand_in import running

    with running() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
