"""The blocks of docs/frameworks.md that speak to a server, run against one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.docs.test_pages import AT_A_SERVER, ROOT, blocks
from tests.serve.conformance import TOKENS

PACKAGES = ["langchain_openai", "litellm"]
BLOCKS = [one.text for one in blocks(ROOT / "docs" / "frameworks.md") if AT_A_SERVER in one.text]


def test_every_block_that_asks_a_server_is_run() -> None:
    assert [[name for name in PACKAGES if name in text] for text in BLOCKS] == [[name] for name in PACKAGES]


@pytest.mark.filterwarnings("ignore")  # LiteLLM imports as it goes, and pydantic remarks on its types
@pytest.mark.parametrize("package", PACKAGES)
def test_a_framework_chooses_a_steering(
    package: str,
    engine: Any,
    expected: Any,
    known: Any,
    run_server: Any,
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches a list of prices
    pytest.importorskip(package)
    steering = known["s0"]
    steering.save(tmp_path / "lowercase")
    [text] = [one for one in BLOCKS if package in one]
    with run_server(engine, steerings=tmp_path) as server:
        exec(text.replace(AT_A_SERVER, server.address), {})
        assert len(server.log.lines) >= 3
        assert all("steered by sha256:" in line for line in server.log.lines)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == lines[1] == expected("What is Langford?", steering) != expected("What is Langford?")
    assert expected("What is Langford?", steering * 0.8)[:20] in "\n".join(lines[2:])
    assert TOKENS == 24
