"""Edits on validation queries: what they follow and what that costs, and how it decides among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.evaluate.fakes import FakeEngine
from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted
from tests.tiny import random_steering

from trimtab import instructions, learn
from trimtab.engines.chat import prompt_ids
from trimtab.learn.distillation.distilled import Trial
from trimtab.learn.distillation.examining import Examination
from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.sizes import Size
from trimtab.learn.distillation.tasks import Task
from trimtab.learn.distillation.teachers import end_token
from trimtab.measure import facts as closed_book
from trimtab.measure.bounds import Bounds, compare
from trimtab.measure.quality import Quality
from trimtab.measure.scorer import Scorer

NO_COMMAS = instructions.get("no_commas")
TASKS = [Task.of(query) for query in HELD_OUT]
LOOP = "so it is and so it is and so it is and so it is"


def scripted(steered: str, plain: str = "quite, so") -> Scripted:
    return Scripted(lambda asked: steered if asked.steered else plain if asked.is_bare else "quite so")


def examination(engine: Scripted, **options: Any) -> Examination:
    return Examination(engine, TASKS, [NO_COMMAS], **options)


def test_edits_are_measured_beside_plain_answers() -> None:
    engine = scripted("quite so")
    made = examination(engine)
    found = made.examine(random_steering(engine))
    assert (found.followed, made.baseline_followed) == (1.0, 0.0)
    assert found.comparison.plain == made.plain
    assert (found.comparison.quality.tokens, made.plain.tokens) == (8.0, 9.0)
    assert found.comparison.quality.perplexity != made.plain.perplexity
    made.examine(random_steering(engine))
    plain = [one for one in engine.asked if not one.steered]
    assert [one.prompt for one in plain] == HELD_OUT  # once, however many edits are examined


def test_a_loop_and_a_shorter_answer_are_out_of_bounds() -> None:
    engine = scripted(LOOP)
    found = examination(engine).examine(random_steering(engine)).comparison
    assert {"repetition", "length in tokens"} <= {one.measure for one in found.departures}
    engine = scripted("so", plain="quite, so it is")
    found = examination(engine).examine(random_steering(engine)).comparison
    assert "length in tokens" in {one.measure for one in found.departures}


def test_answers_may_be_as_unusual_as_the_lessons() -> None:
    engine = scripted("qxzj vkw", plain="quite, so")
    strict = Bounds(perplexity=0.0)
    steering = random_steering(engine)
    measures = {
        one.measure for one in examination(engine, bounds=strict).examine(steering).comparison.departures
    }
    end = end_token(engine)
    lessons = [
        Lesson("plain", ids, ids, (*engine.tokenizer("qxzj vkw")["input_ids"], end))
        for ids in (tuple(prompt_ids(engine.tokenizer, query)) for query in HELD_OUT)
    ]
    held = examination(engine, bounds=strict, lessons=lessons)
    found = held.examine(steering).comparison
    assert held.following is not None
    assert held.following.perplexity == pytest.approx(found.quality.perplexity)
    assert measures - {one.measure for one in found.departures} <= {"perplexity"}
    assert "perplexity" not in {one.measure for one in found.departures}


def test_facts_and_a_scorer_count_where_they_are_given() -> None:
    engine = scripted("quite so")
    made = examination(engine, facts=lambda query, text: float("," in text), scorer=Scorer(FakeEngine()))
    found = made.examine(random_steering(engine)).comparison
    assert (found.quality.facts, found.plain.facts) == (0.0, 1.0)
    assert "facts" in {one.measure for one in found.departures}
    assert found.quality.scorer_perplexity is not None
    assert found.quality.relevance == pytest.approx(0.0)


def test_closed_book_questions_are_asked_plain_once_and_under_each_set_of_edits() -> None:
    answers = {one.text: one.answers[0] for one in closed_book.questions("validation", 5)}

    def answer(asked: Asked) -> str:
        plain = "quite, so" if asked.is_bare else "quite so"
        return "quite so" if asked.steered else answers.get(asked.prompt, plain)

    engine = Scripted(answer)
    made = examination(engine, questions=5)
    found = made.examine(random_steering(engine)).comparison
    assert (found.plain.facts, found.quality.facts) == (1.0, 0.0)
    assert [str(one) for one in found.departures if one.field == "facts"] == ["facts 0 below 0.94"]
    made.examine(random_steering(engine))
    for text in answers:
        assert [one.steered for one in engine.asked if one.prompt == text] == [False, True, True]
    assert examination(engine).examine(random_steering(engine)).comparison.plain.facts is None


def trial(followed: float, held_out: float, **changes: Any) -> Trial:
    plain = Quality(2.0, 0.1, None, 100.0)
    return Trial(Size((0,)), (), held_out, followed, compare(replace(plain, **changes), plain))


def test_what_is_within_the_bounds_comes_first_then_what_follows_best() -> None:
    gentle, looping, worse = trial(0.6, 0.3), trial(1.0, 0.1, repetition=0.6), trial(0.9, 0.2, repetition=0.2)
    assert max([gentle, looping, worse], key=lambda one: one.merit) is gentle
    # Out of bounds, a little more of what is asked for is not worth much more of a loop.
    assert max([looping, worse], key=lambda one: one.merit) is worse
    # A hair out of bounds is chance, and costs no more than that.
    assert max([gentle, trial(0.8, 0.1, repetition=0.14)], key=lambda one: one.merit).followed == 0.8
    assert max([gentle, trial(0.605, 0.1, repetition=0.14)], key=lambda one: one.merit) is gentle
    assert max([gentle, trial(0.7, 0.9)], key=lambda one: one.merit).followed == 0.7
    assert max([gentle, trial(0.6, 0.2)], key=lambda one: one.merit).held_out == 0.2
    assert Trial(Size((0,)), (), 0.5, None).merit > Trial(Size((0,)), (), 0.6, None).merit


def learned(engine: Scripted, **options: Any) -> learn.Distilled:
    schedule = learn.Schedule(steps=2, batch_size=4)
    return learn.distill(
        engine, QUERIES, NO_COMMAS, validation=HELD_OUT, schedule=schedule, others=[], pool=(), **options
    )


def test_edits_that_spoil_the_text_are_not_chosen() -> None:
    def answer(asked: Asked) -> str:
        if not asked.steered:
            return "quite, so" if asked.is_bare else "quite so"
        return LOOP if asked.before < 1 + (asked.prompt in HELD_OUT) else "quite so"

    engine = Scripted(answer)
    found = learned(engine)
    first, second = found.trials
    assert (first.followed, second.followed) == (1.0, 1.0)
    assert first.comparison is not None
    assert not first.comparison.within
    assert first.excess > 0.05
    assert found.steering.record.settings["rank"] == second.size.rank == 2
    measured = found.steering.record.measurements["validation"]
    assert measured["within"] is True
    assert measured["quality"]["repetition"] == 0.0
    assert measured["baseline_followed"] == 0.0


def test_a_steering_out_of_bounds_says_so() -> None:
    found = learned(scripted(LOOP))
    assert len(found.trials) == 2
    measured = found.steering.record.measurements["validation"]
    assert measured["within"] is False
    assert any(one.startswith("repetition") for one in measured["out_of_bounds"])
    assert measured["against_plain"]["repetition"] > 0.3
    assert found.trials[0].to_dict()["out_of_bounds"]


def test_wider_bounds_are_a_matter_of_choice() -> None:
    wide = Bounds(repetition=10, repeated=1, perplexity=100, length=10)
    found = learned(scripted(LOOP), bounds=wide)
    assert found.steering.record.measurements["validation"]["within"] is True
    assert len(found.trials) == 1
