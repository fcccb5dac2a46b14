"""The instruction to answer in another language."""

from __future__ import annotations

from typing import Annotated

from trimtab.instructions import languages
from trimtab.instructions.demands import Demands
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="language:response_language",
    family="language",
    fields=lambda params: {"language": languages.name(params["language"])},
    demands=lambda params: Demands(language=params["language"]),
    notes=languages.notes,
    prefix_closed=True,
    phrasings=Phrasings.lines(
        learning="""
            Answer in {language}.
            Write your answer in {language}.
            Your answer must be in {language}.
            Please reply in {language}.
            Use the {language} language.
            Respond only in {language}.
            Give me the answer in {language}.
            Your entire response should be in the {language} language.
            I want the answer in {language}.
            Use only {language} in your answer.
            The answer has to be written in {language}.
            Your response must be in {language}, no other language is allowed.
            Say it in {language}.
        """,
        validation="""
            Please answer in {language}.
            Reply only in the {language} language.
            Your entire answer must be in {language}.
        """,
        test="""
            Write the response in {language}.
            Please use {language} for your answer.
            Give your entire answer in the {language} language.
        """,
    ),
)
def language(
    language: Annotated[
        str, Parameter("ISO 639-1 code or English name", example="es", normalise=languages.code)
    ],
) -> Check:
    """Is written in a given language throughout."""
    return lambda response: languages.is_language(response, language)
