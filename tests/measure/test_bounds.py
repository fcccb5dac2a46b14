from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trimtab import instructions
from trimtab.measure.bounds import Bounds, about_length, compare, within
from trimtab.measure.quality import Quality

PLAIN = Quality(2.0, 0.1, 0.5, 100.0, 4.0, 0.4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"perplexity": 2.19, "repetition": 0.129, "facts": 0.45, "tokens": 124.0, "scorer_perplexity": 4.39},
        {"relevance": 0.37, "tokens": 76.0},
        {"perplexity": 1.1, "repetition": 0.0, "facts": 1.0, "relevance": 2.0},
        {"perplexity": None, "facts": None, "tokens": None, "scorer_perplexity": None, "relevance": None},
    ],
)
def test_what_is_hardly_worse_or_was_not_measured_is_within(changes: dict[str, Any]) -> None:
    assert within(replace(PLAIN, **changes), PLAIN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"perplexity": 2.3}, "perplexity 2.3 above 2.2"),
        ({"repetition": 0.2}, "repetition 0.2 above 0.13"),
        ({"facts": 0.3}, "facts 0.3 below 0.44"),
        ({"tokens": 60.0}, "length in tokens 60 below 75"),
        ({"tokens": 130.0}, "length in tokens 130 above 125"),
        ({"tokens": 0.0}, "length in tokens 0 below 75"),
        ({"scorer_perplexity": 5.0}, "perplexity under the scorer 5 above 4.4"),
        ({"relevance": 0.1}, "relevance 0.1 below 0.36"),
        ({"relevance": -3.0}, "relevance -3 below 0.36"),
    ],
)
def test_what_is_much_worse_departs_in_words(changes: dict[str, Any], said: str) -> None:
    quality = replace(PLAIN, **changes)
    assert [str(one) for one in compare(quality, PLAIN).departures] == [said]
    assert not within(quality, PLAIN)
    assert 0.0 < compare(quality, PLAIN).excess <= 1.0


def test_the_excess_grows_with_the_distance_and_adds_up() -> None:
    little, much = (compare(replace(PLAIN, tokens=tokens), PLAIN).excess for tokens in (70.0, 40.0))
    both = compare(replace(PLAIN, tokens=40.0, repetition=0.5), PLAIN).excess
    assert 0.0 < little < much < both
    assert compare(PLAIN, PLAIN).excess == 0.0


def test_what_an_instruction_costs_by_itself_is_allowed() -> None:
    json = replace(PLAIN, perplexity=6.0, scorer_perplexity=9.0, repetition=0.4, relevance=0.0, tokens=30.0)
    found = compare(json, PLAIN, following=json).departures
    # Its length and its distance from the question are not.
    assert [one.measure for one in found] == ["relevance", "length in tokens"]


def test_what_an_instruction_adds_may_be_as_long_as_it_is() -> None:
    longer = replace(PLAIN, tokens=150.0)
    assert not within(longer, PLAIN)
    assert within(longer, PLAIN, following=longer)
    assert not within(longer, PLAIN, following=replace(PLAIN, tokens=50.0))


def test_plain_answers_may_be_the_worse_ones() -> None:
    assert within(PLAIN, PLAIN, following=Quality(1.5, 0.0, None))


def test_an_instruction_about_length_may_have_any() -> None:
    short = replace(PLAIN, tokens=10.0)
    assert not within(short, PLAIN)
    assert within(short, PLAIN, any_length=True)
    assert about_length([instructions.get("lowercase"), instructions.get("sentences", at_most=2)])
    assert about_length([instructions.get("constrained")])
    assert not about_length([instructions.get("lowercase"), instructions.get("json")])


def test_a_relevance_below_nothing_may_fall_by_a_tenth_of_itself() -> None:
    plain = replace(PLAIN, relevance=-1.0)
    assert within(replace(PLAIN, relevance=-1.05), plain)
    assert not within(replace(PLAIN, relevance=-1.2), plain)


def test_bounds_can_be_others() -> None:
    worse = replace(PLAIN, perplexity=3.0)
    assert within(worse, PLAIN, Bounds(perplexity=0.6))
    assert not within(replace(PLAIN, repetition=0.11), PLAIN, Bounds(repetition=0.0, repeated=0.0))


def test_a_record_says_how_it_compares() -> None:
    quality = replace(PLAIN, tokens=50.0, facts=None, perplexity=2.1)
    assert compare(quality, PLAIN).to_dict() == {
        "within": False,
        "out_of_bounds": ["length in tokens 50 below 75"],
        "against_plain": {
            "tokens": 0.5,
            "repetition": 0.0,
            "perplexity": 1.05,
            "scorer_perplexity": 1.0,
            "relevance": 1.0,
        },
    }
    assert compare(PLAIN, PLAIN).to_dict()["within"] is True
    assert "out_of_bounds" not in compare(PLAIN, PLAIN).to_dict()
