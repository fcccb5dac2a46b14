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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("zh", "zh-cn"),
        ("zh-Hant-TW", "zh-tw"),
        ("pt-BR", "pt"),
        ("es_MX", "es"),
        ("nb", "no"),
        ("jp", "ja"),
        ("deu", "de"),
    ],
)
def test_another_way_to_write_a_code_is_answered_with_the_code(written: str, meant: str) -> None:
    name = languages.NAMES[meant]
    with pytest.raises(InstructionError, match=f"language must be {meant} for {name}, not '{written}'"):
        instructions.get("language", language=written)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InstructionError, match="must be an ISO 639-1 code or English name"):
        instructions.get("language", language="klingon")


@pytest.mark.parametrize(
    ("language", "text"), [("es", "Hola."), ("en", "Hello."), ("ru", "Привет"), ("zh-cn", "我喜欢猫")]
)
def test_a_text_too_short_to_tell_is_undecided(language: str, text: str) -> None:
    assert languages.detect(text) not in (None, language)
    judged = instructions.get("language", language=language).judge(text)
    assert (judged.strict, judged.loose, judged.undecided) == (False, False, True)
    assert not instructions.get("language", language=language).check(text)


@pytest.mark.parametrize(
    ("language", "text"), [("es", "Привет"), ("zh-cn", "ねこ"), ("es", SAID["en"]), ("el", "Hi")]
)
def test_a_long_text_and_one_in_another_script_are_not(language: str, text: str) -> None:
    assert not instructions.get("language", language=language).judge(text).undecided


def test_the_case_decides_before_the_language() -> None:
    assert instructions.get("lowercase").judge("hello.").undecided
    assert not instructions.get("lowercase").judge("Hello.").undecided
    assert instructions.get("uppercase").judge("HELLO.").undecided


def test_without_the_detector_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langdetect", None)
    monkeypatch.setitem(sys.modules, "langdetect.detector_factory", None)
    languages._detector.cache_clear()
    languages.detect.cache_clear()
    with pytest.raises(InstructionError, match="pip install langdetect"):
        instructions.get("lowercase").check("this is all lowercase")
    languages._detector.cache_clear()
