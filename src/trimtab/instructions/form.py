"""Instructions on the form of the answer: JSON, title, bullets, highlights, sections, fixed answers."""

from __future__ import annotations

import json as json_library
import re
from typing import Annotated, Any

from trimtab.instructions import rewriting
from trimtab.instructions.demands import Demands, at_least
from trimtab.instructions.grammars import form as grammar
from trimtab.instructions.json_text import read_strictly
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction

CONSTRAINED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

_OUTSIDE_JSON = "one asks for text around or between the JSON, which then is no JSON any more"
_FENCES = ("```json", "```Json", "```JSON", "```")


def read_json(response: str) -> Any:
    """The value that a response holds as JSON to IFEval, in a code fence or not; a ValueError if it is none."""
    text = response.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        return json_library.loads(text.removesuffix("```").strip())
    except RecursionError:
        raise ValueError("nested too deeply") from None


@instruction(
    name="json",
    ifeval_id="detectable_format:json_format",
    constraint=lambda params: grammar.json(),
    rewrite=lambda text, params: rewriting.in_json(text),
    family="format",
    conflicts=dict.fromkeys(
        ("quotes", "end_phrase", "repeat_prompt", "two_responses", "bullets", "nth_paragraph_first_word"),
        _OUTSIDE_JSON,
    ),
    phrasings=Phrasings.lines(
        learning="""
            Answer in JSON.
            Use JSON format.
            Write your answer as JSON.
            Your answer must be valid JSON.
            Format your answer as JSON.
            Please reply in JSON format.
            Give me the answer as a JSON object.
            Your entire output should be wrapped in JSON format.
            Return JSON only.
            The answer must be a JSON object.
            Respond with valid JSON and nothing else.
            I want the answer in JSON format.
            Put your whole answer in a JSON object.
        """,
        validation="""
            Please answer as a JSON object.
            Write your whole response in JSON format.
            Return your answer as valid JSON.
        """,
        test="""
            Give your answer in JSON.
            Please format the response as JSON.
            Respond with a JSON object only.
        """,
    ),
)
def json_(
    strict: Annotated[
        bool | None, Parameter("JSON of the standard alone: no NaN, no fence that is not closed")
    ] = None,
) -> Check:
    """Is valid JSON throughout, with or without a markdown code fence."""
    read = read_strictly if strict else read_json

    def check(response: str) -> bool:
        try:
            read(response)
        except ValueError:
            return False
        return True

    return check


@instruction(
    ifeval_id="detectable_format:title",
    constraint=lambda params: grammar.title(),
    rewrite=lambda text, params: rewriting.titled(text),
    family="format",
    phrasings=Phrasings.lines(
        learning="""
            Give your answer a title in double angular brackets, such as <<title>>.
            Your answer must contain a title, wrapped in double angular brackets, such as <<poem of joy>>.
            Start with a title wrapped in << and >>.
            Add a title in double angular brackets.
            Write a title like <<my title>>.
            Include a title, wrapped in double angular brackets.
            Put a title in << >> at the top.
            Please add a title in double angular brackets, such as <<title>>.
            The answer needs a title wrapped in << >>.
            Begin your answer with a title in double angular brackets.
            I want a title in << >> for the answer.
        """,
        validation="""
            Please give your answer a title wrapped in << and >>.
            Include a title in double angular brackets, such as <<my title>>.
            Your answer needs a title in << >>.
        """,
        test="""
            Begin with a title wrapped in double angular brackets.
            Please include a title like <<title>>.
            Add a title in << >> to your answer.
        """,
    ),
)
def title() -> Check:
    """Has a title in double angular brackets, such as <<poem of joy>>."""

    def check(response: str) -> bool:
        return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", response))

    return check


