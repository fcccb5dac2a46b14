from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.running import run

from benchmarks import continuous


def test_it_measures_all_ways_and_writes_them_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    options = "--model nano --dtype float32 --clients 2 --requests 4 --tokens 6 --alone 2 --rounds 1 --json"
    assert run(continuous.main, "continuous", [*options.split(), str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found["tokens_per_second"]) == {"alone", "together", "steered"}
    assert found["tokens"] == 24
    assert "together / alone" in capsys.readouterr().out
