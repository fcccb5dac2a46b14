"""Telling languages apart."""

from __future__ import annotations

import sys

import pytest

from trimtab import instructions
from trimtab.instructions import InstructionError, languages

SAID = {
    "en": "The rocket left the launch pad early in the morning.",
    "es": "El cohete despegó al amanecer y la luna brillaba sobre el mar.",
    "fr": "La fusée a décollé à l'aube et la lune brillait sur la mer.",
    "de": "Die Rakete startete im Morgengrauen über dem Meer.",
    "ja": "ロケットは夜明けに打ち上げられました。",
}


@pytest.mark.parametrize("code", SAID)
def test_tells_languages_apart(code: str) -> None:
    for other, text in SAID.items():
        assert languages.is_language(text, code) == (code == other)


def test_every_known_language_has_a_profile_and_a_phrasing() -> None:
    factory, _ = languages._detector()
    assert set(factory.get_lang_list()) == set(languages.NAMES)
    for code, name in languages.NAMES.items():
        made = instructions.get("language", language=name)
        assert made.params == {"language": code}
        assert name in made.phrasings("test")[0]


def test_what_holds_no_letters_counts_as_any_language() -> None:
    assert languages.detect("12345") is None
    assert languages.is_language("12345", "es")


def test_without_the_detector_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langdetect", None)
    monkeypatch.setitem(sys.modules, "langdetect.detector_factory", None)
    languages._detector.cache_clear()
    languages.detect.cache_clear()
    with pytest.raises(InstructionError, match="pip install langdetect"):
        instructions.get("lowercase").check("this is all lowercase")
    languages._detector.cache_clear()
