"""Judges over tiny models and a real endpoint: odds, calibration, memory, and agreement with a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_engine

from trimtab import instructions
from trimtab.errors import PromptError, TrimtabError
from trimtab.evaluate.cache import ContentCache, model_key
from trimtab.instructions import InstructionError, Question
from trimtab.instructions.tone import TONES
from trimtab.measure.judges import (
    InstructionJudge,
    ModelJudge,
    ProbeJudge,
    agreement,
    known,
    labelled,
    logistic,
)
from trimtab.measure.judges.model import PROMPT

LOUD = Question("Is it loud?", ("A!", "BB!!", "C!!!", "DDD!"), ("a", "bb.", "ccc", "d, e"))


class Counting(InstructionJudge):
    """Gives the number of "!" in a response, as `scale` says; notes what it was asked."""

    def __init__(self, scale: float = 1.0, lean: float = 0.0, **options: Any) -> None:
        super().__init__("counting", **options)
        self.scale, self.lean = scale, lean
        self.asked: list[str] = []

    def key(self) -> Mapping[str, Any]:
        return {"counts": "!"}

    def ask(self, question: Question, responses: Sequence[str], **options: Any) -> list[float | None]:
        self.asked += responses
        return [None if "?" in one else self.scale * one.count("!") + self.lean for one in responses]


def test_a_judge_that_leans_to_one_side_is_calibrated() -> None:
    judge = Counting(lean=-50.0)  # its odds are below 0 whatever it reads
    assert judge.passes(LOUD, "Hello!") is True
    assert judge.passes(LOUD, "Hello.") is False
    assert judge.passes(LOUD, "Hello?") is None
    assert judge.passes(LOUD, " \n") is False
    calibration = judge.calibration(LOUD)
    assert (calibration.right, calibration.examples) == (1.0, 8)
    bare = Question("Is it loud?")
    assert judge.passes(bare, "Hello!") is False  # without examples the odds are taken as they are


def test_one_that_cannot_tell_the_examples_apart_is_not_believed() -> None:
    for judge in (Counting(scale=0.0), Counting(scale=-1.0)):
        with pytest.raises(
            TrimtabError, match=r"counting cannot answer 'Is it loud\?'.*another judge"
        ) as caught:
            judge.passes(LOUD, "Hello!")
        assert "\n" not in str(caught.value)


def test_nothing_is_asked_twice_and_a_store_keeps_it(tmp_path: Path) -> None:
    judge = Counting(store=ContentCache(tmp_path))
    judge.know([(LOUD, "x!"), (LOUD, "y"), (LOUD, "x!")])
    assert sorted(judge.asked) == sorted([*LOUD.follows, *LOUD.fails, "x!", "y"])
    assert judge.passes(LOUD, "x!") is True
    assert len(judge.asked) == 10
    again = Counting(store=ContentCache(tmp_path))
    assert again.passes(LOUD, "x!") is True
    assert again.passes(LOUD, "z?") is None
    assert again.asked == ["z?"]


def test_an_instruction_with_a_judge_in_the_place_of_a_check() -> None:
    formal = instructions.get("formal")
    assert not formal.can_check
    with pytest.raises(InstructionError, match="--judged-by"):
        formal.check("Yo.")
    judge = Counting()
    judge._calibrations[formal.question] = judge.calibration(LOUD)
    judged = formal.judged_by(judge)
    assert judged == formal
    assert judged.can_check
    found = judged.judge("Hm!")
    assert (found.strict, found.loose, found.undecided, found.notes) == (
        True,
        True,
        False,
        {"judge": "counting"},
    )
    # A judge reads the response as it is, where a check's loose reading would leave the first line out.
    assert not judged.judge("No\nyes").loose
    assert judged.judge("Hm?").undecided
    json = instructions.get("json")
    assert json.judged_by(judge) is json
    known([judged, json], ["one!", "two"])
    assert {"one!", "two"} <= set(judge.asked)


def test_questions_need_both_sides_and_a_type_one_way_to_tell() -> None:
    with pytest.raises(InstructionError, match="one side only"):
        Question("Is it?", follows=("a",))
    with pytest.raises(InstructionError, match="blank contrast example"):
        Question("Is it?", follows=("a", " "), fails=("b", "c"))
    with pytest.raises(InstructionError, match="needs a question"):
        Question("  ")

    @instructions.instruction(phrasings=["Be so."], judge="Is it so?")
    def both_ways() -> instructions.Check:
        """Is so."""
        return lambda response: True

    try:
        with pytest.raises(InstructionError, match="a check and a judge's question"):
            both_ways()
    finally:
        from trimtab.instructions.registry import REGISTER

        REGISTER.remove("both_ways")


def test_a_models_odds_are_those_of_yes_against_no() -> None:
    engine = tiny_engine(max_position_embeddings=512)
    judge = ModelJudge(engine)
    odds = judge.ask(LOUD, ["Oh!", "oh"])
    for response, given in zip(["Oh!", "oh"], odds, strict=True):
        text = engine.tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPT.format(response=response, question=LOUD.text)}],
            tokenize=False, add_generation_prompt=True,
        )  # fmt: skip
        likely = []
        for word in ("Yes", "No"):
            prompt = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
            tokens = engine.tokenizer(word, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = engine.model(torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
            likely.append(sum(float(logits[len(prompt) - 1 + n, one]) for n, one in enumerate(tokens)))
        assert given == pytest.approx(likely[0] - likely[1], abs=1e-4)
    assert judge.name == "tiny-llama"


def test_a_model_is_loaded_when_it_is_needed_and_known_by_its_weights(tmp_path: Path) -> None:
    engine = tiny_engine(max_position_embeddings=512)
    loaded: list[int] = []

    def load() -> Any:
        loaded.append(1)
        return engine

    judge = ModelJudge(load, name="small", key=model_key, store=ContentCache(tmp_path))
    assert not loaded
    bare = Question("Is it loud?")
    first = judge.odds(bare, ["Oh!"])
    assert len(loaded) == 1
    other = ModelJudge(engine, name="same", key=model_key, store=ContentCache(tmp_path))
    other.ask = None  # type: ignore[assignment,method-assign]
    assert other.odds(bare, ["Oh!"]) == first


def test_a_probe_learns_from_the_examples_and_reads_others_rightly() -> None:
    engine = tiny_engine(max_position_embeddings=512)
    question = Question(
        "Is it in capitals?",
        ("THE SEA IS BLUE", "A DOG RAN HOME", "WHAT A DAY", "GO TO THE MOON", "SEND IT"),
        ("the sea is blue", "a dog ran home", "what a day", "go to the moon", "send it"),
    )
    judge = ProbeJudge(engine)
    assert judge.name == "probe on tiny-llama"
    assert (judge.calibration(question).right or 0) >= 0.9
    assert [judge.passes(question, text) for text in ("HELLO YOU", "hello you")] == [True, False]
    with pytest.raises(TrimtabError, match="at least 4 of each"):
        judge.passes(Question("Is it?", ("A",), ("b",)), "C")


def test_the_regression_is_that_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    numbers = torch.Generator().manual_seed(0)
    features = torch.randn(30, 3, generator=numbers, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.2])
    labels = features @ torch.tensor([1.0, -0.3, 2.0], dtype=torch.float64) + torch.randn(
        30, generator=numbers, dtype=torch.float64
    ) > 0  # fmt: skip
    ours = logistic.fit(features, labels, ridge=0.1)
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    theirs = linear.LogisticRegression(C=1 / (0.1 * len(labels)), tol=1e-10).fit(
        scaled.numpy(), labels.numpy()
    )
    assert ours.odds(features).tolist() == pytest.approx(
        theirs.decision_function(scaled.numpy()).tolist(), abs=1e-3
    )
    with pytest.raises(ValueError, match="both sides"):
        logistic.fit(features, torch.ones(30, dtype=torch.bool))


def test_agreement_counts_both_kinds_of_mistake(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        '{"tone": "formal", "answer": "a!", "verdict": true}\n{"tone": "formal", "answer": "b!", "verdict": false}\n'
        '{"tone": "formal", "answer": "c", "verdict": true}\n{"tone": "formal", "answer": "d?", "verdict": false}\n'
    )
    judge = Counting()
    judge._calibrations[instructions.get("formal").question] = judge.calibration(LOUD)
    (found,) = agreement(judge, labelled(answers))
    assert (found.agreed, found.n, found.wrongly_passed, found.wrongly_failed) == (1, 4, 1, 1)
    assert found.to_dict()["share"] == 0.25
    assert agreement(judge, labelled(answers), ["poetic"]) == []
    answers.write_text('{"tone": "json", "answer": "a!", "verdict": true}\n')
    with pytest.raises(PromptError, match="no question for a judge"):
        agreement(judge, labelled(answers))
    answers.write_text('{"tone": "formal", "answer": "a!", "verdict": 1}\n')
    with pytest.raises(PromptError, match=r"must be like"):
        labelled(answers)


def test_the_labelled_answers_are_many_of_both_sides_and_none_is_a_contrast_example() -> None:
    answers = labelled()
    assert len(answers) >= 100
    assert len({(one.tone, one.answer) for one in answers}) == len(answers)
    assert {one.tone for one in answers} == set(TONES)
    for tone in TONES:
        question = instructions.get(tone).question
        assert question is not None
        own = [one for one in answers if one.tone == tone]
        assert len(own) >= 14
        assert 0.4 <= sum(one.verdict for one in own) / len(own) <= 0.6
        assert len(question.follows) == len(question.fails) >= 8
        assert not {one.answer for one in own} & {*question.follows, *question.fails}


def test_an_empty_response_is_a_no_of_any_odds() -> None:
    assert Counting().odds(LOUD, [""]) == [-math.inf]
