"""The pages of the documentation that need vLLM do what they say; see tests/docs/test_pages.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.test_pages import ON_VLLM, ROOT, run_blocks

# What vLLM and what it imports warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("name", sorted(ON_VLLM))
def test_every_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "ERROR")
    run_blocks(ROOT / "docs" / name)
