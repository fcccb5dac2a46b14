from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.evaluate.fakes import FakeEngine

from trimtab.engines.base import Engine
from trimtab.measure.quality import Quality
from trimtab.measure.responses import quality_of, respond, scored_by
from trimtab.measure.scorer import NEUTRAL, Score, Scorer
from trimtab.measure.statistics import mean


class Reader(FakeEngine):
    """Finds an answer likelier the more of its words are in the question: 3 nats without any, 1 with all."""

    def score(self, prompts: Sequence[Any], responses: Sequence[Any], **options: Any) -> list[float]:
        self.scored.append((list(prompts), list(responses)))
        scores = []
        for prompt, response in zip(prompts, responses, strict=True):
            words = response.lower().split()
            scores.append(3.0 - 2.0 * sum(word in prompt.lower() for word in words) / len(words))
        return scores


def test_relevance_is_what_the_question_makes_likelier() -> None:
    reader = Reader()
    [to_the_point, off_it] = Scorer(reader).score(
        ["why is snow white", "why is snow white"], ["snow is white", "x y z"]
    )
    assert to_the_point == Score(1.0, 3.0)
    assert to_the_point.relevance == pytest.approx(2.0)
    assert off_it.relevance == pytest.approx(0.0)


def test_every_answer_is_scored_once_given_its_question_and_once_alone() -> None:
    reader = Reader()
    scorer = Scorer(reader)
    scorer.score(["one", "two", "one"], ["a", "a", "a"])
    assert reader.scored == [(["one", "two", NEUTRAL], ["a", "a", "a"])]
    scorer.score(["one", "three"], ["a", "a"])
    assert reader.scored[1:] == [(["three"], ["a"])]
    scorer.score(["one"], ["a"])
    assert len(reader.scored) == 2


def test_what_is_known_is_not_scored() -> None:
    reader = Reader()
    scorer = Scorer(reader)
    scorer.know("one", "a", Score(1.5, 2.0))
    assert scorer.score(["one"], ["a"]) == [Score(1.5, 2.0)]
    assert reader.scored == []


def test_an_empty_answer_has_no_score() -> None:
    [score] = Scorer(Reader()).score(["one"], [" \n"])
    assert score == Score(None, None)
    assert score.relevance is None


def test_it_is_loaded_once_and_only_when_it_is_needed() -> None:
    loaded: list[str] = []

    def load(name: str) -> Engine:
        loaded.append(name)
        return Reader()

    scorer = Scorer("some/model", load=load)
    assert scorer.name == "some/model"
    scorer.score([], [])
    assert loaded == []
    scorer.score(["one"], ["a"])
    scorer.score(["two"], ["b"])
    assert loaded == ["some/model"]
    assert scorer.name == "fake"


def test_its_progress_is_told() -> None:
    told: list[tuple[str, int, int | None]] = []

    class Slow(Reader):
        def score(self, prompts: Sequence[Any], responses: Sequence[Any], **options: Any) -> list[float]:
            options["progress"]("scoring", 1, 2)
            return super().score(prompts, responses, **options)

    Scorer(Slow()).score(
        ["one"], ["a"], progress=lambda stage, done, of=None, note="": told.append((stage, done, of))
    )
    assert told == [("scoring answers", 1, 2)]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        Scorer(Reader()).score(["a", "b"], ["x"])


def test_an_answer_to_another_question_is_less_relevant(engines: Callable[[str], Engine]) -> None:
    nano = engines("nano")
    queries = ["What is Harrowmere?", "What do salamanders eat?", "Why do people like music?"]
    answers = [one.text for one in nano.generate(queries, max_new_tokens=48)]
    scorer = Scorer(nano)
    own, others = (
        mean(score.relevance for score in scorer.score(asked, answers))
        for asked in (queries, queries[1:] + queries[:1])
    )
    assert own is not None
    assert others is not None
    assert own > 0.1
    assert own > others + 0.2


def test_responses_take_their_scores() -> None:
    responses = respond(FakeEngine(), ["What is the River?"], ["What is the River?"], scorer=Scorer(Reader()))
    [one] = responses
    assert one.scorer_nll is not None
    assert one.relevance is not None
    quality = quality_of(responses)
    assert quality.scorer_perplexity == pytest.approx(math.exp(one.scorer_nll))
    assert quality.relevance == pytest.approx(one.relevance)
    assert quality.tokens == one.tokens == len(one.text)
    assert quality.perplexity == pytest.approx(math.exp(1.0))
    assert (
        scored_by(respond(FakeEngine(), ["What is the River?"], ["What is the River?"]), Scorer(Reader()))
        == responses
    )


def test_without_a_scorer_nothing_is_said_of_it() -> None:
    quality = quality_of(respond(FakeEngine(), ["one"], ["one"]))
    assert (quality.scorer_perplexity, quality.relevance) == (None, None)
    assert Quality(1.0, 0.0, None).to_dict()["relevance"] is None
