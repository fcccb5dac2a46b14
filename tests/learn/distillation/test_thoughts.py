"""Lessons of a model that thinks teach its answers, behind what the student thinks by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted
from tests.tiny import thinking_tokenizer

from trimtab import instructions, learn
from trimtab.engines.ranks import Ranks
from trimtab.learn.distillation.asking import Asking
from trimtab.learn.distillation.choosing import choose
from trimtab.learn.distillation.gathering import gather
from trimtab.learn.distillation.lesson_files import kept_lessons
from trimtab.learn.distillation.lessons import Lessons

NO_COMMAS = instructions.get("no_commas")
CLOSED = "<think>\n\n</think>\n\n"


def thinking(asked: Asked) -> str:
    """Thinks of commas if told of them, else of what is asked, and then answers; at once where it is held."""
    answer = "quite so" if asked.held or not asked.is_bare else "quite, so"
    return answer if asked.held else f"{'of what' if asked.is_bare else 'no, commas'}</think>{answer}"


def engine_of(answer: Any = thinking) -> Scripted:
    return Scripted(answer, tokenizer=thinking_tokenizer())


def lessons(engine: Scripted, teacher: Any) -> Lessons:
    return gather(engine, QUERIES, [NO_COMMAS], "learning", teacher=teacher, instructed=0.5, least=1)


def end_of(engine: Scripted, ids: tuple[int, ...]) -> str:
    """What stands there behind the last turn."""
    return str(engine.tokenizer.decode(list(ids))).rpartition("<answer>")[2]


def said(engine: Scripted, ids: tuple[int, ...]) -> str:
    return str(engine.tokenizer.decode(list(ids), skip_special_tokens=True))


def test_a_student_does_not_read_what_a_told_teacher_thought() -> None:
    engine = engine_of()
    found = lessons(engine, "told")
    assert {one.kind for one in found.lessons} == {"plain", "instructed"}
    for one in found.lessons:
        assert said(engine, one.answer) == "quite so"
        assert end_of(engine, one.teacher) == "<think>\nno, commas</think>"
        if one.kind == "plain":
            assert end_of(engine, one.context) == "<think>\nof what</think>"
            assert end_of(engine, one.student) == "<think>\n"
        else:
            assert one.context == one.teacher
    assert found.lengths == [len("quite so")] * len(QUERIES)


def test_where_a_student_does_not_come_to_an_answer_its_thought_is_closed() -> None:
    engine = engine_of(lambda asked: None if asked.is_bare else "no, commas</think>quite so")
    plain = [one for one in lessons(engine, "told").lessons if one.kind == "plain"]
    assert len(plain) == len(QUERIES)
    assert all(end_of(engine, one.context) == CLOSED for one in plain)


def test_a_constrained_answer_stands_behind_a_closed_thought() -> None:
    engine = engine_of()
    found = lessons(engine, "constrained")
    assert all(said(engine, one.answer) == "quite so" for one in found.lessons)
    for one in found.lessons:
        assert end_of(engine, one.context) == end_of(engine, one.teacher) == CLOSED
        assert one.is_near
    told = lessons(engine, "told+constrained").lessons
    plain = [one for one in told if one.kind == "plain"]
    assert all(end_of(engine, one.teacher) == CLOSED for one in told)
    assert all(end_of(engine, one.context) == "<think>\nof what</think>" for one in plain)


def test_of_a_rewritten_answer_the_thought_stays() -> None:
    engine = engine_of()
    plain = [one for one in lessons(engine, "rewritten").lessons if one.kind == "plain"]
    assert len(plain) == len(QUERIES)
    for one in plain:
        assert one.context == one.teacher
        assert end_of(engine, one.context) == "<think>\nof what</think>"
        assert said(engine, one.answer) == "quite so"
        assert said(engine, one.original) == "quite, so"


def test_a_thought_that_is_cut_off_teaches_nothing() -> None:
    engine = engine_of(lambda asked: None if asked.prompt == QUERIES[0] else thinking(asked))
    assert lessons(engine, "rewritten").passed == len(QUERIES) - 1


def test_they_are_kept(tmp_path: Path) -> None:
    engine = engine_of()
    made = [kept_lessons(tmp_path / "l.json", ["x"], Ranks(), lambda: lessons(engine, "told")) for _ in "ab"]
    assert made[0] == made[1]
    assert any(one.thought for one in made[1].lessons)


def test_a_teacher_is_chosen_by_its_answers() -> None:
    def answer(asked: Asked) -> str:
        return thinking(asked) if asked.held or asked.is_bare else "no, commas</think>quite, so"

    choice = choose(Asking(engine_of(answer), 64), [NO_COMMAS], QUERIES)
    assert {one.teacher for one in choice.measured} >= {"plain", "told", "constrained", "rewritten"}
    taught = [one for one in choice.measured[1:] if one.passed]
    assert [one.tokens for one in taught] == [len("quite so")] * len(taught)
    assert all(one.nll is not None and one.change is not None for one in taught)
    assert choice.plain_lengths == (len("quite, so"),) * len(QUERIES)


def test_edits_of_the_answer_are_learned_and_the_record_names_the_format() -> None:
    found = learn.distill(
        engine_of(),
        QUERIES,
        NO_COMMAS,
        validation=HELD_OUT,
        others=[],
        pool=(),
        tokens="answer",
        schedule=learn.Schedule(steps=2, batch_size=4),
    )
    assert {edit.tokens for edit in found.steering.edits} == {"answer"}
    assert found.steering.record.settings["thoughts"] == "think"
