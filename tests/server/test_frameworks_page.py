"""The blocks of docs/frameworks.md that speak to a server, run against one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.docs.test_pages import AT_A_SERVER, ROOT, blocks
from tests.serve.conformance import TOKENS


def test_langchain_chooses_a_steering(
    engine: Any, expected: Any, known: Any, run_server: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("langchain_openai")
    steering = known["s0"]
    steering.save(tmp_path / "lowercase")
    found = [one for one in blocks(ROOT / "docs" / "frameworks.md") if AT_A_SERVER in one.text]
    assert len(found) == 1
    with run_server(engine, steerings=tmp_path) as server:
        exec(found[0].text.replace(AT_A_SERVER, server.address), {})
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == lines[1] == expected("What is Langford?", steering) != expected("What is Langford?")
    assert expected("What is Langford?", steering * 0.8)[:20] in "\n".join(lines[2:])
    assert TOKENS == 24
