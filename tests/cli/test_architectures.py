"""`trimtab architectures` without vLLM; tests/vllm/test_architectures.py has what it says with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_without_vllm_it_says_so(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.vllm.find_spec", lambda name: None)
    result = run("architectures")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the list of architectures needs vLLM, which is not installed")
    assert "pip install 'trimtab[vllm]'" in result.stderr
