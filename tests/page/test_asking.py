from __future__ import annotations

import threading

import pytest

from trimtab.errors import SteeringError
from trimtab.page import cards
from trimtab.page.answering import Wanted, streamed
from trimtab.page.asking import Asked, ask, examples
from trimtab.page.choosing import chosen
from trimtab.page.workplace import Workplace

QUESTION = "What is Blackwick?"


def last(found: list[Asked]) -> Asked:
    assert not any(one.ended for one in found[:-1])
    return found[-1]


def test_three_answers_as_the_engine_gives_them_with_verdicts(workplace: Workplace) -> None:
    asked = last(list(ask(workplace, QUESTION, {"lowercase": 1})))
    without, told, steered = asked.answers
    engine, limit = workplace.engine, workplace.max_new_tokens
    expected = engine.generate(
        [QUESTION, told.prompt, QUESTION],
        steering=[None, None, workplace.steering("lowercase")],
        max_new_tokens=limit,
    )
    assert [one.text for one in asked.answers] == [one.text for one in expected]
    assert told.prompt == f"{QUESTION} Use only lowercase letters."
    assert [[one.followed for one in answer.verdicts] for answer in asked.answers] == [
        [False],
        [True],
        [True],
    ]
    assert without.verdicts[0].places
    assert steered.verdicts[0].places == ()


def test_what_was_answered_before_is_not_asked_again(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = last(list(ask(workplace, QUESTION, {"lowercase": 1})))
    wanted: list[list[Wanted]] = []

    def watched(engine: object, asked: list[Wanted], **options: int) -> object:
        wanted.append(asked)
        return streamed(workplace.engine, asked, **options)

    monkeypatch.setattr("trimtab.page.asking.streamed", watched)
    again = last(list(ask(workplace, QUESTION, {"lowercase": 0.5}, before)))
    assert [[one.steering is not None for one in some] for some in wanted] == [[True]]
    assert [one.text for one in again.answers[:2]] == [one.text for one in before.answers[:2]]
    last(list(ask(workplace, QUESTION, {"lowercase": 1}, again)))
    assert wanted[1] == []


def test_a_strength_of_nothing_leaves_the_answer_as_it_is(workplace: Workplace) -> None:
    asked = last(list(ask(workplace, QUESTION, {"lowercase": 0})))
    assert asked.answers[2].text == asked.answers[0].text


def test_what_is_not_taught_is_told_alone(workplace: Workplace) -> None:
    asked = last(list(ask(workplace, QUESTION, {"words(at_most=50)": 1})))
    assert asked.answers[1].prompt.endswith("Write at most 50 words.")
    assert asked.answers[2].note == "There is no steering for this yet. Teach it, and come back."
    assert [one.followed for one in asked.answers[0].verdicts] == [True]


def test_nothing_chosen_and_nothing_asked(workplace: Workplace) -> None:
    asked = last(list(ask(workplace, QUESTION, {})))
    assert asked.answers[0].text
    assert [bool(one.note) for one in asked.answers] == [False, True, True]
    with pytest.raises(SteeringError, match="no question yet"):
        list(ask(workplace, "  ", {}))


def test_a_choice_is_read_with_care(workplace: Workplace) -> None:
    found = chosen(workplace, {"json": "x", "lowercase": 99, "no such": 1, "bullets": None})
    assert found.strengths == {"json": 1.0, "lowercase": 3.0, "bullets": 1.0}
    assert found.missing == ("no such",)
    assert found.clash == (
        "json and bullets(num_bullets=3) cannot both be followed: JSON cannot hold the markdown that bullets asks for"
    ) or (found.clash and "cannot both be followed" in found.clash)


def test_two_who_ask_at_once_get_their_own_answers(workplace: Workplace) -> None:
    alone = {
        name: last(list(ask(workplace, QUESTION, {name: 1}))).answers[2].text
        for name in ("json", "lowercase")
    }
    found: dict[str, str] = {}

    def one(name: str) -> None:
        found[name] = last(list(ask(workplace, QUESTION, {name: 1}))).answers[2].text

    threads = [threading.Thread(target=one, args=(name,)) for name in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert len(set(found.values())) == 2


def test_answers_are_escaped_and_marked(workplace: Workplace) -> None:
    assert cards.marked("a <b> Cd", [(6, 7), (7, 8)]) == "a &lt;b&gt; <mark>Cd</mark>"
    asked = last(list(ask(workplace, "<script>alert(1)</script>", {"lowercase": 1})))
    html = cards.answers(asked)
    assert "<script" not in html
    assert 'aria-busy="false"' in html
    assert cards.said(asked).startswith("The answers are there. Without: ")


def test_examples_are_questions_of_the_model(workplace: Workplace) -> None:
    assert len(set(examples(workplace))) == 4
