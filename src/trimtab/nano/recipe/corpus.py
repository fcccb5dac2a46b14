"""Training examples: plain documents for nano-base, chats with instructions for nano-instruct."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial

from trimtab.instructions import Instruction, Split
from trimtab.nano.answers import write_answer
from trimtab.nano.curriculum import draw_instructions
from trimtab.nano.questions import Question, sample_question
from trimtab.nano.recipe.variation import vary
from trimtab.nano.vocabulary import invented_word, listed_words

INSTRUCTION_COUNTS = ((0, 1, 2, 3), (0.2, 0.52, 0.2, 0.08))
OPENERS = ("Also, ", "Important: ", "One more thing. ", "Please note: ", "Remember: ")


@dataclass(frozen=True)
class Chat:
    """One training example of nano-instruct; `prompt` holds the instructions, and `answer` passes all their checks."""

    question: Question
    instructions: tuple[Instruction, ...]
    prompt: str
    answer: str


def ask(rng: random.Random, question: Question, instructions: list[Instruction], split: Split) -> str:
    """The user's turn: the question and one phrasing of each instruction."""
    phrasings = [rng.choice(instruction.phrasings(split)) for instruction in instructions]
    if split == "learning":
        phrasings = [
            vary(rng, text, partial(_held_out, instruction))
            for text, instruction in zip(phrasings, instructions, strict=True)
        ]
        phrasings = [rng.choice(OPENERS) + text if rng.random() < 0.08 else text for text in phrasings]
    rng.shuffle(phrasings)
    first = split == "learning" and rng.random() < 0.08
    return " ".join([*phrasings, question.text] if first else [question.text, *phrasings])


def _held_out(instruction: Instruction) -> list[str]:
    return [*instruction.phrasings("validation"), *instruction.phrasings("test")]


def sample_chat(rng: random.Random, split: Split = "learning", count: int | None = None) -> Chat:
    """Draws a chat; `count` fixes the number of instructions."""
    while True:
        wanted = rng.choices(*INSTRUCTION_COUNTS)[0] if count is None else count
        question = sample_question(rng, split)
        instructions = draw_instructions(rng, wanted, question, split)
        prompt = ask(rng, question, instructions, split)
        answer = write_answer(rng, question, instructions, prompt)
        if answer is not None:
            return Chat(question, tuple(instructions), prompt, answer)


def sample_document(rng: random.Random) -> str:
    """Draws a document of nano-base: an article, a question with its answer, or a list that is read twice.

    The answers come in all the styles that instructions ask for, but nothing in the document asks for them. The
    repeated lists teach a model of this size to copy words, as much larger ones learn from any text.
    """
    draw = rng.random()
    if draw < 0.25:
        return _repeated_list(rng)
    chat = sample_chat(rng, count=rng.choice((0, 0, 1, 1, 2)))
    if draw < 0.5:
        return chat.answer
    return f"Question: {chat.question.text}\nAnswer: {chat.answer}"


def _repeated_list(rng: random.Random) -> str:
    words = [
        invented_word(rng) if rng.random() < 0.6 else rng.choice(listed_words("learning"))
        for _ in range(rng.randint(3, 14))
    ]
    again = words if rng.random() < 0.6 else rng.sample(words, len(words))
    return f"Words: {', '.join(words)}.\nAgain: {', '.join(again)}."
