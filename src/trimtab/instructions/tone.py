"""Instructions on tone and style, which no program can check: a judge is asked in the place of a check.

The contrast examples stand in ``trimtab/data/tones/contrasts.jsonl``: answers in the tone, each beside the same said
without it. A judge is calibrated on them, or learned from them; what it is measured on
(``trimtab/data/tones/labelled.jsonl``) shares none with them.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from trimtab.instructions.judgement import Question
from trimtab.instructions.phrasings import Phrasings
from trimtab.instructions.registry import instruction

TONES = ("formal", "friendly", "simple", "persuasive", "pirate", "enthusiastic", "humorous", "poetic")


@cache
def _contrasts() -> tuple[dict[str, str], ...]:
    path = resources.files("trimtab") / "data" / "tones" / "contrasts.jsonl"
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def _question(tone: str, text: str) -> Question:
    pairs = [pair for pair in _contrasts() if pair["tone"] == tone]
    return Question(text, tuple(pair["follows"] for pair in pairs), tuple(pair["fails"] for pair in pairs))


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question("formal", "Is the text written in a formal tone, as an official letter would be?"),
    conflicts={
        "pirate": "a formal answer is not pirate talk",
    },
    phrasings=Phrasings.lines(
        learning="""
            Answer in a formal tone.
            Use formal language.
            Write formally.
            Your answer must be in a formal style.
            Please reply in a formal tone.
            Keep a formal tone throughout.
            Give me a formal answer.
            I want the answer in formal language.
            Answer formally, as in an official letter.
            Use a formal style and no slang.
            The answer should sound formal.
        """,
        validation="""
            Please write in a formal style.
            Your answer should be in formal language.
            Reply formally.
        """,
        test="""
            Write your answer in a formal tone.
            Please use formal language throughout.
            The answer must sound formal.
        """,
    ),
)
def formal() -> None:
    """Is in a formal tone."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question(
        "friendly", "Is the text written in a warm and friendly tone, as one would talk to a friend?"
    ),
    phrasings=Phrasings.lines(
        learning="""
            Answer in a friendly tone.
            Be friendly and warm.
            Write in a friendly way.
            Your answer must sound friendly.
            Please reply in a friendly tone.
            Keep a friendly tone throughout.
            Give me a friendly answer.
            I want a warm and friendly answer.
            Answer as you would talk to a good friend, in a friendly way.
            Use friendly language.
            The answer should be warm and friendly.
        """,
        validation="""
            Please write in a friendly tone.
            Your answer should sound warm and friendly.
            Reply in friendly language.
        """,
        test="""
            Write your answer in a friendly way.
            Please be warm and friendly throughout.
            The answer must be in a friendly tone.
        """,
    ),
)
def friendly() -> None:
    """Is in a warm and friendly tone."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question(
        "simple",
        "Is the text written in simple words and short sentences that a young child would understand?",
    ),
    phrasings=Phrasings.lines(
        learning="""
            Answer in simple words.
            Use simple language that a child understands.
            Explain it simply, as to a child.
            Your answer must use only simple words.
            Please reply in simple words and short sentences.
            Keep the language simple throughout.
            Give me a simple answer that a child can understand.
            I want the answer in simple words.
            Write so simply that a young child understands it.
            Use short sentences and simple words.
            The answer should be in simple language.
        """,
        validation="""
            Please write in simple words.
            Your answer should be in language so simple that a child understands it.
            Reply simply, as to a young child.
        """,
        test="""
            Write your answer in simple words.
            Please use simple language and short sentences.
            The answer must be so simple that a child can understand it.
        """,
    ),
)
def simple() -> None:
    """Is in simple words that a child understands."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question(
        "persuasive", "Is the text persuasive, arguing for something so as to win the reader over?"
    ),
    phrasings=Phrasings.lines(
        learning="""
            Answer in a persuasive way.
            Be persuasive.
            Write persuasively.
            Your answer must be persuasive and win the reader over.
            Please reply in a persuasive tone.
            Keep a persuasive tone throughout.
            Give me a persuasive answer.
            I want a persuasive answer with strong arguments.
            Use persuasive language to convince the reader.
            Make your answer persuasive.
            The answer should sound persuasive, as in an advertisement.
        """,
        validation="""
            Please write in a persuasive tone.
            Your answer should be persuasive and convince the reader.
            Reply persuasively.
        """,
        test="""
            Write your answer in a persuasive way.
            Please be persuasive throughout.
            The answer must be in persuasive language.
        """,
    ),
)
def persuasive() -> None:
    """Is persuasive: it argues so as to win the reader over."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question(
        "pirate", "Is the text written the way a pirate talks, with words such as arr, matey or ye?"
    ),
    phrasings=Phrasings.lines(
        learning="""
            Answer as a pirate.
            Talk like a pirate.
            Write as a pirate would.
            Your answer must sound like a pirate.
            Please reply in pirate talk.
            Speak like a pirate throughout.
            Give me an answer in the words of a pirate.
            I want the answer in pirate language.
            Answer the way a pirate talks.
            Be a pirate and answer like one.
            The answer should be in the style of a pirate.
        """,
        validation="""
            Please write like a pirate.
            Your answer should be in pirate talk.
            Reply in the words of a pirate.
        """,
        test="""
            Write your answer in pirate language.
            Please talk as a pirate would throughout.
            The answer must be in the style of a pirate.
        """,
    ),
)
def pirate() -> None:
    """Is in the talk of a pirate."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question("enthusiastic", "Is the text enthusiastic, written with excitement and energy?"),
    phrasings=Phrasings.lines(
        learning="""
            Answer in an enthusiastic tone.
            Be enthusiastic and full of energy.
            Write with enthusiasm.
            Your answer must sound enthusiastic.
            Please reply with great enthusiasm.
            Keep an enthusiastic tone throughout.
            Give me an enthusiastic answer.
            I want an enthusiastic answer, full of excitement.
            Use enthusiastic language.
            Show your enthusiasm in the answer.
            The answer should sound excited and enthusiastic.
        """,
        validation="""
            Please write in an enthusiastic tone.
            Your answer should be full of enthusiasm.
            Reply in enthusiastic language.
        """,
        test="""
            Write your answer with great enthusiasm.
            Please be enthusiastic throughout.
            The answer must sound enthusiastic and excited.
        """,
    ),
)
def enthusiastic() -> None:
    """Is in an enthusiastic, excited tone."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question("humorous", "Is the text funny, with jokes meant to make the reader laugh?"),
    phrasings=Phrasings.lines(
        learning="""
            Answer in a humorous way.
            Be humorous and make me laugh.
            Write with humor.
            Your answer must be humorous.
            Please reply in a humorous tone.
            Keep a humorous tone throughout.
            Give me a humorous answer.
            I want a humorous answer with a joke or two.
            Use humor and jokes in your answer.
            Make your answer humorous.
            The answer should be funny and full of humor.
        """,
        validation="""
            Please write in a humorous tone.
            Your answer should be humorous and make me laugh.
            Reply with humor.
        """,
        test="""
            Write your answer in a humorous way.
            Please be humorous throughout.
            The answer must be full of humor and jokes.
        """,
    ),
)
def humorous() -> None:
    """Is funny: it makes jokes."""


@instruction(
    family="tone",
    prefix_closed=True,
    judge=_question("poetic", "Is the text poetic, full of images and rhythm as a poem is?"),
    phrasings=Phrasings.lines(
        learning="""
            Answer in a poetic style.
            Use poetic language.
            Write poetically.
            Your answer must sound poetic.
            Please reply in a poetic tone.
            Keep a poetic style throughout.
            Give me a poetic answer.
            I want a poetic answer, full of images.
            Answer as a poet would, in poetic words.
            Make your answer poetic, with images and rhythm.
            The answer should sound poetic.
        """,
        validation="""
            Please write in a poetic style.
            Your answer should be in poetic language.
            Reply poetically.
        """,
        test="""
            Write your answer in a poetic tone.
            Please use poetic words throughout.
            The answer must be poetic and full of images.
        """,
    ),
)
def poetic() -> None:
    """Is poetic: in images and rhythm, as a poem is."""
