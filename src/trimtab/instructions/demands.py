"""What an instruction asks of a response, in a form in which two can be compared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trimtab.instructions.occurrence import occurs

Range = tuple[float, float]

# Things that each hold at least one word, so that there cannot be more of them than words.
_HOLDS_WORDS = ("sentences", "paragraphs", "divided paragraphs", "bullet points")


def at_least(count: int) -> Range:
    """Counts from ``count`` on."""
    return (count, math.inf)


def at_most(count: int) -> Range:
    """Counts up to and including ``count``."""
    return (0, count)


@dataclass(frozen=True)
class Demands:
    """What must hold for a response, as far as it can clash with another instruction.

    Attributes:
        counts: Allowed range of a quantity by its name ("sentences", "words", 'the letter "e"', ...).
        contains: Texts that must occur, in any case.
        verbatim: Texts that must occur exactly as written.
        absent: Words that must not occur as whole words, in any case.
        banned: Characters that must not occur, in any case.
        letter_case: The only case allowed for letters.
        language: ISO 639-1 code of the whole response.
    """

    counts: Mapping[str, Range] = field(default_factory=dict)
    contains: tuple[str, ...] = ()
    verbatim: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    banned: str = ""
    letter_case: Literal["lower", "upper"] | None = None
    language: str | None = None


def letter(character: str) -> str:
    """The name of the quantity "how often this character occurs"."""
    return f'the letter "{character.lower()}"'


def whole_word(word: str) -> re.Pattern[str]:
    """A pattern for a word or phrase as IFEval finds it: literal, in any case, with no letter or digit beside it."""
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def clash(first: Demands, second: Demands) -> str | None:
    """The reason why no response satisfies both, or None. The order of the two does not matter."""
    reasons = [
        _counts(first, second),
        _directed(first, second),
        _directed(second, first),
        _languages(first, second),
    ]
    return min(filter(None, reasons), default=None)


def _counts(first: Demands, second: Demands) -> str | None:
    for quantity in sorted(first.counts.keys() & second.counts.keys()):
        (low, high), (other_low, other_high) = first.counts[quantity], second.counts[quantity]
        if max(low, other_low) > min(high, other_high):
            return f"they ask for different numbers of {quantity}"
    return None


def _directed(demanding: Demands, restricting: Demands) -> str | None:
    most_words = restricting.counts.get("words", (0, math.inf))[1]
    for quantity in _HOLDS_WORDS:
        if demanding.counts.get(quantity, (0, 0))[0] > most_words:
            return f"one asks for more {quantity} than the other allows words"
    for text in demanding.contains + demanding.verbatim:
        lowered = text.lower()
        if (bad := next((word for word in restricting.absent if _has(text, word)), None)) is not None:
            return f'one asks for "{text}", the other forbids "{bad}"'
        if (character := next((c for c in restricting.banned if c in lowered), None)) is not None:
            return f'one asks for "{text}", the other forbids "{character}"'
        for quantity, (_, high) in restricting.counts.items():
            if any(quantity == letter(c) and lowered.count(c) > high for c in set(lowered)):
                return f'one asks for "{text}", the other limits {quantity}'
    for text in demanding.verbatim:
        case = restricting.letter_case
        if (case == "lower" and text != text.lower()) or (case == "upper" and text != text.upper()):
            return f'one asks for "{text}" as written, the other for {case}case letters only'
    if restricting.letter_case == "lower" and demanding.counts.get("capital words", (0, 0))[0] > 0:
        return "one asks for words in capitals, the other for lowercase letters only"
    if restricting.letter_case == "upper" and demanding.counts.get("capital words", (0, 1))[1] < 1:
        return "one asks for capital letters only, the other for no word in capitals"
    return None


def _has(text: str, word: str) -> bool:
    """Whether a word occurs in a text for IFEval's types or for ours."""
    return whole_word(word).search(text) is not None or occurs(word, text)


def _languages(first: Demands, second: Demands) -> str | None:
    if {first.letter_case, second.letter_case} == {"lower", "upper"}:
        return "one asks for lowercase letters only, the other for uppercase letters only"
    if first.language and second.language and first.language != second.language:
        return "they ask for different languages, {} and {}".format(
            *sorted((first.language, second.language))
        )
    return None
