"""What is kept of the teacher's distribution, and how far a student is from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import VOCABULARY, tiny_engine

from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.loss import divergence
from trimtab.learn.distillation.targets import AtOnce, answer_logits, mixed, pad, teacher_targets

ENGINE = tiny_engine("llama")
TOKENS = st.lists(st.integers(4, VOCABULARY - 1), min_size=1, max_size=9).map(tuple)
LESSONS = st.lists(st.builds(Lesson, st.just("plain"), TOKENS, TOKENS, TOKENS), min_size=1, max_size=3)


def expected(lessons: list[Lesson], weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole targets q, and the student's log-probabilities, answer after answer, each row on its own."""
    wanted, student = [], []
    for lesson in lessons:
        for prompt, found in ((lesson.teacher, wanted), (lesson.student, student)):
            with torch.no_grad():
                logits = ENGINE.model(input_ids=torch.tensor([prompt + lesson.answer])).logits[0]
            found.append(logits[len(prompt) - 1 : -1].log_softmax(-1))
    return mixed(torch.cat(wanted), lessons, weight), torch.cat(student)


def student_log_probs(lessons: list[Lesson]) -> torch.Tensor:
    rows = pad([one.student for one in lessons], [one.answer for one in lessons], torch.device("cpu"))
    with torch.no_grad():
        return answer_logits(ENGINE, rows).log_softmax(-1)


@settings(max_examples=25)
@given(LESSONS, st.integers(1, 2 * VOCABULARY), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_kept_gives_a_lower_bound_that_is_the_whole_divergence_if_all_is_kept(
    lessons: list[Lesson], top: int, weight: float
) -> None:
    wanted, student = expected(lessons, weight)
    whole = float((torch.special.xlogy(wanted, wanted) - wanted * student).sum())
    targets = teacher_targets(
        ENGINE, lessons, range(len(lessons)), AtOnce(len(lessons)), top=top, answer_weight=weight
    )
    found = float(divergence(student_log_probs(lessons), [targets[one] for one in range(len(lessons))]))
    assert found <= whole + 1e-3 * (1 + abs(whole))
    assert found >= -1e-3
    if top >= VOCABULARY:
        assert found == pytest.approx(whole, rel=1e-3, abs=1e-3)


def test_the_student_that_is_the_teacher_is_nowhere_from_it() -> None:
    lessons = [
        Lesson("instructed", (5, 6, 7), (5, 6, 7), (2,))
    ]  # the end alone, which is left to the teacher
    targets = teacher_targets(ENGINE, lessons, [0], AtOnce(1), top=16, answer_weight=1.0)
    assert targets[0].tokens.shape == targets[0].log_probs.shape == (1, 16)
    assert float(divergence(student_log_probs(lessons), [targets[0]])) == pytest.approx(0, abs=1e-5)


def test_the_answer_counts_in_full_where_the_teacher_would_have_said_something_else() -> None:
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]).log()
    found = mixed(teacher, [Lesson("plain", (5,), (6,), (0, 1, 2))], 0.5)
    wanted = torch.tensor([[0.85, 0.1, 0.05], [0.0, 1.0, 0.0], [0.7, 0.2, 0.1]])  # the end is the teacher's
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.sum(-1), torch.ones(3))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "bloom", "mpt", "gemma2"])
def test_padding_on_the_right_changes_nothing(engines: Callable[[str], Any], architecture: str) -> None:
    engine = engines(architecture)
    prompts, answers = [(5, 6, 7), (9,) * 12, (11,)], [(20, 21), (22,), (23, 24, 25, 26)]
    with torch.no_grad():
        together = answer_logits(engine, pad(prompts, answers, engine.device))
        alone = [
            answer_logits(engine, pad([prompt], [answer], engine.device))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_where_rows_belong_to_the_answer() -> None:
    rows = pad([(5, 6, 7), (8,)], [(20, 21), (22, 23, 24)], torch.device("cpu"))
    assert rows.ids.shape == (2, 16)
    assert rows.ids[0, :5].tolist() == [5, 6, 7, 20, 0]  # the last token is only predicted
    assert rows.answers.nonzero().tolist() == [[0, 2], [0, 3], [1, 0], [1, 1], [1, 2]]
    assert rows.generated.nonzero().tolist() == [[0, 3], [1, 1], [1, 2]]


def test_it_is_told_how_many_answers_were_read() -> None:
    lessons = [Lesson("plain", (5, 6), (5, 6), (7, 8 + number)) for number in range(5)]
    told: list[tuple[int, int | None]] = []

    def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        told.append((done, of))

    teacher_targets(ENGINE, lessons, range(5), AtOnce(2), top=4, answer_weight=0.5, tell=tell)
    assert told == [(0, 5), (2, 5), (4, 5)]
