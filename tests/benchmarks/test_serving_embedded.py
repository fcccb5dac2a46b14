"""The benchmark of the embedded server asks in every way, and counts the tokens of answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.serving import __main__ as command
from benchmarks.serving.embedded import Way, rows_of, ways_of


def test_a_small_one_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    options = ["--engine", "transformers", "--model", "nano", "--clients", "3", "--new-tokens", "3"]
    assert command.main([*options, "--rounds", "1", "--json", str(out), "--markdown", "-"]) == 0
    found = json.loads(out.read_text())
    assert [len(way["speeds"]) for way in found["ways"]] == [1] * 4
    assert [way["at_once"] for way in found["ways"]] == [1, 3, 3, 3]
    table = capsys.readouterr().out
    assert table.count("\n| ") >= 4
    assert "nano-instruct, " in table


def test_the_table_compares_with_one_by_one_and_with_unsteered() -> None:
    ways = ways_of(4)
    for way, speeds in zip(ways, ([10.0, 12.0], [30.0, 40.0], [30.0, 38.0], [27.0, 40.0]), strict=True):
        way.speeds += speeds
        way.cpu_speeds += [2 * speed for speed in speeds]
    header, one, plain, added, gated = rows_of(ways, 4)
    assert header[0] == "4 clients"
    assert one[1:] == ["11.0", "1.00", "-", "-", "-", "-"]
    assert plain[1:] == ["35.0", "3.18", "-", "-", "-", "-"]
    assert added[3:] == ["0.975", "0.950", "1.000", "0.975"]
    assert gated[3:] == ["0.950", "0.900", "1.000", "0.950"]
    assert Way("x", 1).speeds == []
