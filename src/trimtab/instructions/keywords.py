"""Instructions on words and letters: IFEval's keyword group."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from trimtab.instructions import counting
from trimtab.instructions.demands import Demands, letter, whole_word
from trimtab.instructions.grammars import wording as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="keywords:existence",
    constraint=lambda params: grammar.keywords(params["keywords"]),
    family="words",
    fields=lambda params: {"all": params["keywords"]},
    demands=lambda params: Demands(contains=tuple(params["keywords"])),
    phrasings=Phrasings.lines(
        learning="""
            Include {all:the keyword/the keywords} {all}.
            Use the {all:keyword/keywords} {all:comma} in your answer.
            Your answer must contain the {all:keyword/keywords} {all}.
            Mention the {all:keyword/keywords} {all:plain}.
            Make sure to use the {all:keyword/keywords} {all:comma}.
            Put the {all:keyword/keywords} {all:plain} in your answer.
            The {all:keyword/keywords} {all} must appear in the answer.
            Please include the {all:keyword/keywords} {all:plain} in your response.
            Do not forget the {all:keyword/keywords} {all:comma}.
            I want to see the {all:keyword/keywords} {all} in your answer.
            The answer has to include the {all:keyword/keywords} {all:plain}.
        """,
        validation="""
            Please use the {all:keyword/keywords} {all}.
            Make sure to include the {all:keyword/keywords} {all:comma} in your answer.
            The {all:keyword/keywords} {all:plain} must be in the response.
        """,
        test="""
            Your response must contain the {all:keyword/keywords} {all}.
            Please mention the {all:keyword/keywords} {all:comma} in your answer.
            Do not forget to use the {all:keyword/keywords} {all:plain}.
        """,
    ),
)
def keywords(
    keywords: Annotated[list[str], Parameter("texts that must occur", example=["rocket", "orbit"])],
) -> Check:
    """Contains every keyword, in any case, also inside longer words."""
    wanted = [re.compile(re.escape(keyword), re.IGNORECASE) for keyword in keywords]
    return lambda response: all(pattern.search(response) for pattern in wanted)


@instruction(
    ifeval_id="keywords:frequency",
    constraint=lambda params: grammar.keyword_frequency(
        params["keyword"], *counting.relation_range(params["relation"], params["frequency"])
    ),
    prefix_closed=lambda params: bool(params["relation"] == counting.LESS_THAN),
    family="words",
    case=lambda params: str(params["relation"]),
    fields=lambda params: {"n": params["frequency"], "keyword": params["keyword"].strip()},
    demands=lambda params: _keyword_frequency_demands(params["keyword"].strip(), params),
    phrasings={
        counting.AT_LEAST: Phrasings.lines(
            learning="""
                Use the word "{keyword}" at least {n} {n:time/times}.
                In your answer the word {keyword} should appear at least {n:word} {n:time/times}.
                Mention the word "{keyword}" {n:word} or more times.
                Your answer must contain the word "{keyword}" at least {n:word} {n:time/times}.
                Include the word {keyword} at least {n} {n:time/times}.
                Make sure to use the word "{keyword}" no fewer than {n} {n:time/times}.
                Write the word {keyword} at least {n:word} {n:time/times} in your answer.
                The word "{keyword}" must be in the answer at least {n} {n:time/times}.
                Please use the word {keyword} {n} or more times.
                I want to see the word "{keyword}" at least {n:word} {n:time/times}.
                Repeat the word "{keyword}" so that it appears at least {n} {n:time/times}.
            """,
            validation="""
                Please mention the word "{keyword}" at least {n} {n:time/times}.
                The word {keyword} must appear {n:word} or more times in your answer.
                Include the word "{keyword}" no fewer than {n:word} {n:time/times}.
            """,
            test="""
                Your response should use the word "{keyword}" at least {n:word} {n:time/times}.
                Make sure the word {keyword} appears at least {n} {n:time/times}.
                Write the word "{keyword}" {n} or more times.
            """,
        ),
        counting.LESS_THAN: Phrasings.lines(
            learning="""
                Use the word "{keyword}" less than {n} {n:time/times}.
                In your answer the word {keyword} should appear less than {n:word} {n:time/times}.
                Mention the word "{keyword}" fewer than {n:word} {n:time/times}.
                Your answer must contain the word "{keyword}" less than {n:word} {n:time/times}.
                Include the word {keyword} fewer than {n} {n:time/times}.
                Make sure to use the word "{keyword}" fewer than {n} {n:time/times}.
                Do not write the word {keyword} {n:word} or more times.
                The word "{keyword}" must be in the answer less than {n} {n:time/times}.
                Please use the word {keyword} fewer than {n:word} {n:time/times}.
                I want to see the word "{keyword}" less than {n:word} {n:time/times}.
                Do not repeat the word "{keyword}" {n} or more times.
            """,
            validation="""
                Please mention the word "{keyword}" less than {n} {n:time/times}.
                The word {keyword} must appear fewer than {n:word} {n:time/times} in your answer.
                Do not use the word "{keyword}" {n:word} or more times.
            """,
            test="""
                Your response should use the word "{keyword}" fewer than {n:word} {n:time/times}.
                Make sure the word {keyword} appears less than {n} {n:time/times}.
                Write the word "{keyword}" fewer than {n} {n:time/times}.
            """,
        ),
    },
)
def keyword_frequency(
    keyword: Annotated[str, Parameter("text to count", example="rocket")],
    frequency: Annotated[int, Parameter("number of times", minimum=1, example=2)],
    relation: counting.Relation = counting.AT_LEAST,
) -> Check:
    """Contains a keyword less than, or at least, so many times, in any case, also inside longer words."""
    pattern = re.compile(re.escape(keyword.strip()), re.IGNORECASE)
    return lambda response: counting.holds(relation, len(pattern.findall(response)), frequency)


def _keyword_frequency_demands(keyword: str, params: Mapping[str, Any]) -> Demands:
    counts = {
        f'the word "{keyword.lower()}"': counting.relation_range(params["relation"], params["frequency"])
    }
    if params["relation"] == counting.AT_LEAST:
        return Demands(counts=counts, contains=(keyword,))
    return Demands(counts=counts, absent=(keyword,) if params["frequency"] == 1 else ())


@instruction(
    ifeval_id="keywords:forbidden_words",
    constraint=lambda params: grammar.exclude(params["forbidden_words"]),
    prefix_closed=True,
    family="words",
    fields=lambda params: {"all": params["forbidden_words"]},
    demands=lambda params: Demands(absent=tuple(params["forbidden_words"])),
    phrasings=Phrasings.lines(
        learning="""
            Do not use the forbidden {all:word/words} {all:or}.
            Do not include {all:the keyword/the keywords} {all:or}.
            The {all:word/words} {all} {all:is/are} forbidden.
            Your answer must not contain the {all:keyword/keywords} {all:comma}.
            These words are forbidden: {all:comma}.
            Answer without the forbidden {all:word/words} {all:plain}.
            Avoid the {all:keyword/keywords} {all}.
            The {all:keyword/keywords} {all:plain} must not appear in the answer.
            Please do not use the {all:keyword/keywords} {all:comma} in your response.
            It is forbidden to use the {all:word/words} {all:or}.
            Never use these forbidden words: {all:plain}.
        """,
        validation="""
            Please avoid the forbidden {all:word/words} {all}.
            Do not use these words: {all:comma}.
            The {all:word/words} {all:plain} {all:is/are} forbidden in your answer.
        """,
        test="""
            Your response must not contain the forbidden {all:word/words} {all:or}.
            Avoid these words in your answer: {all:comma}.
            Please answer without the {all:keyword/keywords} {all:plain-or}.
        """,
    ),
)
def forbidden_words(
    forbidden_words: Annotated[list[str], Parameter("words that must not occur", example=["moon", "star"])],
) -> Check:
    """Contains none of the forbidden words, as whole words in any case."""
    patterns = [whole_word(word) for word in forbidden_words]
    return lambda response: not any(pattern.search(response) for pattern in patterns)


def _one_character(text: str) -> str:
    if len(text.strip()) != 1:
        raise ValueError(f"must be a single character, not {text!r}")
    return text.strip().lower()


@instruction(
    ifeval_id="keywords:letter_frequency",
    constraint=lambda params: grammar.letter_frequency(
        params["letter"], *counting.relation_range(params["let_relation"], params["let_frequency"])
    ),
    prefix_closed=lambda params: bool(params["let_relation"] == counting.LESS_THAN),
    family="words",
    case=lambda params: str(params["let_relation"]),
    fields=lambda params: {"n": params["let_frequency"]},
    demands=lambda params: Demands(
        counts={
            letter(params["letter"]): counting.relation_range(params["let_relation"], params["let_frequency"])
        }
    ),
    phrasings={
        counting.AT_LEAST: Phrasings.lines(
            learning="""
                Use the letter {letter} at least {n} {n:time/times}.
                In your answer the letter "{letter}" should appear at least {n:word} {n:time/times}.
                Your answer must contain the letter {letter} {n:word} or more times.
                Include the letter "{letter}" at least {n} {n:time/times}.
                Make sure to use the letter {letter} no fewer than {n} {n:time/times}.
                Write the letter "{letter}" at least {n:word} {n:time/times}.
                The letter {letter} must be in the answer at least {n} {n:time/times}.
                Please use the letter "{letter}" {n} or more times.
                I want to see the letter {letter} at least {n:word} {n:time/times}.
                Repeat the letter "{letter}" so that it appears at least {n} {n:time/times}.
                The answer needs at least {n} of the letter {letter}.
            """,
            validation="""
                Please use the letter {letter} at least {n} {n:time/times}.
                The letter "{letter}" must appear {n:word} or more times in your answer.
                Include the letter {letter} no fewer than {n} {n:time/times}.
            """,
            test="""
                Your response should use the letter "{letter}" at least {n} {n:time/times}.
                Make sure the letter {letter} appears at least {n:word} {n:time/times}.
                Write the letter {letter} {n} or more times.
            """,
        ),
        counting.LESS_THAN: Phrasings.lines(
            learning="""
                Use the letter {letter} less than {n} {n:time/times}.
                In your answer the letter "{letter}" should appear less than {n:word} {n:time/times}.
                Your answer must contain the letter {letter} fewer than {n:word} {n:time/times}.
                Include the letter "{letter}" fewer than {n} {n:time/times}.
                Make sure to use the letter {letter} fewer than {n} {n:time/times}.
                Do not write the letter "{letter}" {n:word} or more times.
                The letter {letter} must be in the answer less than {n} {n:time/times}.
                Please use the letter "{letter}" fewer than {n} {n:time/times}.
                I want to see the letter {letter} less than {n:word} {n:time/times}.
                Do not repeat the letter "{letter}" {n} or more times.
                The answer needs fewer than {n} of the letter {letter}.
            """,
            validation="""
                Please use the letter {letter} less than {n} {n:time/times}.
                The letter "{letter}" must appear fewer than {n:word} {n:time/times} in your answer.
                Do not use the letter {letter} {n} or more times.
            """,
            test="""
                Your response should use the letter "{letter}" less than {n} {n:time/times}.
                Make sure the letter {letter} appears fewer than {n:word} {n:time/times}.
                Write the letter {letter} fewer than {n} {n:time/times}.
            """,
        ),
    },
)
def letter_frequency(
    letter: Annotated[str, Parameter("the letter to count", example="e", normalise=_one_character)],
    let_frequency: Annotated[int, Parameter("number of times", minimum=1, example=5)],
    let_relation: counting.Relation = counting.AT_LEAST,
) -> Check:
    """Contains a letter less than, or at least, so many times, in any case."""
    return lambda response: counting.holds(let_relation, response.lower().count(letter), let_frequency)
