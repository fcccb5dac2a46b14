"""Instructions on how an answer starts and ends: a closing phrase, and quotation marks around it."""

from __future__ import annotations

from typing import Annotated

from trimtab.instructions import rewriting
from trimtab.instructions.demands import Demands
from trimtab.instructions.grammars import form as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="startend:end_checker",
    constraint=lambda params: grammar.end_phrase(**params),
    rewrite=lambda text, params: rewriting.with_end(text, params["end_phrase"]),
    family="start and end",
    fields=lambda params: {"phrase": params["end_phrase"].strip()},
    demands=lambda params: Demands(contains=(params["end_phrase"].strip(),)),
    phrasings=Phrasings.lines(
        learning="""
            End your answer with the phrase "{phrase}"
            Finish your response with this exact phrase: {phrase}
            Your answer must end with "{phrase}"
            The last words of your answer must be "{phrase}"
            Please finish with the phrase "{phrase}"
            Close your answer with the exact phrase "{phrase}"
            Write "{phrase}" at the end of your answer.
            The answer should end with the phrase: {phrase}
            End with "{phrase}" and write nothing after it.
            Make "{phrase}" the end of your response.
            I want your answer to end with "{phrase}"
            Finish your answer with "{phrase}" No other words should follow this phrase.
        """,
        validation="""
            Please end with the exact phrase "{phrase}"
            Finish your answer with the words "{phrase}"
            Your response must close with this phrase: {phrase}
        """,
        test="""
            End your response with this exact phrase: {phrase}
            Please write "{phrase}" at the end of the response.
            The last phrase of your answer must be "{phrase}"
        """,
    ),
)
def end_phrase(
    end_phrase: Annotated[str, Parameter("the closing words", example="Any other questions?")],
) -> Check:
    """Ends with an exact phrase, in any case, with nothing after it."""
    wanted = end_phrase.strip().lower()

    def check(response: str) -> bool:
        text = response.strip().lower()
        return text.endswith(wanted) or text.strip('"').endswith(wanted)

    return check


@instruction(
    ifeval_id="startend:quotation",
    constraint=lambda params: grammar.quotes(),
    rewrite=lambda text, params: rewriting.quoted(text),
    family="start and end",
    phrasings=Phrasings.lines(
        learning="""
            Wrap your entire response with double quotation marks.
            Put your whole answer in double quotation marks.
            Your answer must be inside quotation marks.
            Put quotation marks around your answer.
            Wrap the answer in quotation marks.
            Start and end your answer with double quotation marks.
            Write your entire answer inside double quotation marks.
            Use double quotation marks around the whole response.
            Please put the whole answer in quotation marks.
            The answer should be wrapped in double quotation marks.
            I want the entire answer inside quotation marks.
            Begin and finish with a double quotation mark.
        """,
        validation="""
            Please wrap your whole answer in quotation marks.
            Put your entire response inside double quotation marks.
            Use quotation marks around the entire answer.
        """,
        test="""
            Wrap your whole response in double quotation marks.
            Please write your answer inside quotation marks.
            Your entire answer should start and end with quotation marks.
        """,
    ),
)
def quotes() -> Check:
    """Is wrapped in double quotation marks."""

    def check(response: str) -> bool:
        text = response.strip()
        return len(text) > 1 and text.startswith('"') and text.endswith('"')

    return check
