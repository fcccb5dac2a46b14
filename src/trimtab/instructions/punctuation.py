"""The instruction to do without commas."""

from __future__ import annotations

from trimtab.instructions import rewriting
from trimtab.instructions.demands import Demands
from trimtab.instructions.grammars import wording as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="punctuation:no_comma",
    family="punctuation",
    demands=lambda params: Demands(banned=","),
    constraint=lambda params: grammar.no_commas(),
    rewrite=lambda text, params: rewriting.without_commas(text),
    prefix_closed=True,
    phrasings=Phrasings.lines(
        learning="""
            Do not use commas.
            Use no commas.
            Write without commas.
            Your answer must not contain any commas.
            Answer without any commas.
            In your entire response, refrain from the use of any commas.
            Avoid commas.
            Please do not use any commas in your answer.
            No commas are allowed.
            Leave out all commas.
            I do not want to see any commas.
            Never use a comma in your answer.
            There must be no comma in the answer.
        """,
        validation="""
            Please avoid commas in your answer.
            Do not write any commas.
            There must be no commas in your response.
        """,
        test="""
            Please answer without commas.
            Never use commas in your response.
            Your response must not contain a comma.
        """,
    ),
)
def no_commas() -> Check:
    """Contains no comma."""
    return lambda response: "," not in response
