"""Instructions on length: sentences, words and paragraphs, IFEval's and our own, concise and verbose."""

from __future__ import annotations

import math
from typing import Annotated, Any

from trimtab.errors import InstructionError
from trimtab.instructions import counting, rewriting, splitting, wordcount
from trimtab.instructions import sentences as reading
from trimtab.instructions.demands import Demands, at_least, at_most
from trimtab.instructions.grammars import amounts
from trimtab.instructions.grammars import length as grammar
from trimtab.instructions.grammars.sentences import sentences as sentences_grammar
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction

_LOW = Parameter("smallest number", minimum=1)
_HIGH = Parameter("largest number", minimum=1)
_EXACT = Parameter("the only number", minimum=1)
Low = Annotated[int | None, _LOW]
High = Annotated[int | None, _HIGH]
Exact = Annotated[int | None, _EXACT]


@instruction(
    family="length",
    **counting.amounts("sentence", "sentences", sentences_grammar),
    example={"at_most": 2},
)
def sentences(at_least: Low = None, at_most: High = None, exactly: Exact = None) -> Check:
    """Has at least, at most or exactly so many sentences."""
    return counting.amount_check("sentences", reading.count, at_least, at_most, exactly)


@instruction(
    family="length",
    **counting.amounts("word", "words", amounts.words),
    example={"at_most": 50},
)
def words(at_least: Low = None, at_most: High = None, exactly: Exact = None) -> Check:
    """Has at least, at most or exactly so many words."""
    return counting.amount_check("words", wordcount.count_words, at_least, at_most, exactly, some=True)


@instruction(
    family="length",
    **counting.amounts("paragraph", "paragraphs", amounts.paragraphs, rewriting.in_paragraphs),
    example={"exactly": 2},
)
def paragraphs(at_least: Low = None, at_most: High = None, exactly: Exact = None) -> Check:
    """Has at least, at most or exactly so many paragraphs, parted by blank lines."""
    count = wordcount.count_paragraphs
    return counting.amount_check("paragraphs", count, at_least, at_most, exactly, some=True)


@instruction(
    family="length",
    conflicts={"verbose": "one asks for a short answer, the other for a long one"},
    demands=lambda params: Demands(counts={"words": at_most(params["max_words"])}),
    constraint=lambda params: amounts.words(1, params["max_words"]),
    phrasings=Phrasings.lines(
        learning="""
            Be concise.
            Keep your answer short.
            Answer briefly.
            Give me a short answer.
            Keep it short and concise.
            Be brief and to the point.
            Reply with a brief answer.
            Write a concise response.
            I only want a short answer.
            Please make your answer short.
            Answer in a short and concise way.
            Do not write a long answer, keep it brief.
        """,
        validation="""
            Please be brief.
            Write a short and concise answer.
            Keep your response brief.
        """,
        test="""
            Please keep it short.
            Give a concise answer.
            Be short and to the point in your reply.
        """,
    ),
)
def concise(
    max_words: Annotated[int, Parameter("most words a short answer may have", minimum=1, example=50)] = 50,
) -> Check:
    """Is short: no more words than a limit that the phrasing does not name."""
    return lambda response: counting.lies_within(wordcount.count_words(response), 1, max_words)


@instruction(
    family="length",
    demands=lambda params: Demands(counts={"words": at_least(params["min_words"])}),
    constraint=lambda params: amounts.words(params["min_words"], math.inf),
    phrasings=Phrasings.lines(
        learning="""
            Be verbose.
            Write a long answer.
            Answer in great detail.
            Give me a long and detailed answer.
            Be as detailed as you can.
            Explain everything in detail.
            Reply with a long, detailed response.
            I want a long answer.
            Please make your answer long.
            Tell me as much as you can.
            Write a lot and be detailed.
            Do not be brief, write a long answer.
        """,
        validation="""
            Please be verbose.
            Write a long and detailed response.
            Tell me everything you can in detail.
        """,
        test="""
            Please give a detailed answer.
            Be long and detailed in your reply.
            Write as much as you can.
        """,
    ),
)
def verbose(
    min_words: Annotated[int, Parameter("fewest words a long answer may have", minimum=1, example=120)] = 120,
) -> Check:
    """Is long: at least as many words as a limit that the phrasing does not name."""
    return lambda response: counting.lies_within(wordcount.count_words(response), min_words, math.inf)


