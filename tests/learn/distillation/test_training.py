"""Courses of training: they learn, resume, stop, fit into memory, and leave the model as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import BLOCKS, WIDTH, hooks_of, tiny_engine

from trimtab.engines.ranks import Ranks
from trimtab.errors import ModelError, SteeringError
from trimtab.learn.distillation import targets, training
from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.trainable import TrainableEdits
from trimtab.learn.distillation.training import Course

SCHEDULE = Schedule(steps=10, batch_size=4, rate=0.1, gate_rate=0.05, save_every=3)


def lessons(count: int, seed: int = 0) -> list[Lesson]:
    """Answers of several lengths to prompts that the teacher sees with two tokens more."""
    random = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(4, 200, (length,), generator=random).tolist())

    made = []
    for number in range(count):
        student = tokens(3 + number % 3)
        made.append(Lesson("plain", student, (*student, 7, 8), (*tokens(4 + number % 5), 2)))
    return made


def course(
    engine: Any,
    schedule: Schedule = SCHEDULE,
    held_out: int = 2,
    made: Any = None,
    at_once: int | None = None,
    **edits: Any,
) -> Course:
    starts = {block: torch.zeros(WIDTH) for block in range(BLOCKS)}
    trainable = TrainableEdits(dict.fromkeys(starts, 1.0), starts, **edits)
    return Course(engine, trainable, made or lessons(9), lessons(held_out), schedule, Ranks(), at_once)


def learned(one: Course) -> list[torch.Tensor]:
    return [tensor for edit in one.edits.edits() for tensor in (edit.u, edit.p) if tensor is not None]


def same(one: Course, other: Course) -> bool:
    return all(torch.equal(a, b) for a, b in zip(learned(one), learned(other), strict=True))


def test_the_loss_falls_and_every_step_is_told(tiny_llama: Any) -> None:
    told: list[tuple[Any, ...]] = []
    taken = course(tiny_llama, Schedule(steps=20, batch_size=9, rate=0.3, gate_rate=0.1))
    taken.run(lambda *what: told.append(what), "learning three edits")
    steps = taken.history
    begun, *others = [what for what in told if what[0] == "learning three edits"]
    assert begun == ("learning three edits", 0, 20)
    assert told.index(begun) > 0  # the teacher has read the answers by then
    assert others == [("learning three edits", one.step, 20, f"loss {one.loss:.3f}") for one in steps]
    assert [step.step for step in steps] == list(range(1, 21))
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert [step.step for step in steps if step.held_out is not None] == [4, 8, 12, 16, 20]


class KilledError(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("when", [2, 7])
def test_a_killed_run_goes_on_to_the_very_same_edits(tiny_llama: Any, tmp_path: Path, when: int) -> None:
    whole = course(tiny_llama)
    whole.run()

    def kill(stage: str, done: int, *more: object) -> None:
        if stage == "learning" and done == when:
            raise KilledError

    with pytest.raises(KilledError):
        course(tiny_llama).run(kill, folder=tmp_path)
    told: list[tuple[str, int]] = []
    again = course(tiny_llama)
    again.run(lambda stage, done, *more: told.append((stage, done)), folder=tmp_path)
    assert next(done for stage, done in told if stage == "learning") == 3 * (
        when // 3
    )  # the last state that was saved
    assert same(again, whole)
    assert again.history == whole.history
    assert again.best == whole.best
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_state_of_another_course_is_not_gone_on_from(tiny_llama: Any, tmp_path: Path) -> None:
    course(tiny_llama).run(folder=tmp_path)
    others = (
        course(tiny_llama, Schedule(steps=10, batch_size=4, seed=1)),
        course(tiny_llama, made=lessons(9, seed=5)),
        course(tiny_llama, tokens="prompt"),
        course(tiny_llama, form="vector"),
    )
    for other in others:
        told: list[tuple[str, int]] = []
        other.run(lambda stage, done, *more: told.append((stage, done)), folder=tmp_path)  # noqa: B023
        assert next(done for stage, done in told if stage == "learning") == 0


def test_a_damaged_state_is_refused(tiny_llama: Any, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(SteeringError, match=r"is not the state of a distillation; remove it"):
        course(tiny_llama).run(folder=tmp_path)


def test_a_changed_byte_of_a_state_is_noticed(tiny_llama: Any, tmp_path: Path) -> None:
    course(tiny_llama).run(folder=tmp_path)
    path = tmp_path / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(SteeringError, match="is not the state of a distillation; remove it"):
        course(tiny_llama).run(folder=tmp_path)


def test_a_course_ends_when_held_out_answers_get_worse_and_keeps_the_best(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    kept: list[list[torch.Tensor]] = []

    def measure(self: Course) -> float:
        kept.append(learned(self))
        return next(losses)

    monkeypatch.setattr(Course, "_measure", measure)
    ended = course(tiny_llama)
    ended.run()
    assert len(ended.history) == 8  # the fourth check of ten steps
    assert ended.best == 1.0
    for tensor, best in zip(learned(ended), kept[1], strict=True):
        assert torch.equal(tensor, best)


def test_without_held_out_answers_a_course_goes_to_its_end(tiny_llama: Any) -> None:
    taken = course(tiny_llama, held_out=0)
    taken.run()
    assert len(taken.history) == 10
    assert math.isinf(taken.best)
    assert any(bool(tensor.any()) for tensor in learned(taken))


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No more than `memory[0]` rows fit; the sizes of batches that did not are added."""
    memory = [1]
    enough = targets.answer_logits

    def limited(engine: Any, rows: Any) -> torch.Tensor:
        if len(rows.ids) > memory[0]:
            memory.append(len(rows.ids))
            raise torch.OutOfMemoryError("simulated")
        return enough(engine, rows)

    monkeypatch.setattr(targets, "answer_logits", limited)
    monkeypatch.setattr(training, "answer_logits", limited)
    return memory


