"""The sentences of answers without capitals, and of those in capitals alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.instructions import onecase, sentences
from trimtab.instructions.lexicon import Lexicon

ANSWERS = [
    (3, "the capital of norway is oslo. many tourists visit bergen too. both are lovely."),
    (2, "it flows past oslo. many people love it."),
    (2, "you can fly to reykjavik. from there take a bus to vik."),
    (2, "we saw a lynx. it ran off."),
    (2, "dr. smith works at st. mary's hospital. he likes it there."),
    (1, "we open at 9 a.m. and close at 5 p.m. every day"),
    (2, "we open at 9 a.m. we close at 5 p.m. every day"),
    (1, "fig. 3 and tab. 4 show approx. the same, e.g. for pears"),
    (2, "it weighs approx. 3 kg. that is a lot."),
    (2, "pack hats, socks, gloves etc. and leave early. the road is long."),
    (2, "this is from the u.s. and it works. try it."),
    (2, "he lives in the u.s. his rent is high."),
    (2, "wash at 40 °c. do not iron."),
    (2, 'he said "stop." then he left.'),
    (1, '"stop!" he said.'),
    (1, 'he said "stop!" and left.'),
    (2, "die hauptstadt ist wien. viele leute besuchen salzburg."),
    (1, "er kommt am 3. mai zu uns, z. b. mit der bahn"),
    (2, "*yes.* that is right."),
    (1, "i ❤️ this city"),
    (1, "the score is by j. s. bach and a. m. bach, his wife"),
    (1, "kaiser wilhelm ii. regierte im jahr 300 v. chr. noch nicht"),
    (2, "la reunión es a las 5 p. m. en la sala. no falte."),
    (2, "lt. col. brown met gen. lee. they talked."),
]


@pytest.mark.parametrize(("count", "text"), ANSWERS)
def test_small_letters_and_capitals_count_alike(count: int, text: str) -> None:
    assert sentences.count(text) == count
    assert sentences.count(text.upper()) == count


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_labelled_answers_count_nearly_as_well_in_one_case(change: Callable[[str], str]) -> None:
    path = Path(__file__).parents[2] / "benchmarks/sentences.jsonl"
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cased = [one for one in answers if one["language"] in ("en", "de", "fr", "es", "ru")]
    right = sum(sentences.count(change(one["answer"])) == one["sentences"] for one in cased)
    assert len(cased) > 250
    assert right >= 0.96 * len(cased)


def test_pieces_keep_their_capitals() -> None:
    assert sentences.split("İYİ GÜN. BU İYİ.") == ["İYİ GÜN.", "BU İYİ."]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("we met at nasa.", True),
        ("we met at NASA. it is big.", True),
        ("I met anna. we had tea.", True),
        ("I ❤️ this city more.", False),
        ("we met in Oslo.", False),
        ("У них 3 тыс. тонн.", False),
        ("კარგი დღეა.", False),
        ("今天很好。", False),
    ],
)
def test_an_answer_in_one_case_is_told(text: str, told: bool) -> None:
    assert Lexicon(text).one_case is told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("WASH AT 40 °C AND 5 km BEHIND.", True),
        ("GROßE STRAßE", True),
        ("CALL Code AND READ address.", True),
        ("DNA is short.", False),
        ("It is late.", False),
        ("5 km", False),
    ],
)
def test_a_block_in_capitals_is_told(text: str, told: bool) -> None:
    assert onecase.in_capitals(text) is told
