"""SmolLM2 for the tests that run on it; each of them counts as slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def engine(smollm2_file: Path) -> Any:
    """The model by its name, on the CPU in float32."""
    import trimtab

    return trimtab.load("smollm2", device="cpu", dtype="float32")