def test_batches_are_halved_until_they_fit_and_the_edits_stay_the_same(
    tiny_llama: Any, little_memory: list[int]
) -> None:
    little_memory[0] = 100
    whole = course(tiny_llama)
    whole.run()
    little_memory[0] = 1
    halved = course(tiny_llama)
    halved.run()
    assert little_memory[1:] == [4, 2]
    for one, other in zip(learned(halved), learned(whole), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("at_once", "most"), [(2, 2), (100, 4), (None, 4)])
def test_a_step_goes_through_the_model_in_parts_and_the_edits_stay_the_same(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch, at_once: int | None, most: int
) -> None:
    usual, passes = targets.answer_logits, []

    def counted(engine: Any, rows: Any) -> torch.Tensor:
        logits = usual(engine, rows)
        passes.append((len(rows.ids), len(logits), int(rows.answers.sum()), rows.ids.numel()))
        return logits

    whole = course(tiny_llama)
    whole.run()
    monkeypatch.setattr(targets, "answer_logits", counted)
    monkeypatch.setattr(training, "answer_logits", counted)
    parts = course(tiny_llama, at_once=at_once)
    parts.run()
    assert max(rows for rows, *_ in passes) == most
    for _, logits, answers, positions in passes:
        assert (
            logits == answers < positions
        )  # of the answers' tokens alone, none of the prompt or the padding
    for one, other in zip(learned(parts), learned(whole), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_an_answer_too_long_for_memory_says_what_to_do(tiny_llama: Any, little_memory: list[int]) -> None:
    little_memory[0] = 0
    before = hooks_of(tiny_llama.model)  # transformers may have left some of its own
    with pytest.raises(ModelError, match=r"a single answer does not fit .*gradient-checkpointing"):
        course(tiny_llama).run()
    assert hooks_of(tiny_llama.model) == before


@pytest.mark.parametrize("architecture", ["llama", "gptj", "opt", "gemma2"])  # opt has dropout
def test_checkpointed_gradients_are_the_same(engines: Callable[[str], Any], architecture: str) -> None:
    engine = engines(architecture)
    plain, saving = (course(engine, Schedule(steps=3, batch_size=4, rate=0.1)) for _ in range(2))
    plain.run()
    saving.run(checkpointing=True)
    for one, other in zip(learned(saving), learned(plain), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert bool(learned(plain)[0].any())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(checkpointing: bool, fails: bool) -> None:
    engine = tiny_engine("llama")
    frozen = next(iter(engine.model.parameters()))
    frozen.requires_grad_(False)
    moved = engine.decoder_blocks.blocks[1]
    moved.forward = moved.forward  # as accelerate sets its own on a block

    def state() -> Any:
        return (
            [weight.requires_grad for weight in engine.model.parameters()],
            [weight.grad for weight in engine.model.parameters()],
            [module.training for module in engine.model.modules()],
            [vars(module).get("forward") for module in engine.model.modules()],
            hooks_of(engine.model),
        )

    before = state()

    def fail(stage: str, done: int, *more: object) -> None:
        if fails and done:
            raise KilledError

    taken = course(engine, Schedule(steps=2, batch_size=4))
    if fails:
        with pytest.raises(KilledError):
            taken.run(fail, checkpointing=checkpointing)
    else:
        taken.run(fail, checkpointing=checkpointing)
    assert state() == before


def test_a_loss_that_is_not_finite_says_so(tiny_llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    enough = targets.answer_logits
    monkeypatch.setattr(training, "answer_logits", lambda engine, rows: enough(engine, rows) * math.nan)
    with pytest.raises(ModelError, match=r"the loss of step 1 is not finite: .*learning rate \(0.1\)"):
        course(tiny_llama).run()


def test_a_model_in_bfloat16_learns_edits_in_float32() -> None:
    engine = tiny_engine("llama")
    engine.model.to(torch.bfloat16)
    taken = course(engine, Schedule(steps=20, batch_size=9, rate=0.3, gate_rate=0.1))
    taken.run()
    assert {parameter.dtype for parameter in taken.edits.parameters()} == {torch.float32}
    assert taken.history[-1].loss < 0.8 * taken.history[0].loss
    finer = [bool((tensor != tensor.bfloat16().float()).any()) for tensor in learned(taken)]
    assert all(finer)


def test_courses_over_the_same_lessons_share_what_the_teacher_expects(
    tiny_llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = course(tiny_llama)
    first.run()
    second = course(tiny_llama)
    second.targets = first.targets
    monkeypatch.setattr(training, "teacher_targets", lambda *args, **kwargs: pytest.fail("asked again"))
    second.run()
    assert same(first, second)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_takes_every_lesson_at_most_once(count: int, size: int, seed: int) -> None:
    taken = course(tiny_engine_once(), Schedule(batch_size=size, seed=seed), made=lessons(count))
    whole = min(size, count)
    batches = [taken._batch(number) for number in range(count // whole)]
    assert all(len(batch) == whole for batch in batches)
    flat = [one for batch in batches for one in batch]
    assert len(set(flat)) == len(flat)
    assert taken._batch(0) == batches[0]  # whatever was asked before


_ENGINE: list[Any] = []


def tiny_engine_once() -> Any:
    if not _ENGINE:
        _ENGINE.append(tiny_engine("llama"))
    return _ENGINE[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps of a distillation must be a whole number from 1 to 1,000,000, not 0"),
        ({"steps": 10**40}, "steps of a distillation must be a whole number from 1 to 1,000,000, not 1000"),
        ({"batch_size": True}, "batch_size of a distillation must be a whole number"),
        ({"top": 2.5}, "top of a distillation must be a whole number"),
        ({"rate": 0.0}, "rate of a distillation must be a positive number"),
        ({"gate_rate": math.nan}, "gate_rate of a distillation must be a positive number"),
        ({"answer_weight": 1.5}, "answer_weight of a distillation must be a share between 0 and 1"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        Schedule(**settings)
