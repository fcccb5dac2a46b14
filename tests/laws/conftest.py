"""Every law runs over every architecture, and over the built-in model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.tiny import ARCHITECTURES


@pytest.fixture(params=[*ARCHITECTURES, "nano"])
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Any]) -> Any:
    return engines(request.param)
