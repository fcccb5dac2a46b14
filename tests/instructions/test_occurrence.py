"""Where a word occurs, and where only its letters do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instructions.walks import walk

from trimtab import instructions
from trimtab.instructions.occurrence import occurs

FOUND = [
    ("猫", "私の猫は眠い。"),
    ("dragon", "私はdragonです"),
    ("ネコ", "私のネコは眠い。"),
    ("แมว", "ฉันมีแมวสองตัว"),
    ("ລາວ", "ພາສາລາວດີ"),
    ("ខ្មែរ", "ភាសាខ្មែរល្អ"),
    ("မြန်မာ", "ကျွန်တော်မြန်မာစကား"),
    ("3", "3匹の猫"),
    ("고양이", "고양이는 잔다."),
    ("고양이", "제 고양이들입니다."),
    ("قطة", "القطة نائمة."),
    ("חתול", "החתול ישן."),
    ("बिल्ली", "मेरी बिल्ली सो रही है।"),
    ("dragon", "_dragon_"),
    ("dragon", "__dragon__ and"),
    ("dragon", "**dragon**s" + " dragon"),
    ("red dragon flew", "The **red dragon** flew."),
    ("dragon", "dra**gon**"),
    ("don't", "I don’t know."),
    ("café", "un cafe\u0301 noir"),
    ("New York", "in New\u00a0York,\nin"),
    ("New York", "in New\r\nYork"),
    ("straße", "DIE STRASSE"),
    ("Diyarbakır", "DİYARBAKIR"),
    ("δράκος", "Ο ΔΡΑΚΟΣ ΚΟΙΜΑΤΑΙ"),
    ("dragon", "the dragon's lair"),
    ("homme", "l'homme"),
    ("dragon", "a dragon¹"),
    (":)", "hello:)"),
    ("$", "It costs $5."),
    ("C++", "C++11"),
    ("**", "two ** marks"),
    ("snake_case", "a snake_case name"),
    ("❤", "I ❤\ufe0f you"),
    ("2.0", "the 2.0.\n1 more"),
    ("2024", "am 12.05.2024"),
    ("Python 3", "Python 3. Why"),
    # Tags are not seen, nor are the strokes that keep a mark from being one of Markdown.
    ("dragon", "The <b>d</b>ragon"),
    ("red dragon", 'A red <b class="x">dragon</b>'),
    ("red dragon", "red<br/>dragon"),
    ("red dragon", "red\\\ndragon"),
    ("snake_case", r"a snake\_case name"),
    ("C++", r"I write C\+\+."),
    (r"a\*b", r"in a\*b"),
]
NOT_FOUND = [
    ("cafe", "café"),
    ("cafe", "cafe\u0301"),
    ("खा", "खाना"),
    ("क", "की"),
    ("パン", "パンダ"),
    ("ไม", "ไม่"),
    ("มา", "เมา"),
    ("물", "물고기"),
    ("dragon", "dragons and snapdragons"),
    ("dragon", "the_dragon_file"),
    ("dragon", "dra gon"),
    ("don", "I don't know."),
    ("s", "it's"),
    ("3", "3.5 km"),
    ("1", "1,000"),
    # Nor is a piece of a version's number, or of a number in groups.
    ("2.0", "2.0.1"),
    ("0.1", "2.0.1"),
    ("3", "3.10.2 is out"),
    ("10.2", "v3.10.2"),
    ("000", "1.000.000 Euro"),
    # Nor what ends or begins inside of a number.
    ("Python 3", "Python 3.10"),
    ("5 km", "3.5 km"),
    ("dragons", "dragon<br>s"),
    ("U.S.", "U.S.A."),
    ("sık", "sik"),
    ("New York", "New\n\nYork"),
    ("👨", "👨\u200d👩"),
]


@pytest.mark.parametrize(("word", "text"), FOUND)
def test_a_word_is_found(word: str, text: str) -> None:
    assert occurs(word, text)
    assert instructions.get("include", word=word).check(text)
    assert not instructions.get("exclude", words=[word]).check(text)


@pytest.mark.parametrize(("word", "text"), NOT_FOUND)
def test_its_letters_alone_are_not(word: str, text: str) -> None:
    assert not occurs(word, text)
    assert not instructions.get("include", words=[word]).check(text)
    assert instructions.get("exclude", word=word).check(text)


WRITTEN_OTHERWISE = [
    ("Straße", "die Stra\u00adße"),
    ("fire", "ｆire"),
    ("еще", "еще\u0308"),
    ("еще", "ещё"),
    ("замок", "за\u0301мок"),
]


@pytest.mark.parametrize(("word", "text"), [*FOUND, *NOT_FOUND, *WRITTEN_OTHERWISE])
def test_what_the_constraints_admit_passes(word: str, text: str) -> None:
    for name in ("include", "exclude"):
        instruction = instructions.get(name, word=word)
        constraint = instruction.constraint()
        assert constraint is not None
        assert instruction.check(text) or not constraint.admits(text)


@pytest.mark.parametrize(
    "word", ["moon", "U.S.", "3.14", "é", "fi", "ss", "the rocket", "日本", "don't", "_moon_", "*"]
)
@pytest.mark.parametrize("name", ["include", "exclude"])
def test_what_a_walk_through_a_constraint_writes_passes(name: str, word: str) -> None:
    instruction = instructions.get(name, word=word)
    constraint = instruction.constraint()
    assert constraint is not None
    assert constraint.exact
    for seed in range(4):
        text = walk(constraint, seed, 30)
        assert text is None or instruction.check(text), text


def test_letters_that_two_languages_write_differently_are_still_admitted() -> None:
    constraint = instructions.get("exclude", word="علی").constraint()
    assert constraint is not None
    assert constraint.admits("سلام دوست ی من")
    assert not constraint.admits("سلام علي")


def test_a_word_that_must_and_must_not_occur_is_a_conflict() -> None:
    must, must_not = instructions.get("include", word="私の猫"), instructions.get("exclude", word="猫")
    assert must.conflicts_with(must_not) == 'one asks for "私の猫", the other forbids "猫"'
    one, other = instructions.get("include", word="cafe\u0301"), instructions.get("exclude", word="CAFÉ")
    assert one.conflicts_with(other)


@given(st.text(min_size=1, max_size=8), st.text(max_size=30))
def test_any_text_can_be_looked_through(word: str, text: str) -> None:
    if word.strip():
        assert occurs(word, text) in (True, False)


@given(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.text("abc xyz.,!", max_size=30))
def test_plain_english_is_judged_as_by_whole_words(word: str, text: str) -> None:
    from trimtab.instructions.demands import whole_word

    assert occurs(word, text) == (whole_word(word).search(text) is not None)
