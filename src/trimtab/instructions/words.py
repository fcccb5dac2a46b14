"""Our own instructions on words: include and exclude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from trimtab.errors import InstructionError
from trimtab.instructions.demands import Demands
from trimtab.instructions.grammars import occurrence as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.occurrence import occurs
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction

Word = Annotated[str | None, Parameter("one word or phrase", example="rocket")]
Words = Annotated[list[str] | None, Parameter("several of them")]

_INCLUDE = Phrasings.lines(
    learning="""
        Include the {all:word/words} {all}.
        Use the {all:word/words} {all} in your answer.
        Your answer must contain the {all:word/words} {all}.
        Mention the {all:word/words} {all:plain}.
        Make sure to use the {all:word/words} {all}.
        Write the {all:word/words} {all:plain} somewhere in your answer.
        The {all:word/words} {all} must appear in the answer.
        Please include {all} in your response.
        Do not forget to use the {all:word/words} {all}.
        I want to see the {all:word/words} {all:plain} in your answer.
        The answer has to include the {all:word/words} {all:plain}.
        Work the {all:word/words} {all} into your response.
        Your response should contain the {all:word/words} {all:plain}.
    """,
    validation="""
        Please use the {all:word/words} {all}.
        Make sure to include the {all:word/words} {all:plain} in your answer.
        The {all:word/words} {all} must be in the response.
    """,
    test="""
        Your response has to contain the {all:word/words} {all}.
        Please mention the {all:word/words} {all} in your answer.
        Do not forget to include the {all:word/words} {all:plain}.
    """,
)
_EXCLUDE = Phrasings.lines(
    learning="""
        Do not use the {all:word/words} {all:or}.
        Do not include the {all:word/words} {all:or}.
        Avoid the {all:word/words} {all}.
        Your answer must not contain the {all:word/words} {all:or}.
        Never mention the {all:word/words} {all:plain-or}.
        Answer without the {all:word/words} {all:or}.
        Leave out the {all:word/words} {all}.
        The {all:word/words} {all} must not appear in the answer.
        Please do not write {all:or} in your response.
        I do not want to see the {all:word/words} {all:plain-or} in your answer.
        Answer without using the {all:word/words} {all:plain-or}.
        Make sure not to use the {all:word/words} {all:or}.
        Your response should not contain the {all:word/words} {all:plain-or}.
    """,
    validation="""
        Please avoid the {all:word/words} {all}.
        Make sure not to include the {all:word/words} {all:plain-or} in your answer.
        Do not mention the {all:word/words} {all:or}.
    """,
    test="""
        Your response must not include the {all:word/words} {all:or}.
        Never use the {all:word/words} {all:or} in your answer.
        Please answer without the {all:word/words} {all:plain-or}.
    """,
)


def _all(params: Mapping[str, Any]) -> list[str]:
    """The words wanted, given one by one or as a list."""
    one = [params["word"]] if params.get("word") is not None else []
    return one + list(params.get("words") or [])


def _given(owner: str, word: str | None, words: list[str] | None) -> list[str]:
    wanted = _all({"word": word, "words": words})
    if not wanted:
        raise InstructionError(f"{owner} needs word (one) or words (a list)")
    return wanted


@instruction(
    family="words",
    phrasings=_INCLUDE,
    constraint=lambda params: grammar.include(_all(params)),
    fields=lambda params: {"all": _all(params)},
    demands=lambda params: Demands(contains=tuple(_all(params))),
)
def include(word: Word = None, words: Words = None) -> Check:
    """Contains a word, or each of several, as whole words in any case."""
    wanted = _given("include", word, words)
    return lambda response: all(occurs(each, response) for each in wanted)


@instruction(
    family="words",
    phrasings=_EXCLUDE,
    constraint=lambda params: grammar.exclude(_all(params)),
    prefix_closed=True,
    fields=lambda params: {"all": _all(params)},
    demands=lambda params: Demands(absent=tuple(_all(params))),
)
def exclude(word: Word = None, words: Words = None) -> Check:
    """Contains none of the given words, as whole words in any case."""
    unwanted = _given("exclude", word, words)
    return lambda response: not any(occurs(each, response) for each in unwanted)
