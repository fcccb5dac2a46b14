"""`trimtab architectures` without vLLM; tests/vllm/test_architectures.py has what it says with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trimtab.vllm import architectures


def test_without_vllm_it_says_so(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "find_spec", lambda name: None)
    result = run("architectures")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: vLLM is not installed here")
    assert "pip install 'trimtab[vllm]'" in result.stderr
