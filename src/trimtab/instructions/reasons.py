"""Why a response does not follow an instruction, in a few words: what was counted, found or missed in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from trimtab.instructions import languages, sentences, splitting, wordcount
from trimtab.instructions.base import Instruction
from trimtab.instructions.demands import Range
from trimtab.instructions.form import read_json
from trimtab.instructions.json_text import read_strictly
from trimtab.instructions.occurrence import occurs
from trimtab.instructions.schemas import mistake
from trimtab.instructions.text import unclosed

_SHOWN: Final = 3


def reason(instruction: Instruction, response: str) -> str | None:
    """Why a response fails an instruction's strict check; None where it passes.

    Args:
        instruction: One with a check, or a judge in its place.
        response: The response.

    Returns:
        A few words, such as ``"has 3 sentences"``; what the instruction wants where nothing closer is known.

    Raises:
        InstructionError: If there is no check, or it needs a query first.
    """
    judgement = instruction.judge(response)
    if judgement.strict:
        return None
    if not response.strip():
        return "is blank"
    if instruction.judge_in_place is not None:
        return "the judge cannot tell" if judgement.undecided else "the judge says no"
    found = _FOUND.get(instruction.name)
    written = instruction.type.written or {}
    if "json_schema" in written and "regex" not in written:
        found = _by_schema(written["json_schema"])
    told = found(response, instruction.params) if found is not None else None
    if told is None:
        wants = instruction.type.summary.rstrip(".")
        told = f"fails the check ({wants[:1].lower()}{wants[1:]})" if wants else "fails the check"
    return f"{told}; too short to be sure" if judgement.undecided else told


def _counted(what: str, count: Callable[[str], int | Range]) -> Callable[[str, Mapping[str, Any]], str]:
    def told(response: str, params: Mapping[str, Any]) -> str:
        found = count(response)
        low, high = found if isinstance(found, tuple) else (found, found)
        number = f"{low}" if low == high else f"{low} to {high}"
        return f"has {number} {what if number != '1' else what.removesuffix('s')}"

    return told


def _quoted(words: Sequence[str]) -> str:
    shown = ", ".join(f'"{word[:30]}"' for word in words[:_SHOWN])
    return shown + (" and more" if len(words) > _SHOWN else "")


def _in_language(wanted: str) -> Callable[[str], str]:
    def told(response: str) -> str:
        read = languages.detect(response)
        known = languages.NAMES.get(read or "", read)
        return f"langdetect reads it as {known}, not {languages.name(wanted)}"

    return told


def _lower(response: str, params: Mapping[str, Any]) -> str:
    capitals = [word for word in response.split() if word != word.lower()]
    return f"has capitals: {_quoted(capitals)}" if capitals else _of_letters(response, response.islower())


def _upper(response: str, params: Mapping[str, Any]) -> str:
    small = [word for word in response.split() if word != word.upper()]
    return f"has small letters: {_quoted(small)}" if small else _of_letters(response, response.isupper())


def _of_letters(response: str, cased: bool) -> str:
    return _in_language("en")(response) if cased else "has no letters of that case"


def _json(response: str, params: Mapping[str, Any]) -> str | None:
    strict = params.get("strict")
    try:
        (read_strictly if strict else read_json)(response)
    except json.JSONDecodeError as error:
        if strict and unclosed(response):
            return "opens a code fence and does not close it"
        found = error.doc[error.pos :].split("\n")[0]
        if error.msg == "Extra data":
            return f"has more than JSON: {_quoted([found])}"
        if error.msg == "Expecting value" and not error.doc[: error.pos].strip() and found:
            return f"is no JSON: it begins with {_quoted([found])}"
        return f"is no JSON: {error}"
    except ValueError as error:
        return f"is no JSON: {error}"
    return None


def _by_schema(schema: Any) -> Callable[[str, Mapping[str, Any]], str | None]:
    def told(response: str, params: Mapping[str, Any]) -> str | None:
        no_json = _json(response, {"strict": True})
        if no_json is not None:
            return no_json
        wrong = mistake(schema, read_strictly(response))
        return f"does not fit its schema: {wrong}" if wrong else None

    return told


def _wanted(params: Mapping[str, Any]) -> list[str]:
    return [*filter(None, [params.get("word")]), *(params.get("words") or ())]


def _missing(response: str, params: Mapping[str, Any]) -> str:
    return f"lacks {_quoted([word for word in _wanted(params) if not occurs(word, response)])}"


def _unwanted(response: str, params: Mapping[str, Any]) -> str:
    return f"has {_quoted([word for word in _wanted(params) if occurs(word, response)])}"


_FOUND: Final[Mapping[str, Callable[[str, Mapping[str, Any]], str | None]]] = {
    "lowercase": _lower,
    "uppercase": _upper,
    "language": lambda response, params: _in_language(params["language"])(response),
    "json": _json,
    "include": _missing,
    "exclude": _unwanted,
    "sentences": _counted("sentences", sentences.count),
    "words": _counted("words", wordcount.count_words),
    "concise": _counted("words", wordcount.count_words),
    "verbose": _counted("words", wordcount.count_words),
    "paragraphs": _counted("paragraphs", wordcount.count_paragraphs),
    "number_sentences": _counted("sentences", splitting.count_sentences),
    "number_words": _counted("words", splitting.count_words),
    "capital_words": _counted("capital words", splitting.count_capital_words),
    "no_commas": _counted("commas", lambda response: response.count(",")),
}
"""By the name of an instruction, what a response has that fails it; None where that says nothing."""
