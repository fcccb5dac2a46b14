"""Closed-book questions: what is asked, what counts as right, and what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.evaluate.fakes import FakeEngine, steering
from tests.tiny import random_steering, tiny_engine

from trimtab import instructions, nano, prompts
from trimtab.engines.base import Generation
from trimtab.errors import PromptError
from trimtab.measure import facts
from trimtab.measure.containment import contains
from trimtab.prompts.queries import normalised

ALL = {split: facts.questions(split) for split in prompts.SPLITS}
EVERY = [one for part in ALL.values() for one in part]
SUBJECTS = {"geography", "science", "language", "arithmetic", "everyday"}


# --- the questions ---------------------------------------------------------------------------------------------------


def test_there_are_enough_of_every_subject_in_every_part() -> None:
    assert len(EVERY) >= 330
    for part in ALL.values():
        assert len(part) >= 110
        counts = Counter(one.subject for one in part)
        assert set(counts) == SUBJECTS
        assert min(counts.values()) >= 20


def test_no_question_is_there_twice_and_none_is_a_base_query() -> None:
    asked = [normalised(one.text) for one in EVERY]
    assert [text for text, count in Counter(asked).items() if count > 1] == []
    base = {normalised(query) for split in prompts.SPLITS for query in prompts.base_queries(split)}
    own = {normalised(query) for split in prompts.SPLITS for query in nano.queries(split)}
    assert not (base | own) & set(asked)


def test_no_question_holds_its_answer_and_every_answer_has_words() -> None:
    for one in EVERY:
        assert one.answers
        assert [answer for answer in one.answers if contains(one.text, answer)] == [], one
        assert all(one.answered(answer) for answer in one.answers), one
        assert all(len(answer) <= 30 for answer in one.answers), one


def test_part_of_a_question_list_is_the_same_each_time_and_in_its_order() -> None:
    some = facts.questions("test", 20, seed=3)
    assert some == facts.questions("test", 20, seed=3)
    assert some != facts.questions("test", 20, seed=4)
    assert some == [one for one in ALL["test"] if one in some]
    assert len(facts.questions("test", 10_000)) == len(ALL["test"])
    facts.questions("test").clear()
    assert facts.questions("test") == ALL["test"]
    with pytest.raises(PromptError, match="no split 'exam'"):
        facts.questions("exam")  # type: ignore[arg-type]


# --- right and wrong -------------------------------------------------------------------------------------------------


def question(text: str) -> facts.Question:
    return next(one for one in EVERY if one.text == text)


@pytest.mark.parametrize(
    "answer",
    [
        "The capital of Australia is Canberra.",
        "the capital is canberra",
        "THE CAPITAL IS CANBERRA",
        '{"capital": "Canberra"}',
        "<<Capital>>\n* Canberra",
        "Die Hauptstadt ist Canberra.",
    ],
)
def test_how_an_answer_looks_does_not_count(answer: str) -> None:
    assert question("What is the capital of Australia?").answered(answer)
    assert not question("What is the capital of Austria?").answered(answer)


@pytest.mark.parametrize("answer", ["There are seven.", "7", "Hay siete días.", "Sept jours", "SIEBEN"])
def test_numbers_are_right_in_digits_and_words(answer: str) -> None:
    assert question("How many days are there in a week?").answered(answer)


def test_case_makes_no_answer_wrong() -> None:
    for one in EVERY:
        assert all(one.answered(answer.lower()) and one.answered(answer.upper()) for answer in one.answers), (
            one
        )
        assert one.suits(instructions.get("lowercase")), one
        assert one.suits(instructions.get("uppercase")), one


def test_questions_whose_answer_is_forbidden_are_left_out() -> None:
    paris, week = question("What is the capital of France?"), question("How many days are there in a week?")
    for spelled, fits in {
        "exclude(Paris)": (False, True),
        "exclude(people)": (True, True),
        "letter_frequency(letter=p, let_frequency=1, let_relation=less than)": (False, True),
        "constrained": (False, False),
        "language(es)": (True, True),
        "language(hi)": (False, True),
        "json": (True, True),
        "no_commas": (True, True),
    }.items():
        [wanted] = instructions.resolve_all(spelled)
        assert (paris.suits(wanted), week.suits(wanted)) == fits, spelled
    asked = facts.questions("test", instructions=[instructions.get("language", language="hi")])
    assert asked
    assert all(one.answers[0].isdecimal() for one in asked)


# --- what is lost ----------------------------------------------------------------------------------------------------


class Knowing(FakeEngine):
    """Knows every answer; steered, it shouts, and knows no arithmetic."""

    def generate(self, prompts: Sequence[Any], **options: Any) -> list[Generation]:
        self.generated.append(list(prompts))
        known = {one.text: one for one in EVERY}
        rows = self.edits_of_rows(options.get("steering"), len(prompts), list(prompts))
        answers = []
        for place, (prompt, edits) in enumerate(zip(prompts, rows, strict=True)):
            one = known[prompt]
            text = f"It is {one.answers[0]}, I think."
            if edits:
                text = "WHO KNOWS?" if one.subject == "arithmetic" else text.upper()
            answers.append(Generation(text, tuple(text.encode()), place, True))
        return answers

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        raise NotImplementedError


def test_what_steering_costs_is_the_share_of_right_answers_that_goes() -> None:
    engine = Knowing()
    found = facts.measure(engine, steering())
    assert found is not None
    gone = sum(one.subject == "arithmetic" for one in ALL["test"]) / len(ALL["test"])
    assert found.n == len(ALL["test"])
    assert found.right_plain == 1.0
    assert found.lost == pytest.approx(gone)
    assert found.kept == pytest.approx(1 - gone)
    assert facts.lost(engine, steering(), "test") == pytest.approx(gone)
    assert len(engine.generated) == 2  # plain and steered rows share one call
    document = found.to_dict(answers=True)
    assert document["lost"] == pytest.approx(gone, abs=1e-4)
    assert document["plain"]["right"] == 1.0
    assert sum(after for _, after in (row["right"] for row in document["answers"])) == round(
        found.n * found.right_steered
    )
    assert "answers" not in found.to_dict()


def test_plain_answers_are_shared_between_steerings() -> None:
    engine, known = Knowing(), {}
    facts.measure(engine, steering(), split="validation", n=30, known=known)
    assert len(known) == 30
    facts.measure(engine, steering(), split="validation", n=30, known=known)
    facts.measure(engine, steering(), split="validation", n=30, known=known, seed=1)
    assert [len(asked) for asked in engine.generated[:2]] == [60, 30]
    assert len(engine.generated[2]) == 30 + len(known) - 30
    steered: dict[str, str] = {}
    found = facts.measure(engine, steering(), split="validation", n=30, known=known, steered=steered)
    assert found is not None
    assert found == facts.measure(engine, steering(), split="validation", n=30, known=known, steered=steered)
    assert len(engine.generated) == 4


def test_a_model_that_knows_nothing_has_nothing_to_lose() -> None:
    engine = tiny_engine()
    found = facts.measure(engine, random_steering(engine), n=6, max_new_tokens=4)
    assert found is not None
    assert (found.right_plain, found.kept, found.lost) == (0.0, None, 0.0)


def test_nothing_is_asked_where_no_question_suits() -> None:
    engine = Knowing()
    set_answers = [instructions.get("constrained")]
    assert facts.measure(engine, steering(), instructions=set_answers) is None
    engine.identity = type(engine.identity)("nano", None, "LlamaForCausalLM", 4, 8, "plain")
    assert facts.measure(engine, steering()) is None
    assert facts.lost(engine, steering(), "test") == 0.0
    assert engine.generated == []