@instruction(
    ifeval_id="length_constraints:number_sentences",
    family="length",
    phrasings=counting.relation_phrasings("sentence", "sentences"),
    **counting.relations("sentences", "num_sentences"),
    constraint=lambda params: grammar.sentences(
        *counting.relation_range(params["relation"], params["num_sentences"])
    ),
    notes=splitting.notes,
)
def number_sentences(
    num_sentences: Annotated[int, Parameter("the number of sentences", minimum=1, example=4)],
    relation: counting.Relation = counting.AT_LEAST,
) -> Check:
    """Has less than, or at least, so many sentences."""
    return lambda response: counting.holds(relation, splitting.count_sentences(response), num_sentences)


@instruction(
    ifeval_id="length_constraints:number_words",
    family="length",
    phrasings=counting.relation_phrasings("word", "words"),
    **counting.relations("words", "num_words"),
    constraint=lambda params: grammar.words(
        *counting.relation_range(params["relation"], params["num_words"])
    ),
)
def number_words(
    num_words: Annotated[int, Parameter("the number of words", minimum=1, example=100)],
    relation: counting.Relation = counting.AT_LEAST,
) -> Check:
    """Has less than, or at least, so many words."""
    return lambda response: counting.holds(relation, splitting.count_words(response), num_words)


@instruction(
    ifeval_id="length_constraints:number_paragraphs",
    family="length",
    fields=lambda params: {"n": params["num_paragraphs"]},
    constraint=lambda params: grammar.divided_paragraphs(params["num_paragraphs"], "***"),
    rewrite=lambda text, params: rewriting.in_paragraphs(
        text, *(params["num_paragraphs"],) * 2, divider="***"
    ),
    demands=lambda params: Demands(
        counts={"divided paragraphs": (params["num_paragraphs"], params["num_paragraphs"])}
    ),
    phrasings=Phrasings.lines(
        learning="""
            Write {n} {n:paragraph/paragraphs} separated by ***.
            There should be {n:word} {n:paragraph/paragraphs}. Paragraphs are separated with the markdown divider: ***
            Use *** to separate your {n:word} {n:paragraph/paragraphs}.
            Your answer must have exactly {n} {n:paragraph/paragraphs}, divided by ***.
            Answer in {n:word} {n:paragraph/paragraphs} with *** between paragraphs.
            Give me {n} {n:paragraph/paragraphs} and put *** between the paragraphs.
            Split your answer into {n} {n:paragraph/paragraphs} with the divider ***.
            The response should contain {n:word} {n:paragraph/paragraphs} divided by ***.
            Please write exactly {n:word} {n:paragraph/paragraphs}. Put *** between paragraphs.
            Divide your answer into {n:word} {n:paragraph/paragraphs}, separated by ***.
            I want {n} {n:paragraph/paragraphs} separated with the markdown divider ***.
        """,
        validation="""
            Please separate your {n} {n:paragraph/paragraphs} with ***.
            Use exactly {n:word} {n:paragraph/paragraphs}, separated by the divider ***.
            Write {n:word} {n:paragraph/paragraphs} and divide the paragraphs by ***.
        """,
        test="""
            Your answer should have {n} {n:paragraph/paragraphs} with *** between paragraphs.
            Reply in exactly {n:word} {n:paragraph/paragraphs} divided by ***.
            Split the response into {n:word} {n:paragraph/paragraphs} separated by ***.
        """,
    ),
)
def number_paragraphs(
    num_paragraphs: Annotated[int, Parameter("the number of paragraphs", minimum=1, example=3)],
) -> Check:
    """Has exactly so many paragraphs, parted by the markdown divider ***."""

    def check(response: str) -> bool:
        pieces = [bool(piece.strip()) for piece in response.split("***")]
        # A divider may open or close the answer, but two may not stand together.
        return all(pieces[1:-1]) and sum(pieces) == num_paragraphs

    return check


