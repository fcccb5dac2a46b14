"""The benchmark of the fused operation, tiny, on a CPU: that it measures what it says, and nothing about speed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from benchmarks.serving.kernel import HEADER, KINDS, Blocks, Measured, main, rows_of

TINY = ("--shape", "tiny", "--batch", "3", "--repeats", "2", "--steps", "1", "--device", "cpu")


def _tiny() -> Blocks:
    return Blocks("tiny", 3, 4, torch.float32, torch.device("cpu"))


def test_the_matrices_are_those_of_the_shape() -> None:
    blocks = _tiny()
    assert (blocks.count, blocks.width) == (3, 32)
    assert [tuple(one.shape) for one in blocks.weights[0]] == [(64, 32), (32, 32), (96, 32), (32, 48)]
    assert blocks.products(blocks.weights[0]).shape == (3, 32)


def test_every_token_is_steered_differently_in_every_block_and_idle_means_none() -> None:
    for kind, used in KINDS.items():
        blocks = _tiny()
        before = blocks.stream.clone()
        outputs = blocks.step(kind, products=False)()
        assert len(outputs) == 3
        changes = blocks.stream - before
        if used is None:
            assert torch.equal(blocks.stream, before)
            continue
        assert len(changes.unique(dim=0)) == 3
        assert blocks.strength[kind].bool().sum(1).tolist() == [used] * 12  # three phases of four slots
        assert sorted((blocks.steered // 3).tolist()) == [1, 2, 3]
        for table in blocks.tables:  # what the last block does is seen in what comes out
            table[0].zero_()
            table[2].zero_()
        still = blocks.stream.clone()
        blocks.step(kind, products=False)()
        assert torch.equal(blocks.stream, still)


def test_ratios_are_taken_within_a_repeat() -> None:
    """The machine halves its speed in the second repeat, and in the third the base alone is disturbed."""
    alone = {kind: [1.0, 2.0, 2.0] for kind in KINDS}
    together = {kind: [11.0, 22.0, 22.0] for kind in KINDS}
    measured = Measured([10.0, 20.0, 100.0], alone, together)
    assert measured.share("idle") == pytest.approx(0.1)
    assert measured.slowdown("idle") == pytest.approx(0.1)
    rows = rows_of(measured, 2)
    assert rows[0] == list(HEADER)
    assert rows[2] == ["idle", "1000000.0", "10.00%", "+10.00%"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "there is no GPU here" in printed.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--shape", "tiny,tiny"], "one shape"),
        (["--shape", "x"], "no shape"),
        (["--dtype", "int8"], "no dtype"),
    ],
)
def test_mistakes_are_told(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, *arguments]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="the torch that vLLM needs; torch 2.9 fails to compile it",
)
def test_the_command_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]) == 0
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert set(result["kinds"]) == set(KINDS)
    assert all(len(kind["together"]) == 2 and min(kind["alone"]) > 0 for kind in result["kinds"].values())
    table = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert table.startswith("| every block |")
    assert "2 gated edits" in capsys.readouterr().out
