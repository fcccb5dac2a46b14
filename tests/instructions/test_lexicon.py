"""What is known of the words of an answer, in the languages that it seems to be in."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.instructions import lexicon
from trimtab.instructions.lexicon import Lexicon


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("It rained all day.", "en"),
        ("Er kommt am 3. Mai.", "de"),
        ("Il vit avec sa femme et le chien.", "fr"),
        ("Підкреслити, що власне хочемо.", "uk"),
        ("Vuonna 2001 siellä oli noin kaksi.", "fi"),
    ],
)
def test_the_language_is_told_by_a_few_words(text: str, language: str) -> None:
    assert Lexicon(text).languages == (language,)


def test_languages_that_share_their_words_count_together() -> None:
    assert {"da", "no"} <= set(Lexicon("Han bor i Oslo og er her.").languages)


def test_without_function_words_no_language_is_told() -> None:
    assert Lexicon("Nr. 5").languages == ()
    assert Lexicon("Nr. 5").lists("nr")
    assert not Lexicon("Rest. Hike.").lists("rest")


def test_an_abbreviation_of_one_language_is_a_word_of_another() -> None:
    assert Lexicon("Das ist die Abb. im Buch.").abbreviates("Abb")
    assert Lexicon("To jest ul. Długa.").abbreviates("ul")
    assert not Lexicon("This is the art of it.").abbreviates("art")
    assert Lexicon("The art. 5 is on the list.").abbreviates_before_number("art")


def test_a_word_in_small_letters_elsewhere_has_its_capital_from_the_sentence() -> None:
    assert Lexicon("Ask for zorbs. Zorbs are here.").is_written_small("zorbs")
    assert not Lexicon("Ask for Zorbs. Zorbs are here.").is_written_small("zorbs")
    assert Lexicon("They left for the U.S. Rents were high.").is_written_small("rents")


@given(st.sampled_from(string.ascii_letters), st.text(string.ascii_letters, min_size=4, max_size=9))
def test_no_long_word_of_english_letters_abbreviates(first: str, rest: str) -> None:
    assert not Lexicon("It is the one.").abbreviates(first + rest)


def test_the_lists_are_words_apart() -> None:
    lists = json.loads(lexicon.FILE.read_text(encoding="utf-8"))
    assert len(lists) > 40
    for language, kinds in lists.items():
        listed = {word.casefold() for word in " ".join(kinds["abbreviations"]).split()}
        assert listed.isdisjoint(" ".join(kinds["function_words"]).split()), language
        assert not any(word.endswith(".") for word in listed), language