@instruction(
    ifeval_id="length_constraints:nth_paragraph_first_word",
    family="length",
    fields=lambda params: {"n": params["num_paragraphs"], "nth": params["nth_paragraph"]},
    constraint=lambda params: grammar.paragraph_with_first_word(
        params["num_paragraphs"], params["nth_paragraph"], params["first_word"]
    ),
    demands=lambda params: Demands(
        counts={"paragraphs": (params["num_paragraphs"],) * 2}, contains=(params["first_word"],)
    ),
    phrasings=Phrasings.lines(
        learning="""
            Write {n} {n:paragraph/paragraphs} and start paragraph {nth} with the word "{first_word}".
            There should be {n:word} {n:paragraph/paragraphs}. Paragraph {nth} must start with the word {first_word}.
            Use exactly {n} {n:paragraph/paragraphs}. The {nth:ordinal} paragraph must start with "{first_word}".
            Answer in {n:word} {n:paragraph/paragraphs}, the {nth:ordinal} of them starting with {first_word}.
            Your answer must have {n} {n:paragraph/paragraphs}, and "{first_word}" is the first word of paragraph {nth}.
            Begin the {nth:ordinal} of {n:word} {n:paragraph/paragraphs} with the word "{first_word}".
            Give me {n} {n:paragraph/paragraphs} separated by blank lines. Begin paragraph {nth} with {first_word}.
            Split it into {n:word} {n:paragraph/paragraphs} and begin the {nth:ordinal} paragraph with "{first_word}".
            The first word of the {nth:ordinal} paragraph must be {first_word}. Write {n:word} {n:paragraph/paragraphs}.
            Make the word "{first_word}" the start of paragraph {nth}, and use {n} {n:paragraph/paragraphs}.
            Please write {n:word} {n:paragraph/paragraphs} where the {nth:ordinal} paragraph starts with {first_word}.
        """,
        validation="""
            Please use {n} {n:paragraph/paragraphs} and begin paragraph {nth} with the word "{first_word}".
            Answer in {n:word} {n:paragraph/paragraphs}, the {nth:ordinal} starting with the word "{first_word}".
            Write {n:word} {n:paragraph/paragraphs}. The first word of paragraph {nth} must be {first_word}.
        """,
        test="""
            Start the {nth:ordinal} of {n:word} {n:paragraph/paragraphs} with "{first_word}".
            Answer in exactly {n} {n:paragraph/paragraphs}. Paragraph {nth} must begin with the word {first_word}.
            Give me {n:word} {n:paragraph/paragraphs} where the {nth:ordinal} paragraph starts with "{first_word}".
        """,
    ),
)
def nth_paragraph_first_word(
    num_paragraphs: Annotated[int, Parameter("the number of paragraphs", minimum=1, example=3)],
    nth_paragraph: Annotated[int, Parameter("which paragraph, from 1", minimum=1, example=2)],
    first_word: Annotated[str, Parameter("the word it starts with", example="however")],
) -> Check:
    """Has exactly so many paragraphs, parted by blank lines, and one of them starts with a given word."""
    if nth_paragraph > num_paragraphs:
        raise InstructionError(
            f"nth_paragraph_first_word: nth_paragraph ({nth_paragraph}) is more than num_paragraphs ({num_paragraphs})"
        )
    wanted = first_word.strip().lower()

    def check(response: str) -> bool:
        blocks = [block.strip() for block in response.split("\n\n")]
        if sum(map(bool, blocks)) != num_paragraphs:
            return False
        # As in IFEval the position counts empty blocks too, so that an extra blank line before it is a miss.
        block = blocks[nth_paragraph - 1]
        return bool(block) and starts_with_word(block.split()[0].lower(), wanted)

    return check


def starts_with_word(token: str, wanted: str) -> bool:
    """Whether a token is the wanted word, after opening quotes and before any punctuation."""
    token = token.lstrip("'").lstrip('"')
    if token == wanted:
        return True
    cut: dict[str, Any] = dict.fromkeys(".,?!'\"")
    return token.startswith(wanted) and token[len(wanted) : len(wanted) + 1] in cut
