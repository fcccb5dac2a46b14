"""Room for lessons on a CPU: what a pass keeps is counted, and a course takes as many at once as memory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learn.distillation.test_training import course, learned

from trimtab.learn.distillation import room, targets, training

MIB = 2**20


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose files say nothing yet."""
    monkeypatch.setattr(room, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    return tmp_path


def test_the_memory_of_the_machine_and_that_of_its_container_both_count(system: Path) -> None:
    assert room.available_memory() is None
    (system / "meminfo").write_text("MemTotal:  99 kB\nMemAvailable:    2048 kB\n")
    assert room.available_memory() == 2 * MIB
    (system / "memory.max").write_text("max\n")
    (system / "memory.current").write_text(f"{MIB}\n")
    assert room.available_memory() == 2 * MIB
    (system / "memory.max").write_text(f"{2 * MIB}\n")
    assert room.available_memory() == MIB
    (system / "meminfo").write_text("MemAvailable: much\n")
    assert room.available_memory() == MIB


def test_what_a_pass_keeps_is_counted_once_without_the_weights(tiny_llama: Any) -> None:
    inner = torch.ones(100, requires_grad=True)
    [weight, *_] = tiny_llama.model.parameters()

    def run() -> torch.Tensor:
        doubled = inner * 2  # keeps nothing
        squared = doubled * doubled  # keeps one tensor, for both of its factors
        weighted = squared * torch.ones(100)  # keeps the other factor
        return weighted.sum() + (weight.detach() * inner[0]).sum()  # keeps weights of the model

    # Two of them with a hundred numbers of four bytes, and the result and its gradient.
    assert room.kept_bytes(tiny_llama, run) == 2 * 400 + 2 * 4


@pytest.mark.parametrize(("fitting", "most"), [(1, 1), (2.5, 2), (100, 4)])
def test_a_course_takes_as_many_lessons_at_once_as_half_of_the_memory_holds(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch, fitting: float, most: int
) -> None:
    usual, passes, measured = targets.answer_logits, [], []

    def counted(engine: Any, rows: Any) -> torch.Tensor:
        passes.append(len(rows.ids))
        return usual(engine, rows)

    def known(engine: Any, run: Any) -> int:
        measured.append(before(engine, run))
        passes.clear()
        return 10 * MIB

    whole = course(tiny_llama)
    whole.run()
    before = room.kept_bytes
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(room, "kept_bytes", known)
    monkeypatch.setattr(room, "available_memory", lambda: int(2 * fitting * 10 * MIB))
    monkeypatch.setattr(training, "answer_logits", counted)
    parts = course(tiny_llama)
    parts.run()
    assert len(measured) == 1
    assert measured[0] > 0
    assert max(passes) == most
    for one, other in zip(learned(parts), learned(whole), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_where_a_single_lesson_is_too_large_one_goes_at_a_time(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(room, "available_memory", lambda: 1)
    assert room.lessons_at_once(tiny_llama, 16, lambda: torch.zeros(2)) == 1
    monkeypatch.setattr(room, "available_memory", lambda: None)
    assert room.lessons_at_once(tiny_llama, 16, lambda: torch.zeros(2)) == 16


def test_of_a_small_model_nothing_is_measured(tiny_llama: Any) -> None:
    def never() -> torch.Tensor:
        raise AssertionError("it was measured")

    assert room.lessons_at_once(tiny_llama, 16, never) == 16
