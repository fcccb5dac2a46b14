"""What a check says of an answer, in plain words, and where in the text it fails."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.instructions import SPLITS

if TYPE_CHECKING:
    from trimtab.instructions import Instruction

Span = tuple[int, int]
"""A part of a text: its first character, and the one behind its last."""


@dataclass(frozen=True)
class Verdict:
    """What can be said of one instruction and one answer.

    Attributes:
        label: The instruction.
        asked: What it asks for, in plain words.
        followed: Whether the answer does; None where nobody can say.
        why: What to read beside it; empty where there is nothing to say.
        places: Where it fails, in order; none where it does not, or where no place is to blame.
    """

    label: str
    asked: str
    followed: bool | None
    why: str = ""
    places: tuple[Span, ...] = ()


def verdicts(wanted: Sequence[Instruction], query: str, text: str, engine: Any = None) -> list[Verdict]:
    """What the check of each instruction says of an answer.

    Args:
        wanted: The instructions.
        query: What was asked.
        text: The answer.
        engine: One whose tokenizer reads grammars, to find where an answer leaves one; None does without.
    """
    return [_verdict(one.for_query(query), text, engine) for one in wanted]


def _verdict(one: Instruction, text: str, engine: Any) -> Verdict:
    asked = in_words(one)
    if not one.can_check:
        return Verdict(one.label, asked, None, "No program can check this; read it yourself.")
    judgement = one.judge(text)
    if judgement.undecided:
        return Verdict(one.label, asked, None, "The check cannot decide on a text like this.")
    if judgement.strict:
        return Verdict(one.label, asked, True)
    if not text.strip():
        return Verdict(one.label, asked, False, "The answer is empty.")
    places, why = failing(one, text, engine)
    return Verdict(one.label, asked, False, why, places)


def in_words(one: Instruction) -> str:
    """What an instruction asks for, as one would say it: its first phrasing."""
    for split in SPLITS:
        found = one.phrasings(split)
        if found:
            return found[0]
    return one.type.summary


def failing(one: Instruction, text: str, engine: Any = None) -> tuple[tuple[Span, ...], str]:
    """Where an answer that does not pass fails, and why.

    What is looked for is, in this order: the very letters or words that are forbidden; for an instruction that every
    beginning of a passing answer passes, where the answer stops passing; where it leaves the instruction's grammar.

    Returns:
        The places, none where no place is to blame, and a sentence.
    """
    finder = _FINDERS.get(one.name)
    found = () if finder is None else finder(text, one.params)
    if found:
        return found, "What breaks it is marked."
    if one.prefix_closed and one.question is None:  # a judge is asked once, and reads the whole
        return (_first_break(one.check, text),), "It holds up to the mark."
    return _left(one, text, engine)


def _runs(pattern: str, flags: int = 0) -> Callable[[str, Mapping[str, Any]], tuple[Span, ...]]:
    compiled = re.compile(pattern, flags)
    return lambda text, params: tuple(match.span() for match in compiled.finditer(text))


def _letters(wrong: Callable[[str], bool]) -> Callable[[str, Mapping[str, Any]], tuple[Span, ...]]:
    def find(text: str, params: Mapping[str, Any]) -> tuple[Span, ...]:
        spans: list[Span] = []
        for place, letter in enumerate(text):
            if wrong(letter):
                joins = spans and spans[-1][1] == place
                spans[-1:] = [(spans[-1][0], place + 1)] if joins else [*spans[-1:], (place, place + 1)]
        return tuple(spans)

    return find


def _words(text: str, params: Mapping[str, Any]) -> tuple[Span, ...]:
    words = [*params.get("forbidden_words", ()), *(params.get("words") or ()), params.get("word") or ""]
    either = "|".join(re.escape(word) for word in words if word)
    if not either:
        return ()
    return tuple(match.span() for match in re.finditer(rf"\b(?:{either})\b", text, re.IGNORECASE))


_FINDERS: Mapping[str, Callable[[str, Mapping[str, Any]], tuple[Span, ...]]] = {
    "lowercase": _letters(str.isupper),
    "uppercase": _letters(str.islower),
    "no_commas": _runs("[,،、，﹐︐]"),
    "exclude": _words,
    "forbidden_words": _words,
}
"""The letters and words that some instructions forbid, by the instruction's name."""


def _first_break(check: Callable[[str], bool], text: str) -> Span:
    """The word with which an answer stops passing, where every beginning of a passing one passes."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    number = bisect_left(words, True, key=lambda span: not check(text[: span[1]]))
    return words[min(number, len(words) - 1)]


def _left(one: Instruction, text: str, engine: Any) -> tuple[tuple[Span, ...], str]:
    """Where an answer leaves the grammar of its instruction."""
    whole = (), "No single place is to blame."
    constraint = one.constraint()
    if constraint is None or engine is None:
        return whole
    try:
        matcher = engine.matchers.matcher(constraint)
        tokens = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
        count = matcher.try_consume_tokens(tokens)
        kept = engine.tokenizer.decode(tokens[:count])
    except (
        TrimtabError,
        ImportError,
    ):  # no llguidance, a vocabulary that it does not read, a grammar too large
        return whole
    start = len(kept) if text.startswith(kept) else 0
    rest = text[start:]
    if count == len(tokens) or not rest.strip():
        return (), "It ends before it has all that is asked for."
    start += len(rest) - len(rest.lstrip())
    end = start + len(re.split(r"(?<=\S)\s", text[start:], maxsplit=1)[0])
    return ((start, end),), "From the mark on, it is not what is asked for."
