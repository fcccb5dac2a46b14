"""Instructions on things to put in: placeholders and a postscript."""

from __future__ import annotations

import re
from typing import Annotated

from trimtab.instructions import rewriting
from trimtab.instructions.demands import Demands, at_least
from trimtab.instructions.grammars import form as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction


@instruction(
    ifeval_id="detectable_content:number_placeholders",
    constraint=lambda params: grammar.placeholders(**params),
    family="content",
    fields=lambda params: {"n": params["num_placeholders"]},
    demands=lambda params: Demands(counts={"placeholders": at_least(params["num_placeholders"])}),
    phrasings=Phrasings.lines(
        learning="""
            Use at least {n} {n:placeholder/placeholders} in square brackets, such as [address].
            Your answer must contain at least {n:word} {n:placeholder/placeholders} such as [name].
            Include {n:word} or more placeholders in square brackets.
            The response must have at least {n} {n:placeholder/placeholders} in brackets, such as [date].
            Put at least {n:word} {n:placeholder/placeholders} like [place] in your answer.
            Write at least {n} {n:placeholder/placeholders} in square brackets.
            I want at least {n:word} {n:placeholder/placeholders} in square brackets.
            Make sure to use {n} or more placeholders, such as [address].
            Please include at least {n} {n:placeholder/placeholders} like [name].
            Leave at least {n:word} {n:placeholder/placeholders} in square brackets for me to fill in.
            Give me an answer with at least {n} {n:placeholder/placeholders} in brackets.
        """,
        validation="""
            Please use at least {n:word} {n:placeholder/placeholders} such as [date].
            Your response must contain {n} or more placeholders in square brackets.
            Put at least {n} {n:placeholder/placeholders} in brackets in your answer.
        """,
        test="""
            Include at least {n} {n:placeholder/placeholders} in square brackets, such as [name].
            Make sure to write at least {n:word} {n:placeholder/placeholders} in brackets.
            Your answer should have {n:word} or more placeholders like [address].
        """,
    ),
)
def placeholders(
    num_placeholders: Annotated[int, Parameter("fewest placeholders", minimum=1, example=2)],
) -> Check:
    """Has at least so many placeholders in square brackets, such as [address]."""
    return lambda response: len(re.findall(r"\[[^\n]*?\]", response)) >= num_placeholders


@instruction(
    ifeval_id="detectable_content:postscript",
    constraint=lambda params: grammar.postscript(**params),
    rewrite=lambda text, params: rewriting.with_postscript(text, params["postscript_marker"]),
    family="content",
    fields=lambda params: {"marker": params["postscript_marker"].strip()},
    demands=lambda params: Demands(contains=(params["postscript_marker"].strip(),)),
    phrasings=Phrasings.lines(
        learning="""
            Add a postscript starting with {marker}
            End your answer with a postscript starting with {marker}
            At the end of your response add a postscript beginning with {marker}
            Finish with a postscript that starts with {marker}
            Your answer must have a postscript starting with {marker}
            Please include a postscript, beginning with {marker}
            Write a postscript at the end. Start it with {marker}
            Put a postscript after your answer, starting with {marker}
            I want a postscript at the end of the answer, marked {marker}
            The answer should end with a postscript marked {marker}
            Do not forget a postscript at the end that starts with {marker}
        """,
        validation="""
            Please add a postscript at the end, starting with {marker}
            Finish your answer with a postscript beginning with {marker}
            Your response must end with a postscript that starts with {marker}
        """,
        test="""
            Include a postscript at the end of your answer, starting with {marker}
            Please end with a postscript marked {marker}
            After your answer write a postscript that starts with {marker}
        """,
    ),
)
def postscript(
    postscript_marker: Annotated[
        str, Parameter("how it starts, such as P.S. or P.P.S", example="P.S.")
    ] = "P.S.",
) -> Check:
    """Has a postscript that starts with a marker."""
    marker = postscript_marker.strip()
    # IFEval lets its two own markers have white space between the letters.
    spaced = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    pattern = re.compile(spaced.get(marker) or re.escape(marker.lower()))
    return lambda response: pattern.search(response.lower()) is not None
