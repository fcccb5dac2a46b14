"""Only answers that follow are learned from; what the student's prompt holds; what is asked again; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.learn.scripted import QUERIES, Asked, Scripted, obedient

from trimtab import instructions
from trimtab.engines.ranks import Ranks
from trimtab.errors import PromptError, SteeringError
from trimtab.learn.distillation.gathering import gather
from trimtab.learn.distillation.learnable import check_learnable, companions
from trimtab.learn.distillation.lesson_files import kept_lessons
from trimtab.learn.distillation.lessons import Lessons
from trimtab.learn.distillation.teachers import end_token

NO_COMMAS = instructions.get("no_commas")
NO_WELL = instructions.get("exclude", word="well")


def text(engine: Scripted, ids: tuple[int, ...]) -> str:
    return str(engine.tokenizer.decode(list(ids), skip_special_tokens=True))


def learned(engine: Scripted, **settings: Any) -> Lessons:
    wanted = settings.pop("wanted", [NO_COMMAS])
    return gather(engine, QUERIES, wanted, "learning", least=settings.pop("least", 1), **settings)


def test_a_lesson_is_the_answer_to_the_instructed_prompt_given_to_the_bare_one() -> None:
    engine = Scripted()
    lessons = learned(engine)
    assert lessons.count("plain") == lessons.asked == lessons.passed == lessons.answers == len(QUERIES)
    assert lessons.first_time == 1.0
    for lesson in lessons.lessons:
        [query] = [one for one in QUERIES if one in text(engine, lesson.teacher)]
        assert text(engine, lesson.student).count(query) == 1
        assert len(lesson.student) < len(lesson.teacher)
        said = text(engine, lesson.teacher).split(query)[1]
        assert any(phrasing in said for phrasing in NO_COMMAS.phrasings("learning"))
        assert lesson.answer == (*engine.tokenizer("quite so")["input_ids"], end_token(engine))


def test_answers_that_fail_or_are_cut_off_are_not_learned_from() -> None:
    def answer(asked: Asked) -> str | None:
        return "quite, so" if "river" in asked.prompt else None if "city" in asked.prompt else "quite so"

    engine = Scripted(answer)
    lessons = learned(engine)
    assert lessons.passed == len(QUERIES) - 2
    assert lessons.first_time == 1 - 2 / len(QUERIES)
    assert not any(noun in text(engine, one.student) for one in lessons.lessons for noun in ("river", "city"))


def test_what_failed_is_asked_again_in_other_words_and_then_sampled() -> None:
    def answer(asked: Asked) -> str:
        return "quite so" if "river" not in asked.prompt or asked.temperature == 1.0 else "quite, so"

    engine = Scripted(answer)
    lessons = learned(engine)
    assert lessons.passed == len(QUERIES)
    assert lessons.answers == len(QUERIES) + 3  # only what is open is asked again
    again = [one for one in engine.asked if "river" in one.prompt]
    assert [one.temperature for one in again] == [0.0, 0.0, 0.7, 1.0]
    assert len({one.prompt for one in again}) > 1


def test_too_few_answers_say_how_many_there_were() -> None:
    engine = Scripted(lambda asked: "quite so" if "sea" in asked.prompt else "no, no")
    with pytest.raises(PromptError, match=r"tiny-scripted follows no_commas in 1 of 8 .*5 times; 3 such"):
        learned(engine, least=3)


def test_several_instructions_are_said_and_checked_at_once() -> None:
    engine = Scripted(lambda asked: "quite so well" if "river" in asked.prompt else "quite so")
    lessons = learned(engine, wanted=[NO_COMMAS, NO_WELL])
    assert lessons.passed == len(QUERIES) - 1
    for lesson in lessons.lessons:
        said = text(engine, lesson.teacher)
        for instruction in (NO_COMMAS, NO_WELL):
            assert any(phrasing in said for phrasing in instruction.phrasings("learning"))


def test_another_instruction_stands_in_both_prompts_and_is_followed_too() -> None:
    def answer(asked: Asked) -> str:
        told = any(phrasing in asked.prompt for phrasing in NO_WELL.phrasings("learning"))
        return "quite so well" if told and "moon" in asked.prompt else "quite so"

    engine = Scripted(answer)
    lessons = learned(engine, others=[NO_WELL], other=1.0)
    others = [one for one in lessons.lessons if one.kind == "other"]
    assert len(others) == len(QUERIES) - 1
    for lesson in others:
        student, teacher = text(engine, lesson.student), text(engine, lesson.teacher)
        assert any(phrasing in student for phrasing in NO_WELL.phrasings("learning"))
        assert not any(phrasing in student for phrasing in NO_COMMAS.phrasings("learning"))
        assert any(phrasing in teacher for phrasing in NO_WELL.phrasings("learning"))
        assert any(phrasing in teacher for phrasing in NO_COMMAS.phrasings("learning"))


def test_part_of_the_lessons_is_told_the_instruction_already() -> None:
    lessons = learned(Scripted(), instructed=0.5)
    told = [one for one in lessons.lessons if one.kind == "instructed"]
    assert len(told) == len(QUERIES) // 2
    assert all(one.student == one.teacher for one in told)


def test_every_query_is_asked_in_several_wordings() -> None:
    lessons = learned(Scripted(), phrasings=3)
    assert lessons.asked == lessons.count("plain") == 3 * len(QUERIES)


def test_the_seed_decides_the_lessons() -> None:
    first, same, other = (learned(Scripted(), seed=seed).lessons for seed in (1, 1, 2))
    assert first == same != other


def test_what_cannot_be_judged_or_be_true_at_once_is_not_learned() -> None:
    check_learnable([NO_COMMAS, NO_WELL])
    with pytest.raises(SteeringError, match="lowercase and uppercase cannot be followed at once: "):
        check_learnable([instructions.get("lowercase"), NO_COMMAS, instructions.get("uppercase")])
    with pytest.raises(SteeringError, match="no instruction to learn"):
        check_learnable([])


@pytest.mark.parametrize("name", ["lowercase", "json", "uppercase", "title"])
def test_companions_go_together_with_what_is_learned(name: str) -> None:
    wanted = instructions.get(name)
    found = companions([wanted])
    assert len(found) > 2
    assert all(one.conflicts_with(wanted) is None and one.name != name for one in found)


def test_lessons_are_kept_until_something_else_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "training" / "lessons.json"
    engine = Scripted()
    first = kept_lessons(path, ["these"], Ranks(), lambda: learned(engine))
    asked = len(engine.asked)
    again = kept_lessons(path, ["these"], Ranks(), lambda: learned(engine))
    assert (again, len(engine.asked)) == (first, asked)
    kept_lessons(path, ["others"], Ranks(), lambda: learned(engine))
    assert len(engine.asked) == 2 * asked
    for damage in ("", "[1]", json.dumps({"name": "others"})):
        path.write_text(damage)
        assert kept_lessons(path, ["others"], Ranks(), lambda: learned(Scripted())) == first
    assert [file.name for file in path.parent.iterdir()] == ["lessons.json"]


def test_nothing_is_kept_without_a_file() -> None:
    engine = Scripted(obedient)
    kept_lessons(None, [], Ranks(), lambda: learned(engine))
    assert len(engine.asked) == len(QUERIES)
