"""Which letters and words an answer may have: case, words in it and out of it, letters and words counted."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import (
    ANY,
    ENDED,
    NO_WORD,
    SOMETHING,
    answer,
    any_case,
    literal,
    pattern,
    spelled,
    unended,
)


def one_case(letter: str, other: str) -> Constraint:
    """Letters of one case alone, of every script; that the answer is in English is nothing that this can say.

    Args:
        letter: Unicode's property of the letters wanted.
        other: That of the others. Title case is neither.
    """
    # Before the first letter there are marks, and a number with a space after it. Else numbers alone would be the way
    # out of letters that are not allowed.
    marks = rf"[^\p{{L}}\p{{N}}\p{{{other}}}]{{0,12}}"
    start = rf'{marks}([\p{{Nd}}][\p{{Nd}}.,:\/%-]{{0,9}}[\s*_")]{{1,6}})?'
    pattern = rf"{start}\p{{{letter}}}[^\p{{{other}}}\p{{Lt}}]*"
    return Constraint("regex", pattern, other_case=True)


def no_commas() -> Constraint:
    """Something without a comma."""
    return answer(r"[^,]*[^,\s\x1c-\x1f][^,]*", exact=True)


def keywords(words: Sequence[str]) -> Constraint:
    """Each of the texts, also inside longer words, within some sentences or at the start of the next."""
    return answer(*(within(1, spelled(word)) for word in words), exact=True)


# So many sentences may pass before a word that must occur has to start the next.
_SENTENCES = 2


def within(times: int, wanted: str, before: str = "", behind: str = ANY) -> str:
    """So many occurrences, each within some sentences after the one before, or at the start of the sentence after.

    Args:
        times: How many.
        wanted: What occurs, as a pattern.
        before: What stands directly before it where it does not start an answer or a sentence.
        behind: What may follow the last one.
    """
    whole = f"{unended()}{ENDED}"
    early = rf"({whole}){{0,{_SENTENCES - 1}}}({unended()}{before})?{wanted}"
    late = rf"({whole}){{{_SENTENCES}}}[ \n]{{0,2}}((The|the|THE|A|a|An|an|AN) )?{wanted}"
    once = f"({early}|{late})"
    return rf"{once}({once}){{{times - 1}}}({behind})?"


def exclude(words: Sequence[str]) -> Constraint:
    """Something in which none of the words stands with no letter or digit beside it, in any case."""
    found = "|".join(any_case(word.strip()) for word in words)
    whole = f"({ANY}{NO_WORD})?({found})({NO_WORD}{ANY})?"
    return Constraint.terminal(pattern(SOMETHING), f"~{pattern(whole)}", exact=True)


def keyword_frequency(keyword: str, low: float, high: float) -> Constraint:
    """A text at least so many times, or at most, in any case, also inside longer words."""
    if high == float("inf"):
        return answer(within(int(low), spelled(keyword.strip())), exact=True)
    found = any_case(keyword.strip())
    too_many = f"({ANY}{found}){{{int(high) + 1}}}{ANY}"
    return Constraint.terminal(pattern(SOMETHING), f"~{pattern(too_many)}", exact=True)


def letter_frequency(letter: str, low: float, high: float) -> Constraint:
    """A letter at least so many times, or at most, in any case."""
    cases = _lowered_to(letter)
    inside, outside = f"[{cases}]", f"[^{cases}]"
    times = f"{int(low)},}}" if high == float("inf") else f"0,{int(high)}}}"
    return answer(f"({outside}*{inside}){{{times}{outside}*", SOMETHING, exact=True)


@functools.lru_cache(maxsize=256)
def _lowered_to(letter: str) -> str:
    """Every character whose lowercase has the letter in it, as what stands in a class of characters."""
    every = map(chr, (*range(0xD800), *range(0xE000, 0x1E944)))
    return "".join(literal(each) for each in every if letter in each.lower())


def capital_words(low: int) -> Constraint:
    """At least so many words of two or more capitals that stand between spaces, each within two sentences."""
    word = r"[A-Z]{2,20}"
    gap = rf"(({unended()}{ENDED})?{unended()}\s|{unended()}{ENDED}\s)?"
    return answer(rf"{gap}{word}(\s{gap}{word}){{{low - 1}}}(\s{ANY})?", exact=True)
