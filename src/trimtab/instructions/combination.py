"""Instructions that put an answer together: two responses, and the prompt repeated before the answer."""

from __future__ import annotations

from typing import Annotated

from trimtab.instructions import rewriting
from trimtab.instructions.demands import Demands
from trimtab.instructions.grammars import form as grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction

_SIX_STARS = "******"


@instruction(
    ifeval_id="combination:two_responses",
    constraint=lambda params: grammar.two_responses(_SIX_STARS),
    family="combination",
    conflicts={"number_paragraphs": "six asterisks are two dividers with nothing between them"},
    phrasings=Phrasings.lines(
        learning="""
            Give two different responses, separated by ******.
            Write two different responses. Separate them with 6 asterisk symbols: ******.
            Give me two different answers separated by six asterisks: ******
            Answer twice in different ways, with ****** between the two responses.
            Your answer must have two different responses, separated by ******.
            Provide two responses and separate them with ******.
            I want two different responses with ****** between them.
            Please write two responses, separated by six asterisks ******.
            Reply with two different answers. Put ****** between the answers.
            Respond in two different ways and separate the responses by ******.
            Use ****** to separate two different responses.
        """,
        validation="""
            Please give two different responses with ****** between them.
            Write two answers in different ways, separated by ******.
            Provide two different answers and put ****** between the two.
        """,
        test="""
            Reply with two different responses, separated by six asterisks: ******
            Give me two responses and separate them by ******.
            Please answer in two different ways with ****** between the responses.
        """,
    ),
)
def two_responses() -> Check:
    """Gives two different responses, parted by six asterisks."""

    def check(response: str) -> bool:
        pieces = [piece.strip() for piece in response.split(_SIX_STARS)]
        given = [piece for piece in pieces if piece]
        return all(pieces[1:-1]) and len(given) == 2 and given[0] != given[1]

    return check


@instruction(
    ifeval_id="combination:repeat_prompt",
    constraint=lambda params: grammar.repeat_prompt(**params),
    rewrite=lambda text, params: rewriting.behind_request(text, params["prompt_to_repeat"]),
    family="combination",
    takes_query="prompt_to_repeat",
    conflicts={"quotes": "the answer would have to start with the request and with a quotation mark"},
    demands=lambda params: Demands(contains=tuple(filter(None, [params.get("prompt_to_repeat")]))),
    phrasings=Phrasings.lines(
        learning="""
            First repeat the request word for word without change, then give your answer.
            Repeat the request word for word before you answer.
            Repeat my question first, then answer it.
            Start by repeating the request without change, then answer.
            Before you answer, repeat the question word for word.
            Copy the request word for word and then give your answer.
            Say the question again without change and then answer it.
            Your answer must first repeat the request and then answer it.
            Please repeat the request first, without change.
            Begin your answer by repeating the request word for word.
            I want you to repeat the request before your answer.
        """,
        validation="""
            Please repeat the question word for word, then give your answer.
            First repeat my request without change, then answer it.
            Start your answer by repeating the question.
        """,
        test="""
            Repeat the request first and then give your answer.
            Before your answer, please repeat the request word for word.
            First copy the question without change, then answer it.
        """,
    ),
)
def repeat_prompt(
    prompt_to_repeat: Annotated[str | None, Parameter("what to repeat; for_query fills it in")] = None,
) -> Check:
    """Starts with the request, word for word, and then answers."""
    wanted = (prompt_to_repeat or "").strip().lower()
    return lambda response: response.strip().lower().startswith(wanted)
