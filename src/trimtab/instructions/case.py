"""Instructions on upper and lower case."""

from __future__ import annotations

from typing import Annotated

from trimtab.instructions import counting, languages, rewriting, splitting
from trimtab.instructions.demands import Demands
from trimtab.instructions.grammars import wording as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="change_case:english_lowercase",
    family="case",
    notes=languages.notes,
    conflicts={"uppercase": "one asks for lowercase letters only, the other for uppercase letters only"},
    demands=lambda params: Demands(letter_case="lower", language="en"),
    constraint=lambda params: grammar.one_case("Lowercase", "Uppercase"),
    rewrite=lambda text, params: text.lower(),
    prefix_closed=True,
    phrasings=Phrasings.lines(
        learning="""
            Use only lowercase letters.
            Write in lowercase.
            Your answer must be in all lowercase letters.
            Answer in lowercase letters only.
            Your entire response should be in English, and in all lowercase letters.
            Write everything in lowercase.
            No capital letters, use lowercase only.
            Please reply in lowercase.
            Keep the whole answer in lowercase.
            I want the answer in all lowercase letters.
            Respond in lowercase English.
            Do not use capital letters, only lowercase ones.
            Put your answer in lowercase letters.
        """,
        validation="""
            Please write in all lowercase letters.
            Keep everything in lowercase letters.
            Your answer must be in lowercase only.
        """,
        test="""
            Reply in lowercase letters only.
            Please use lowercase for the whole answer.
            Your response should be all lowercase.
        """,
    ),
)
def lowercase() -> Check:
    """Is in English and in lowercase letters only."""
    return lambda response: response.islower() and languages.is_language(response, "en")


@instruction(
    ifeval_id="change_case:english_capital",
    family="case",
    notes=languages.notes,
    demands=lambda params: Demands(letter_case="upper", language="en"),
    constraint=lambda params: grammar.one_case("Uppercase", "Lowercase"),
    rewrite=lambda text, params: text.upper(),
    prefix_closed=True,
    phrasings=Phrasings.lines(
        learning="""
            Use only uppercase letters.
            Write in uppercase.
            Your answer must be in all capital letters.
            Answer in capital letters only.
            Your entire response should be in English, and in all capital letters.
            Write everything in uppercase.
            No lowercase letters, use capital letters only.
            Please reply in all caps.
            Keep the whole answer in uppercase.
            I want the answer in all uppercase letters.
            Respond in uppercase English.
            Do not use small letters, only capital ones.
            Put your answer in capital letters.
            Use all caps.
        """,
        validation="""
            Please write in all capital letters.
            Keep everything in uppercase letters.
            Your answer must be in all caps.
        """,
        test="""
            Reply in capital letters only.
            Please use uppercase for the whole answer.
            Your response should be all uppercase.
        """,
    ),
)
def uppercase() -> Check:
    """Is in English and in capital letters only."""
    return lambda response: response.isupper() and languages.is_language(response, "en")


@instruction(
    ifeval_id="change_case:capital_word_frequency",
    family="case",
    **counting.relations("capital words", "capital_frequency", "capital_relation"),
    notes=splitting.word_notes,
    constraint=lambda params: (
        grammar.capital_words(params["capital_frequency"])
        if params["capital_relation"] == counting.AT_LEAST
        else None
    ),
    rewrite=lambda text, params: (
        rewriting.capitalised(text, params["capital_frequency"])
        if params["capital_relation"] == counting.AT_LEAST
        else None
    ),
    phrasings={
        counting.AT_LEAST: Phrasings.lines(
            learning="""
                Write at least {n} {n:word/words} in all capital letters.
                Use at least {n:word} {n:word/words} in capital letters.
                Your answer must have at least {n} {n:word/words} in all caps.
                Include {n:word} or more words in all capital letters.
                In your answer words in all capital letters should appear at least {n} {n:time/times}.
                Put at least {n:word} {n:word/words} in all caps.
                Make sure at least {n} {n:word/words} are in capital letters.
                Please write at least {n:word} {n:word/words} in all caps.
                I want at least {n} {n:word/words} in all capital letters.
                The answer needs at least {n:word} {n:word/words} in capital letters.
                Use all capital letters for at least {n} {n:word/words}.
            """,
            validation="""
                Please use at least {n} {n:word/words} in all capital letters.
                Your response must have {n:word} or more words in all caps.
                Put at least {n} {n:word/words} in capital letters.
            """,
            test="""
                Include at least {n} {n:word/words} in all caps.
                Make sure to write at least {n:word} {n:word/words} in all capital letters.
                Use all caps for at least {n:word} {n:word/words}.
            """,
        ),
        counting.LESS_THAN: Phrasings.lines(
            learning="""
                Write less than {n} {n:word/words} in all capital letters.
                Use fewer than {n:word} {n:word/words} in capital letters.
                Your answer must have less than {n} {n:word/words} in all caps.
                Do not write {n:word} or more words in all capital letters.
                In your answer words in all capital letters should appear less than {n} {n:time/times}.
                Put fewer than {n:word} {n:word/words} in all caps.
                Make sure fewer than {n} {n:word/words} are in capital letters.
                Please write less than {n:word} {n:word/words} in all caps.
                I want fewer than {n} {n:word/words} in all capital letters.
                The answer may have less than {n:word} {n:word/words} in capital letters.
                Use all capital letters for fewer than {n} {n:word/words}.
            """,
            validation="""
                Please use fewer than {n} {n:word/words} in all capital letters.
                Your response must have less than {n:word} {n:word/words} in all caps.
                Put less than {n} {n:word/words} in capital letters.
            """,
            test="""
                Include fewer than {n} {n:word/words} in all caps.
                Make sure to write less than {n:word} {n:word/words} in all capital letters.
                Use all caps for fewer than {n:word} {n:word/words}.
            """,
        ),
    },
)
def capital_words(
    capital_frequency: Annotated[int, Parameter("number of words", minimum=1, example=3)],
    capital_relation: counting.Relation = counting.AT_LEAST,
) -> Check:
    """Has less than, or at least, so many words in all capital letters."""
    return lambda response: counting.holds(
        capital_relation, splitting.count_capital_words(response), capital_frequency
    )