@instruction(
    ifeval_id="detectable_format:number_bullet_lists",
    constraint=lambda params: grammar.bullets(**params),
    rewrite=lambda text, params: rewriting.bulleted(text, params["num_bullets"]),
    family="format",
    fields=lambda params: {"n": params["num_bullets"]},
    demands=lambda params: Demands(counts={"bullet points": (params["num_bullets"],) * 2}),
    phrasings=Phrasings.lines(
        learning="""
            Answer in exactly {n} bullet {n:point/points}.
            Use {n:word} bullet {n:point/points}.
            Your answer must contain exactly {n} bullet {n:point/points}.
            Write a list of {n:word} bullet {n:point/points}.
            Give me exactly {n:word} bullet {n:point/points}.
            Format your answer as {n} bullet {n:point/points}.
            Make a bullet list with {n:word} {n:point/points}.
            Please reply with exactly {n} markdown bullet {n:point/points}.
            The answer should be a bullet list with exactly {n} {n:point/points}.
            Put your answer in {n:word} bullet {n:point/points}, starting each with *.
            I want {n} bullet {n:point/points} in markdown.
            Use a bullet list of {n:word} {n:point/points}, no more and no less.
        """,
        validation="""
            Please use exactly {n} bullet {n:point/points}.
            Write your answer as a bullet list with {n:word} {n:point/points}.
            Give me {n:word} markdown bullet {n:point/points}.
        """,
        test="""
            Reply with exactly {n:word} bullet {n:point/points}.
            Your answer should have {n} bullet {n:point/points}.
            Please make a list of exactly {n} bullet {n:point/points}.
        """,
    ),
)
def bullets(
    num_bullets: Annotated[int, Parameter("exact number of bullet points", minimum=1, example=3)],
) -> Check:
    """Has exactly so many markdown bullet points (lines that start with * or -)."""
    # White space may include line breaks here, and so may the character after the star, as in IFEval.
    star = re.compile(r"^\s*\*[^*].*$", re.MULTILINE)
    dash = re.compile(r"^\s*-.*$", re.MULTILINE)
    return lambda response: len(star.findall(response)) + len(dash.findall(response)) == num_bullets


@instruction(
    ifeval_id="detectable_format:number_highlighted_sections",
    constraint=lambda params: grammar.highlights(**params),
    rewrite=lambda text, params: rewriting.highlighted(text, params["num_highlights"]),
    family="format",
    fields=lambda params: {"n": params["num_highlights"]},
    demands=lambda params: Demands(counts={"highlights": at_least(params["num_highlights"])}),
    phrasings=Phrasings.lines(
        learning="""
            Highlight at least {n} {n:section/sections} with markdown, such as *highlighted section*.
            Highlight at least {n:word} {n:part/parts} of your answer with *stars*.
            Use markdown to highlight at least {n} {n:section/sections} of your answer.
            Your answer must have at least {n:word} *highlighted* {n:section/sections}.
            Highlight {n:word} or more sections in your answer with markdown, i.e. *highlighted section*.
            Please highlight at least {n} {n:phrase/phrases} in markdown, like *this*.
            Mark at least {n:word} {n:section/sections} as *highlighted*.
            The answer needs at least {n} highlighted {n:part/parts}, such as *this one*.
            Include at least {n} *highlighted* {n:part/parts} in your response.
            I want at least {n:word} {n:phrase/phrases} highlighted with markdown stars.
            Put stars around at least {n} {n:phrase/phrases} to highlight them, like *this*.
        """,
        validation="""
            Please highlight at least {n:word} {n:section/sections} in your answer with *stars*.
            Use markdown to highlight {n} or more parts, such as *this one*.
            Your response must have at least {n} {n:section/sections} highlighted, like *this*.
        """,
        test="""
            Highlight at least {n} {n:part/parts} of the answer in markdown, like *this*.
            Include at least {n:word} highlighted {n:section/sections}, i.e. *highlighted section*.
            Make sure to highlight at least {n:word} {n:phrase/phrases} with *stars*.
        """,
    ),
)
def highlights(
    num_highlights: Annotated[int, Parameter("fewest highlighted parts", minimum=1, example=2)],
) -> Check:
    """Has at least so many parts highlighted with markdown, such as *this*."""

    def check(response: str) -> bool:
        single = re.findall(r"\*([^\n*]*)\*", response)
        double = re.findall(r"\*\*([^\n*]*)\*\*", response)
        return sum(bool(inside.strip()) for inside in single + double) >= num_highlights

    return check


