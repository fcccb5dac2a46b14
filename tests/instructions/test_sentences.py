"""Sentences counted as a reader counts them."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.instructions.walks import walk

from trimtab import instructions
from trimtab.instructions import abbreviations, sentences
from trimtab.instructions.lexicon import LONG_WORD

LABELLED = Path(__file__).parents[2] / "benchmarks" / "sentences.jsonl"


def labelled() -> list[dict[str, object]]:
    return [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]


def test_the_labelled_answers_are_many_in_ten_languages() -> None:
    answers = labelled()
    languages = Counter(answer["language"] for answer in answers)
    assert len(answers) >= 300
    assert len({answer["answer"] for answer in answers}) == len(answers)
    assert len(languages) == 10
    assert min(languages.values()) >= 30


@pytest.mark.parametrize("part", ["development", "held out"])
def test_labelled_answers_are_counted_as_their_reader_did(part: str) -> None:
    answers = [answer for answer in labelled() if answer["part"] == part]
    right = [sentences.count(str(answer["answer"])) == answer["sentences"] for answer in answers]
    assert sum(right) / len(right) >= 0.99


@pytest.mark.parametrize(
    ("block", "pieces"),
    [
        ("1. Wash the rice. 2. Boil it.", ["1. Wash the rice.", "2. Boil it."]),
        ("Two tips. 1. Drink water. 2. Sleep.", ["Two tips.", "1. Drink water.", "2. Sleep."]),
        ("How many? 5. That is all.", ["How many?", "5.", "That is all."]),
        ("Dr. Lee left. She was ill.", ["Dr. Lee left.", "She was ill."]),
        ("Done! 🎉", ["Done!"]),
        ("下雨了。我们回家。", ["下雨了。", "我们回家。"]),
        ("Read `a. b.` first.", ["Read Code first."]),
        ("See [the page](https://a.org/b.c) now.", ["See the page now."]),
        ("?!", []),
        ("", []),
    ],
)
def test_a_block_is_split(block: str, pieces: list[str]) -> None:
    assert sentences.split(block) == pieces


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_line_ends_make_no_difference(end: str) -> None:
    assert sentences.count(end.join(["It rained.", "", "- We read.", "- We slept."])) == 3


@pytest.mark.parametrize(
    "params",
    [
        {"at_most": 1},
        {"at_most": 3},
        {"exactly": 1},
        {"exactly": 3},
        {"at_least": 2, "at_most": 4},
        {"at_least": 1},
        {"at_least": 3},
    ],
    ids=str,
)
def test_what_its_constraint_admits_passes(params: dict[str, int]) -> None:
    instruction = instructions.get("sentences", **params)
    constraint = instruction.constraint()
    assert constraint is not None
    assert constraint.exact
    texts = [text for text in (walk(constraint, seed, 25) for seed in range(40)) if text is not None]
    assert texts
    for text in texts:
        assert instruction.check(text), text


def test_the_constraint_takes_no_abbreviation_for_an_end() -> None:
    names = (
        "TITLES",
        "INTRODUCING",
        "CAPITALISED",
        "UNITS",
        "ANY",
        "AFTER_COMMAS",
        "OFTEN_LAST",
        "BEFORE_NUMBERS",
        "DATES",
        "PAIRS",
        "STREETS",
        "TITLES_OF",
    )
    words = set().union(*(getattr(abbreviations, name) for name in names))
    ended = re.compile(f".*{LONG_WORD}")
    assert ended.fullmatch("rained")
    assert [word for word in words if ended.fullmatch(word)] == []
