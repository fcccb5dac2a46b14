"""What each teacher is asked, what of its answers is learned, and what the student is to expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted
from tests.tiny import random_steering

from trimtab import instructions, learn
from trimtab.engines.base import Generation
from trimtab.engines.constraining import allowed, restrained
from trimtab.errors import SteeringError
from trimtab.instructions import InstructionType, Phrasings
from trimtab.learn.distillation.gathering import TooFewAnswersError, gather
from trimtab.learn.distillation.lessons import Lesson, Lessons
from trimtab.learn.distillation.targets import AtOnce, answer_logits, mixed, pad, teacher_targets
from trimtab.learn.distillation.teachers import TEACHERS, Teaching, end_token

NO_COMMAS = instructions.get("no_commas")
CLOSED = InstructionType(
    "closed",
    lambda: lambda text: text.endswith("Is that all?"),
    {"": Phrasings(("Close.",), ("Close.",), ("Close.",))},
    rewrite=lambda text, params: f"{text} Is that all?",
)()
SCHEDULE = learn.Schedule(steps=2, batch_size=4)


def text(engine: Scripted, ids: tuple[int, ...]) -> str:
    return str(engine.tokenizer.decode(list(ids), skip_special_tokens=True))


def lessons(engine: Scripted, teacher: Any, wanted: Any = NO_COMMAS, **settings: Any) -> Lessons:
    settings = {"least": 1, **settings}
    return gather(engine, QUERIES, [wanted], "learning", teacher=teacher, **settings)


def only_when(**wanted: bool) -> Any:
    """Without commas where what was asked is so, and otherwise with one."""

    def answer(asked: Asked) -> str:
        return (
            "quite so" if all(getattr(asked, key) == value for key, value in wanted.items()) else "quite, so"
        )

    return answer


def test_a_constrained_teacher_is_not_told_and_its_student_expects_what_it_may_say() -> None:
    engine = Scripted(only_when(held=True))
    found = lessons(engine, "constrained", instructed=0.5)
    assert found.teacher == "constrained"
    assert all(one.is_bare and one.held for one in engine.asked)
    for one in found.lessons:
        assert one.constraint is not None
        assert replace(one.constraint, other_case=False) == NO_COMMAS.constraint()
        assert one.constraint.other_case
        assert one.drawn
        assert any(query in text(engine, one.teacher) for query in QUERIES)
    plain = [one for one in found.lessons if one.kind == "plain"]
    assert len(plain) == len(QUERIES)
    assert all(one.student == one.teacher for one in plain)
    told = [one for one in found.lessons if one.kind == "instructed"]
    assert len(told) == len(QUERIES) // 2
    assert all(len(one.student) > len(one.teacher) for one in told)  # it goes on as if it were not told


def test_a_told_teacher_can_be_constrained_too() -> None:
    engine = Scripted(only_when(held=True))
    found = lessons(engine, "told+constrained")
    assert all(one.held and not one.is_bare for one in engine.asked)
    assert all(one.constraint and len(one.teacher) > len(one.student) for one in found.lessons)


def test_a_plain_answer_is_rewritten() -> None:
    engine = Scripted(lambda asked: "quite, so")
    found = lessons(engine, "rewritten")
    assert all(one.is_bare and not one.held for one in engine.asked)
    assert {text(engine, one.answer) for one in found.lessons} == {"quite so"}
    assert not any(one.drawn for one in found.lessons)
    assert all(one.constraint and one.student == one.teacher for one in found.lessons)


def test_a_rewritten_answer_that_was_cut_off_ends_with_its_last_whole_sentence() -> None:
    engine, said = Scripted(), "It is so. It is also"
    cut = Generation(said, tuple(engine.tokenizer(said)["input_ids"]), 0, finished=False)
    answer = Teaching(engine, "rewritten", (CLOSED,)).answer(cut, "what")
    assert answer is not None
    assert answer.ended
    assert answer.text == "It is so. Is that all?"


def test_a_steered_teacher_is_told_and_steered_from_the_start() -> None:
    engine = Scripted(only_when(steered=True))
    found = lessons(engine, "steered", helper=random_steering(engine))
    assert all(one.steered and not one.is_bare for one in engine.asked)
    assert found.first_time == 1.0
    assert all(one.constraint is None for one in found.lessons)


def test_of_an_answer_that_was_cut_off_the_beginning_is_learned_where_that_is_right_by_itself() -> None:
    def answer(asked: Asked) -> str | None:
        return None if "river" in asked.prompt else "quite so"

    engine = Scripted(answer)
    engine.unfinished = "well and"
    found = lessons(engine, "told")
    [cut] = [one for one in found.lessons if not one.ended]
    assert found.cut == 1
    assert text(engine, cut.answer) == "well and"
    assert cut.answer[-1] != end_token(engine)
    found = lessons(engine, "told", instructions.get("words", at_least=1))
    assert all(one.ended for one in found.lessons)
    assert found.passed == len(QUERIES) - 1


def test_another_instruction_is_not_asked_of_a_teacher_that_is_not_told() -> None:
    other = instructions.get("include", word="moon")
    engine = Scripted(only_when(held=True))
    found = lessons(engine, "constrained", others=[other], other=1.0)
    others = [one for one in found.lessons if one.kind == "other"]
    assert len(others) == len(QUERIES)
    assert all("moon" in text(engine, one.student) and one.student == one.teacher for one in others)
    assert not any("comma" in text(engine, one.student) for one in others)
    assert not [
        one for one in lessons(Scripted(), "told", others=[other], other=1.0).lessons if one.kind == "other"
    ]


def test_answers_are_chosen_to_be_as_long_as_plain_ones() -> None:
    def answer(asked: Asked) -> str:
        return "so" if not asked.temperature else "so " * 12

    found = lessons(Scripted(answer), "constrained", plain_lengths=[30, 36, 36, 40])
    assert min(found.lengths) > 30
    assert found.answers == 2 * len(QUERIES)
    short = lessons(Scripted(answer), "told", plain_lengths=[30, 36, 36, 40])
    assert max(short.lengths) < 3  # telling works well: its answers are what is to be learned
    words = instructions.get("words", at_most=40)
    about = lessons(Scripted(answer), "constrained", words, plain_lengths=[12])
    assert max(about.lengths) < 3


@pytest.mark.parametrize("teacher", TEACHERS)
def test_too_few_answers_name_the_teacher(teacher: Any) -> None:
    engine = Scripted(lambda asked: ",")
    with pytest.raises(TooFewAnswersError, match=r"tiny-scripted follows no_commas in 0 of 8 questions"):
        lessons(engine, teacher, least=3)


def test_forbidden_tokens_are_taken_out_of_what_is_expected() -> None:
    engine = Scripted()
    answer = tuple(engine.tokenizer("quite so", add_special_tokens=False)["input_ids"])
    bound = Lesson("plain", (5, 6), (5, 6), (*answer, 2), constraint=NO_COMMAS.constraint(), drawn=True)
    with torch.no_grad():
        log_probs = answer_logits(engine, pad([(5, 6)], [bound.answer], engine.device)).log_softmax(-1)
    constraint = NO_COMMAS.constraint()
    assert constraint is not None
    found = restrained(engine, constraint, log_probs, allowed(engine, constraint, bound.answer))
    commas = [one for one in range(log_probs.shape[-1]) if "," in engine.tokenizer.decode([one])]
    assert commas
    assert bool((found[:, commas] == -torch.inf).all())
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(bound.answer)))
    gap = found - log_probs  # the others keep their proportions
    may = found > -torch.inf
    assert max(float(row[one].max() - row[one].min()) for row, one in zip(gap, may, strict=True)) < 1e-4
    targets = teacher_targets(engine, [bound], [0], AtOnce(1), top=1000, answer_weight=0.5)
    assert not set(targets[0].tokens[:, :8].flatten().tolist()) & set(commas)


def test_an_answer_says_no_more_than_the_distribution_it_was_drawn_from() -> None:
    teacher = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]]).log()
    found = mixed(teacher, [Lesson("plain", (5,), (5,), (1, 2), ended=False, drawn=True)], 0.5)
    torch.testing.assert_close(found, teacher.exp())


def test_the_expectations_of_a_steered_teacher_are_steered() -> None:
    engine = Scripted()
    one = Lesson("plain", (5, 6), (5, 6, 7), (8, 2))
    plain, steered = (
        teacher_targets(engine, [one], [0], AtOnce(1), top=8, answer_weight=0.0, steering=steering)
        for steering in (None, random_steering(engine))
    )
    assert not torch.allclose(plain[0].log_probs, steered[0].log_probs)


def distilled(engine: Scripted, **settings: Any) -> learn.Distilled:
    options = {"validation": HELD_OUT, "schedule": SCHEDULE, "others": [], "pool": (), **settings}
    return learn.distill(engine, QUERIES, options.pop("wanted", NO_COMMAS), **options)


def test_what_is_not_followed_when_told_is_learned_under_a_constraint() -> None:
    engine = Scripted(lambda asked: "quite so" if asked.held or asked.steered else "quite, so")
    found = distilled(engine)
    settings = found.steering.record.settings
    assert settings["teacher"] in ("constrained", "told+constrained", "rewritten")
    assert settings["lengths"]["plain"]
    assert settings["max_new_tokens"] == 192
    assert found.instructed_followed == 0
    assert found.steering.record.measurements["teachers"][0]["teacher"] == "plain"
    assert "teacher " + settings["teacher"] in (found.choice.line if found.choice else "")


def test_a_teacher_can_be_named() -> None:
    engine = Scripted(lambda asked: "quite so" if asked.held or asked.steered else "quite, so")
    found = distilled(engine, teacher="told+constrained", max_new_tokens=33)
    assert found.lessons.teacher == "told+constrained"
    assert found.steering.record.settings["max_new_tokens"] == 33
    with pytest.raises(
        SteeringError, match=r"a teacher is one of told, told\+constrained, .*, not 'whispered'"
    ):
        distilled(engine, teacher="whispered")
    with pytest.raises(SteeringError, match="no teacher constrained for this: no constraint is known"):
        distilled(engine, teacher="constrained", wanted=instructions.get("language", language="es"))


def test_a_steered_teacher_learns_from_another_one_first() -> None:
    engine = Scripted(only_when(steered=True))
    with pytest.raises(TooFewAnswersError):
        distilled(engine, teacher="told")
    engine = Scripted()
    found = distilled(engine, teacher="steered")
    assert found.lessons.teacher == "steered"
    assert any(one.steered and not one.is_bare for one in engine.asked)


def test_another_teacher_is_fallen_back_on_where_one_gives_too_little() -> None:
    def answer(asked: Asked) -> str:
        good = asked.steered or (asked.held and (asked.prompt in HELD_OUT or not asked.is_bare))
        return "quite so" if good else ","

    told: list[str] = []
    found = distilled(Scripted(answer), progress=lambda stage, *more: told.append(stage))
    assert found.choice is not None
    assert found.choice.teachers[0] == "constrained"
    assert found.lessons.teacher == "told+constrained"
    assert "no_commas: teacher constrained gives too few answers that pass" in told


def test_only_if_no_teacher_gives_enough_it_is_an_error() -> None:
    with pytest.raises(TooFewAnswersError, match=r"nor is there enough from the other teachers"):
        distilled(Scripted(lambda asked: ","))
