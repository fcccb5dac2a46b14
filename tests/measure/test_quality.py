from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.fakes import FakeEngine

from trimtab.errors import PromptError
from trimtab.measure.quality import (
    Quality,
    negative_log_likelihoods,
    perplexity,
    perplexity_of,
    repetition,
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("one two three four five", 0.0),
        ("too short", 0.0),
        ("", 0.0),
        # 12 words, nine 4-grams, one of them distinct.
        ("the " * 12, 8 / 9),
        # Eight words twice: 13 4-grams, 8 distinct.
        ("a b c d e f g h a b c d e f g h", 5 / 13),
        ("{{{{{{{{{{", 6 / 7),
        ("One two three four. ONE TWO THREE FOUR.", 2 / 7),
    ],
)
def test_repetition_counts_repeated_four_grams(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@given(st.text(), st.integers(1, 6))
def test_repetition_is_a_share_and_ignores_case(text: str, n: int) -> None:
    assert 0.0 <= repetition(text, n) < 1.0


@given(st.text(alphabet="abc ", min_size=1), st.integers(1, 4))
def test_repetition_grows_when_a_text_is_said_again(text: str, n: int) -> None:
    assert repetition(f"{text} {text} {text}", n) >= repetition(text, n)


def test_an_n_gram_has_words() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        repetition("a b c", 0)


def test_perplexity_is_a_geometric_mean_of_unsteered_likelihoods() -> None:
    engine = FakeEngine()
    assert perplexity(engine, ["q", "q"], ["Some Answer", "some answer"]) == pytest.approx(math.exp(1.25))


def test_empty_responses_are_not_scored() -> None:
    engine = FakeEngine()
    assert negative_log_likelihoods(engine, ["a", "b", "c"], ["", "Text", " \n"]) == [None, 1.0, None]
    assert engine.scored == [(["b"], ["Text"])]
    assert perplexity(engine, ["a"], [""]) is None
    assert len(engine.scored) == 1


def test_tokens_and_text_are_scored_alike() -> None:
    engine = FakeEngine()
    assert negative_log_likelihoods(engine, ["a", "b", "c"], [b"Text", "Text", ()]) == [1.0, 1.0, None]
    assert engine.scored == [(["a", "b"], ["Text", "Text"])]


def test_a_likelihood_that_is_no_number_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(engine, "score", lambda *_, **__: [math.nan, 2.0, math.inf])
    assert negative_log_likelihoods(engine, ["a"] * 3, ["x"] * 3) == [None, 2.0, None]


def test_perplexity_does_not_overflow() -> None:
    assert math.isfinite(perplexity_of([5000.0]) or math.inf)


def test_lengths_must_agree() -> None:
    with pytest.raises(PromptError, match="2 prompts but 1 responses"):
        perplexity(FakeEngine(), ["a", "b"], ["x"])


def test_quality_is_rounded_for_json() -> None:
    assert Quality(3.14159265, 0.0, None).to_dict() == {
        "perplexity": 3.1416,
        "repetition": 0.0,
        "facts": None,
        "tokens": None,
        "scorer_perplexity": None,
        "relevance": None,
        "taken": None,
    }