@instruction(
    ifeval_id="detectable_format:multiple_sections",
    constraint=lambda params: grammar.sections(**params),
    rewrite=lambda text, params: rewriting.in_sections(
        text, params["section_spliter"], params["num_sections"]
    ),
    family="format",
    fields=lambda params: {"n": params["num_sections"], "mark": params["section_spliter"].strip()},
    demands=lambda params: Demands(
        counts={f"parts marked {params['section_spliter'].strip()}": at_least(params["num_sections"])},
        verbatim=(params["section_spliter"].strip(),),
    ),
    phrasings=Phrasings.lines(
        learning="""
            Write {n} {n:section/sections}. Mark the beginning of each section with {mark} X, such as {mark} 1.
            Your answer must have {n:word} {n:section/sections}, marked {mark} 1, {mark} 2 and so on.
            Split your answer into {n} {n:section/sections} and begin each with {mark} X, such as {mark} 1.
            Use {n:word} {n:section/sections}, each starting with {mark} and its number.
            Divide the answer into {n:word} {n:section/sections}: {mark} 1, {mark} 2 and so on.
            Answer in {n} {n:section/sections} with the headings {mark} 1, {mark} 2 and so on.
            Give me {n:word} {n:section/sections}. Start each section with {mark} X.
            The response should contain {n} {n:section/sections}, each marked with {mark} and a number.
            Please write {n:word} {n:section/sections} and mark them {mark} 1, {mark} 2 and so on.
            I want {n} {n:section/sections}, starting with {mark} 1.
            Put your answer in {n:word} {n:section/sections} with {mark} X at the beginning of each.
        """,
        validation="""
            Please use {n} {n:section/sections}, marked {mark} 1, {mark} 2 and so on.
            Divide your answer into {n} {n:section/sections} and start each with {mark} X.
            Your response must have {n:word} {n:section/sections}, each starting with {mark} and a number.
        """,
        test="""
            Write {n:word} {n:section/sections} with the headings {mark} 1, {mark} 2 and so on.
            Split the response into {n:word} {n:section/sections}, each marked with {mark} and its number.
            Give me {n} {n:section/sections} and begin each section with {mark} X, such as {mark} 1.
        """,
    ),
)
def sections(
    section_spliter: Annotated[str, Parameter("word that marks a section", example="Section")] = "Section",
    num_sections: Annotated[int, Parameter("fewest sections", minimum=1, example=2)] = 2,
) -> Check:
    """Has at least so many sections, each marked by a word and a number, such as Section 1."""
    mark = re.compile(re.escape(section_spliter.strip()) + r"\s?\d+")
    return lambda response: len(mark.findall(response)) >= num_sections


@instruction(
    ifeval_id="detectable_format:constrained_response",
    constraint=lambda params: grammar.constrained(CONSTRAINED_ANSWERS),
    family="format",
    demands=lambda params: Demands(verbatim=("My answer is",)),
    phrasings=Phrasings.lines(
        learning="""
            Answer with one of the following options: My answer is yes. My answer is no. My answer is maybe.
            Answer only with "My answer is yes.", "My answer is no." or "My answer is maybe."
            Your answer must be one of: My answer is yes. / My answer is no. / My answer is maybe.
            Choose one of these options: "My answer is yes.", "My answer is no.", "My answer is maybe."
            Reply with "My answer is yes." or "My answer is no." or "My answer is maybe."
            Say "My answer is yes.", "My answer is no." or "My answer is maybe." and nothing else.
            Please answer with one of these: My answer is yes. My answer is no. My answer is maybe.
            Use one of the following as your answer: "My answer is yes." "My answer is no." "My answer is maybe."
            Respond only with one of these options: My answer is yes. My answer is no. My answer is maybe.
            Pick one: My answer is yes. My answer is no. My answer is maybe.
            Give me one of the following: "My answer is yes.", "My answer is no.", "My answer is maybe."
        """,
        validation="""
            Please choose one of the following options: My answer is yes. My answer is no. My answer is maybe.
            Reply only with "My answer is yes.", "My answer is no." or "My answer is maybe."
            Your response must be one of these: "My answer is yes.", "My answer is no.", "My answer is maybe."
        """,
        test="""
            Answer with one of these options: "My answer is yes.", "My answer is no.", "My answer is maybe."
            Please say "My answer is yes." or "My answer is no." or "My answer is maybe."
            Pick one of the following options as your answer: My answer is yes. My answer is no. My answer is maybe.
        """,
    ),
)
def constrained() -> Check:
    """Contains one of the fixed answers "My answer is yes.", "... no." or "... maybe."."""
    return lambda response: any(answer in response for answer in CONSTRAINED_ANSWERS)
