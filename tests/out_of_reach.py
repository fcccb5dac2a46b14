"""A Hub that nobody answers for, without any network."""

from __future__ import annotations

import pytest
from tests.ports import free_port


def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the Hub where nothing listens, and lets huggingface_hub ask for it."""
    from huggingface_hub import constants

    nobody = f"http://127.0.0.1:{free_port()}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, nobody)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
