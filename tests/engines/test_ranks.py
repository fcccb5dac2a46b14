"""Several processes learn what one would have learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.engines.learn_together import learned

from trimtab.engines import ranks
from trimtab.engines.ranks import Ranks
from trimtab.steering.steering import Steering

ROOT = Path(__file__).parents[2]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    script = ["-m", "tests.engines.learn_together", str(tmp_path)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, *script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (Steering.load(tmp_path / rank) for rank in ("0", "1"))
    alone = learned()
    assert len(alone.edits) == len(first.edits) == len(second.edits)
    for one, other, single in zip(first.edits, second.edits, alone.edits, strict=True):
        assert one.content() == other.content()
        torch.testing.assert_close(one.u, single.u, atol=1e-5, rtol=1e-4)
        assert one.p is not None
        assert single.p is not None
        torch.testing.assert_close(one.p, single.p, atol=1e-5, rtol=1e-4)


def test_one_process_shares_with_nobody() -> None:
    alone = Ranks()
    assert (alone.count, alone.is_first) == (1, True)
    assert alone.share("abc") == ["a", "b", "c"]
    assert alone.merge({1: "one"}) == {1: "one"}
    tensor = torch.ones(2)
    alone.add([tensor])
    assert tensor.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("environment", "cuda", "asked", "expected"),
    [
        ({}, True, None, None),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True, None, "cuda:1"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True, "cuda", "cuda:1"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True, "cuda:3", "cuda:3"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, True, "cpu", "cpu"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, False, None, None),
    ],
)
def test_every_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    cuda: bool,
    asked: str | None,
    expected: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    used: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    assert ranks.own_device(asked) == expected
    assert used == ([1] if expected == "cuda:1" else [])


def test_the_first_process_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.started_first()
    monkeypatch.setenv("RANK", "1")
    assert not ranks.started_first()
