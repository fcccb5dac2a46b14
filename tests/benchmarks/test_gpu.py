"""A day with a GPU, on a CPU: parts are apart from each other, and leave their figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.gpu import __main__ as command
from benchmarks.gpu.parts import PARTS, SMALL, decoding, learning
from benchmarks.running import run

TINY = replace(SMALL, repeats=1, batches=(1, 2), new_tokens=2, pairs=8, steps=2, real="/no/model")


def test_parts_come_in_their_order_and_within_ten_minutes() -> None:
    assert list(PARTS) == ["tests", "operation", "interpreter", "decoding", "vllm", "learning"]
    assert sum(seconds for _, seconds in PARTS.values()) <= command.LIMIT


def test_a_part_that_fails_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command.PARTS, "vllm", (PARTS["vllm"][0], 0.01))  # type: ignore[arg-type]
    asked = ["--small", "--parts", "vllm,interpreter", "--out", str(tmp_path)]
    assert run(command.command, "gpu", asked) == 1
    assert "took more than" in json.loads((tmp_path / "vllm.json").read_text())["failed"]
    found = json.loads((tmp_path / "interpreter.json").read_text())
    assert found["part"] == "interpreter"
    assert "failed" not in found
    assert found.get("worst", 0.0) < 1e-3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    assert run(command.command, "gpu", []) == 2
    assert run(command.command, "gpu", ["--small", "--parts", "flying"]) == 2


def test_decoding_and_learning_are_measured() -> None:
    assert set(decoding(TINY)["batches"]["2"]["ratio"]) == {"vector", "gated", "per row"}
    found = learning(TINY)
    assert "left_out" in found["/no/model"]
    assert found["random tiny_for_vllm"]["mean_difference"]["done"] == 8
