"""How far a student is from its targets, what it says that a constraint forbids, and the gradient in parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trimtab.constraint import Constraint
from trimtab.engines.chat import prompt_ids
from trimtab.engines.constraining import allowed, unpacked
from trimtab.learn.distillation import loss as loss_module
from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.loss import divergence, divergence_of, leak, loss_and_gradient
from trimtab.learn.distillation.targets import AtOnce, answer_logits, pad, teacher_targets

SMALL = Constraint.regex(r"(?s)[^\p{Lu}\p{Lt}]*")


@pytest.fixture(scope="module")
def nano(engines: Any) -> Any:
    return engines("nano")


@pytest.fixture(scope="module")
def lessons(nano: Any) -> list[Lesson]:
    found = []
    for query in ("Where is Coldbrook?", "What does a baker need?"):
        [answer] = nano.generate([query], constraints=SMALL, max_new_tokens=20)
        plain = tuple(prompt_ids(nano.tokenizer, query))
        told = tuple(prompt_ids(nano.tokenizer, f"{query} Use only lowercase letters."))
        found += [
            Lesson(kind, student, plain, answer.token_ids, False, SMALL, True)
            for kind, student in (("plain", plain), ("instructed", told))
        ]
    return found


@pytest.fixture(scope="module")
def targets(nano: Any, lessons: list[Lesson]) -> Any:
    return teacher_targets(nano, lessons, range(len(lessons)), AtOnce(4), top=10_000, answer_weight=0.5)


def said(nano: Any, lesson: Lesson) -> torch.Tensor:
    with torch.no_grad():
        return answer_logits(nano, pad([lesson.student], [lesson.answer], nano.device)).log_softmax(-1)


def test_a_student_that_is_the_plain_model_has_nothing_to_learn_but_what_not_to_say(
    nano: Any, lessons: list[Lesson], targets: Any
) -> None:
    log_probs = said(nano, lessons[0])
    leaked = float(leak(log_probs, [targets[0]]))
    assert leaked > 0.1  # it would have begun with a capital letter
    assert float(divergence(log_probs, [targets[0]])) == pytest.approx(leaked, rel=0.02)
    assert float(divergence(log_probs, [targets[0]], 3.0)) == pytest.approx(3 * leaked, rel=0.02)


def test_a_student_that_never_says_it_leaks_nothing(nano: Any, lessons: list[Lesson], targets: Any) -> None:
    may = unpacked(allowed(nano, SMALL, lessons[0].answer), nano.matchers.width)
    obedient = said(nano, lessons[0]).masked_fill(~may, -30.0).log_softmax(-1)
    assert float(leak(obedient, [targets[0]])) == pytest.approx(0, abs=1e-4)
    assert float(divergence(obedient, [targets[0]], 3.0)) == pytest.approx(0, abs=0.02)


def test_lessons_of_one_answer_expect_the_same_which_is_found_once(
    nano: Any, lessons: list[Lesson], targets: Any
) -> None:
    assert targets[0] is targets[1]
    assert targets[2] is targets[3]
    assert targets[0] is not targets[2]
    assert divergence(said(nano, lessons[1]), [targets[1]]) > 0  # of a prompt that says it, said otherwise


def test_without_a_constraint_nothing_leaks(nano: Any, lessons: list[Lesson]) -> None:
    free = Lesson("plain", lessons[0].student, lessons[0].teacher, lessons[0].answer)
    [target] = teacher_targets(nano, [free], [0], AtOnce(1), top=16, answer_weight=0.5).values()
    assert target.leaks is None
    assert float(leak(said(nano, free), [target])) == 0


@pytest.fixture(scope="module")
def changed(nano: Any) -> Lesson:
    """An answer whose capitals a program made small, and to which it put an end."""
    query = "Where is Coldbrook?"
    [answer] = nano.generate([query], max_new_tokens=20)
    small = nano.tokenizer(f"{answer.text.lower()} so it is.", add_special_tokens=False)["input_ids"]
    plain = tuple(prompt_ids(nano.tokenizer, query))
    end = nano.matchers.ends[0]
    return Lesson("plain", plain, plain, (*small, end), True, SMALL, original=(*answer.token_ids, end))


def test_of_a_rewritten_answer_the_teacher_reads_the_original(nano: Any, changed: Lesson) -> None:
    from trimtab.learn.distillation.aligning import aligned

    [found] = teacher_targets(nano, [changed], [0], AtOnce(1), top=10_000, answer_weight=0.5).values()
    read = said(nano, Lesson("plain", changed.student, changed.teacher, changed.original))
    small = changed.answer[:-1]
    places = aligned(nano.tokenizer, changed.original[:-1], small)
    may = unpacked(allowed(nano, SMALL, changed.answer), read.shape[-1])
    left = 0
    for row, token in enumerate(changed.answer):
        kept = dict(zip(found.tokens[row].tolist(), found.log_probs[row].exp().tolist(), strict=True))
        place = places[row]
        if place is not None and place < len(read):
            wanted = read[place].exp() * may[row]
            wanted /= wanted.sum()
            if int(wanted.argmax()) == token:
                assert kept[token] == pytest.approx(float(wanted[token]), abs=1e-3)
                left += 1
        else:
            assert kept[token] == pytest.approx(1.0, abs=1e-4)  # the program put it in
    assert left >= 3
    assert any(place is None for place in places)


def test_only_what_the_teacher_would_have_said_in_the_original_leaks(nano: Any, changed: Lesson) -> None:
    [found] = teacher_targets(nano, [changed], [0], AtOnce(1), top=10_000, answer_weight=0.5).values()
    assert found.leaks is not None
    assert 0 in found.leaks.tolist()  # it would have begun with a capital letter
    from trimtab.learn.distillation.aligning import aligned

    places = aligned(nano.tokenizer, changed.original[:-1], changed.answer[:-1])
    assert all(places[row] is not None for row in found.leaks.tolist())


def test_a_student_that_is_sure_has_a_finite_gradient(nano: Any, targets: Any) -> None:
    length, width = len(targets[0].tokens), nano.matchers.width
    logits = torch.zeros(length, width).scatter_(-1, targets[0].tokens[:, :1].long(), 200.0).requires_grad_()
    divergence(logits.log_softmax(-1), [targets[0]]).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [1, 50_000, 2**24])
def test_in_parts_the_loss_and_its_gradient_are_those_of_the_whole(
    nano: Any, lessons: list[Lesson], targets: Any, monkeypatch: pytest.MonkeyPatch, at_once: int, dtype: Any
) -> None:
    wanted = [targets[one] for one in range(len(lessons))]
    rows = pad([one.student for one in lessons], [one.answer for one in lessons], nano.device)
    with torch.no_grad():
        logits = answer_logits(nano, rows).to(dtype)
    whole = logits.clone().requires_grad_()
    loss = divergence(whole.float().log_softmax(-1), wanted, 3.0) / 7
    loss.backward()
    monkeypatch.setattr(loss_module, "_AT_ONCE", at_once)
    found, gradient = loss_and_gradient(logits, wanted, 3.0, 7)
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, whole.grad, rtol=0, atol=0)
    assert divergence_of(logits, wanted) == pytest.approx(
        float(divergence(logits.float().log_softmax(-1), wanted)), rel=1e-5
    )
