from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.running import run

from benchmarks import decoding
from trimtab.errors import ModelError


def test_it_measures_all_ways_and_writes_them_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    options = "--model nano --dtype float32 --rows 3 --tokens 6 --rounds 1 --json".split()
    assert run(decoding.main, "decoding", [*options, str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found["tokens_per_second"]) == {"before", "stretches", "free", "held"}
    assert "held / free" in capsys.readouterr().out


def test_ways_that_are_not_known_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for ways in ("free,slow", "held"):
        assert run(decoding.main, "decoding", ["--model", "nano", "--ways", ways]) == 2
        assert "with 'free' among them" in capsys.readouterr().err


def test_other_tokens_are_an_error(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines("nano")
    monkeypatch.setitem(decoding.WAYS, "before", decoding.WAYS["held"])
    with pytest.raises(ModelError, match="other tokens"):
        decoding.measure(engine, ["Where does it live?", "What is a river?"], 12, 1)
