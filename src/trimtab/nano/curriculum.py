"""Which instructions nano is taught, and how their parameters are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from trimtab import instructions
from trimtab.errors import InstructionError
from trimtab.instructions import Instruction, Split
from trimtab.nano import asides
from trimtab.nano.questions import Question
from trimtab.nano.vocabulary import invented_word, listed_words, words_of_answers, world_words

Draw = Callable[[random.Random, Question, Split], dict[str, Any]]


def _word(rng: random.Random, split: Split) -> str:
    if split == "learning" and rng.random() < 0.5:
        return invented_word(rng)
    return rng.choice(listed_words(split))


def _words(rng: random.Random, split: Split) -> list[str]:
    return [_word(rng, split) for _ in range(rng.choice((1, 1, 2)))]


def _banned(rng: random.Random, question: Question, split: Split) -> str:
    """A word to avoid: usually one that the answer would be likely to contain."""
    likely = words_of_answers(question.entity, split)
    if likely and rng.random() < 0.85:
        return rng.choice(likely)
    return rng.choice(world_words(split) if rng.random() < 0.5 else listed_words(split))


def _closing(rng: random.Random, split: Split) -> str:
    return rng.choice(asides.CLOSINGS).format(w=_word(rng, split), w2=_word(rng, split))


def _sentences(rng: random.Random, _question: Question, _split: Split) -> dict[str, Any]:
    how = rng.choice(("at_least", "at_most", "exactly", "exactly"))
    least, most = {"at_least": (5, 7), "at_most": (1, 3), "exactly": (1, 6)}[how]
    return {how: rng.randint(least, most)}


def _words_amount(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"at_least": rng.choice((30, 35, 40, 45))}
    return {"at_most": rng.choice((15, 20, 25))}


def _number_words(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"num_words": rng.choice((30, 35, 40, 45)), "relation": "at least"}
    return {"num_words": rng.choice((15, 20, 25)), "relation": "less than"}


_TAUGHT: dict[str, tuple[float, Draw]] = {
    "json": (1.0, lambda r, q, s: {}),
    "title": (1.0, lambda r, q, s: {}),
    "bullets": (1.2, lambda r, q, s: {"num_bullets": r.randint(2, 5)}),
    "highlights": (1.2, lambda r, q, s: {"num_highlights": r.randint(1, 3)}),
    "sections": (
        1.0,
        lambda r, q, s: {
            "num_sections": r.randint(2, 4),
            "section_spliter": r.choice(("Section", "SECTION")),
        },
    ),
    "constrained": (0.8, lambda r, q, s: {}),
    "placeholders": (1.0, lambda r, q, s: {"num_placeholders": r.randint(1, 3)}),
    "postscript": (1.0, lambda r, q, s: {"postscript_marker": r.choice(("P.S.", "P.P.S"))}),
    "lowercase": (1.0, lambda r, q, s: {}),
    "uppercase": (1.0, lambda r, q, s: {}),
    "capital_words": (
        1.0,
        lambda r, q, s: {"capital_relation": "at least", "capital_frequency": r.randint(2, 6)},
    ),
    "no_commas": (1.0, lambda r, q, s: {}),
    "quotes": (1.0, lambda r, q, s: {}),
    "end_phrase": (1.6, lambda r, q, s: {"end_phrase": _closing(r, s)}),
    "two_responses": (0.6, lambda r, q, s: {}),
    "repeat_prompt": (1.0, lambda r, q, s: {"prompt_to_repeat": q.text}),
    "language": (1.2, lambda r, q, s: {"language": r.choice(("es", "fr"))}),
    "keywords": (2.0, lambda r, q, s: {"keywords": _words(r, s)}),
    "include": (2.5, lambda r, q, s: {"words": _words(r, s)}),
    "keyword_frequency": (
        1.4,
        lambda r, q, s: {"keyword": _word(r, s), "frequency": r.randint(2, 3), "relation": "at least"},
    ),
    "forbidden_words": (
        1.8,
        lambda r, q, s: {"forbidden_words": [_banned(r, q, s) for _ in range(r.randint(1, 2))]},
    ),
    "exclude": (2.2, lambda r, q, s: {"words": [_banned(r, q, s)]}),
    "number_sentences": (
        1.2,
        lambda r, q, s: (
            {"num_sentences": r.randint(5, 7), "relation": "at least"}
            if r.random() < 0.5
            else {"num_sentences": r.randint(2, 4), "relation": "less than"}
        ),
    ),
    "sentences": (2.0, _sentences),
    "number_words": (1.0, lambda r, q, s: _number_words(r)),
    "words": (1.0, lambda r, q, s: _words_amount(r)),
    "concise": (0.7, lambda r, q, s: {"max_words": 20}),
    "verbose": (1.0, lambda r, q, s: {"min_words": 45}),
    "number_paragraphs": (1.0, lambda r, q, s: {"num_paragraphs": r.randint(2, 4)}),
    "paragraphs": (1.2, lambda r, q, s: {r.choice(("at_least", "exactly", "exactly")): r.randint(2, 4)}),
}
TAUGHT = tuple(_TAUGHT)


def draw_instruction(rng: random.Random, name: str, question: Question, split: Split) -> Instruction:
    """An instruction of this name with parameters drawn for a question; its words belong to the split."""
    return instructions.get(name, **_TAUGHT[name][1](rng, question, split))


def draw_instructions(rng: random.Random, count: int, question: Question, split: Split) -> list[Instruction]:
    """Several instructions that can go together, of different names."""
    chosen: list[Instruction] = []
    while len(chosen) < count:
        name = rng.choices(TAUGHT, [weight for weight, _ in _TAUGHT.values()])[0]
        if any(name == other.name for other in chosen):
            continue
        try:
            candidate = draw_instruction(rng, name, question, split)
        except InstructionError:  # two words to avoid happen to be the same one
            continue
        if not any(candidate.conflicts_with(other) for other in chosen):
            chosen.append(candidate)
    return chosen
