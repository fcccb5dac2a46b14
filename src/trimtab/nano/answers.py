"""Answers written by program: true sentences about an entity, in the shape that instructions ask for.

`write_answer` is the teacher of nano. It turns instructions into a `Plan`, writes sentences and formats them; what it
returns satisfies the check of every instruction, or it returns None. It leaves little to chance (facts go round in a
fixed order from a random first one, a count that has a margin takes the same number each time), because a small model
spends on chance what it should spend on the instructions.
"""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.instructions import Instruction
from trimtab.nano import asides
from trimtab.nano.questions import Question
from trimtab.nano.world import ATTRIBUTE_NAMES, normalise, sentence, words_of

DEFAULT_SENTENCES = (3, 4, 4, 5)
MOST_SENTENCES = len(ATTRIBUTE_NAMES)
FEWEST_WORDS, MOST_WORDS = 6, 10
ATTEMPTS = 2


@dataclass
class Plan:
    """The shape of one answer; the defaults are those of an answer without instructions."""

    language: str = "en"
    sentences: int | None = None
    paragraphs: int = 1
    paragraph_break: str = "\n\n"
    mentions: list[str] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)
    commas: bool = True
    highlights: bool = False
    capital_words: bool = False
    placeholders: int = 0
    bullets: int = 0
    sections: tuple[int, str] | None = None
    title: bool = False
    postscript: str | None = None
    closing: str | None = None
    repeat: str | None = None
    choice: bool = False
    twice: bool = False
    json: bool = False
    quotes: bool = False
    case: str | None = None


def write_answer(
    rng: random.Random, question: Question, instructions: Sequence[Instruction] = (), prompt: str = ""
) -> str | None:
    """Writes an answer that follows all instructions; None where this writer cannot meet them together.

    A word that `prompt`, the user's turn, puts in quotation marks stands in them in the answer too, so that copying it
    is copying its tokens.
    """
    for _ in range(ATTEMPTS):
        plan = Plan()
        for instruction in instructions:
            _plan_for(plan, instruction)
        plan.mentions = [f'"{word}"' if f'"{word}"' in prompt else word for word in plan.mentions]
        answer = _write(rng, question, plan)
        if answer is not None and all(instruction.check(answer) for instruction in instructions):
            return answer
    return None


def _asked(params: dict[str, Any], margin: int = 1) -> int:
    """The number to aim at for at_least, at_most or exactly: with some margin where there may be one."""
    if params.get("exactly") is not None:
        return int(params["exactly"])
    if params.get("at_least") is not None:
        return int(params["at_least"]) + margin
    return max(1, int(params["at_most"]) - margin)


def _related(relation: str, number: int) -> dict[str, Any]:
    """IFEval's relation in our own terms."""
    return {"at_least": number} if relation == "at least" else {"at_most": number - 1}


def _sentences_for(words: dict[str, Any]) -> int:
    """How many sentences surely have at least, or at most, so many words."""
    if words.get("at_least") is not None:
        return min(MOST_SENTENCES, -(-int(words["at_least"]) // FEWEST_WORDS))
    return max(1, int(words["at_most"]) // MOST_WORDS)


def _plan_for(plan: Plan, instruction: Instruction) -> None:
    params = dict(instruction.params)
    match instruction.name:
        case "json":
            plan.json = True
        case "title":
            plan.title = True
        case "bullets":
            plan.bullets = params["num_bullets"]
        case "highlights":
            plan.highlights = True
        case "sections":
            plan.sections = (params["num_sections"], params["section_spliter"])
        case "constrained":
            plan.choice = True
        case "placeholders":
            plan.placeholders = params["num_placeholders"]
        case "postscript":
            plan.postscript = params["postscript_marker"]
        case "lowercase":
            plan.case = "lower"
        case "uppercase":
            plan.case = "upper"
        case "capital_words":
            plan.capital_words = params["capital_relation"] == "at least"
        case "no_commas":
            plan.commas = False
        case "quotes":
            plan.quotes = True
        case "end_phrase":
            plan.closing = params["end_phrase"]
        case "two_responses":
            plan.twice = True
        case "repeat_prompt":
            plan.repeat = params["prompt_to_repeat"]
        case "language":
            plan.language = params["language"]
        case "keywords":
            plan.mentions += params["keywords"]
        case "include":
            plan.mentions += _words_param(params)
        case "keyword_frequency":
            if params["relation"] == "at least":
                plan.mentions += [params["keyword"]] * params["frequency"]
        case "forbidden_words":
            plan.banned.update(word.lower() for word in params["forbidden_words"])
        case "exclude":
            plan.banned.update(word.lower() for word in _words_param(params))
        case "number_sentences":
            wanted = _asked(_related(params["relation"], params["num_sentences"]))
            plan.sentences = min(wanted, MOST_SENTENCES)
        case "sentences":
            plan.sentences = min(_asked(params), MOST_SENTENCES)
        case "number_words":
            plan.sentences = _sentences_for(_related(params["relation"], params["num_words"]))
        case "words":
            plan.sentences = _sentences_for(params)
        case "concise":
            plan.sentences = 1
        case "verbose":
            plan.sentences = MOST_SENTENCES
        case "number_paragraphs":
            plan.paragraphs, plan.paragraph_break = params["num_paragraphs"], "\n***\n"
        case "paragraphs":
            plan.paragraphs = _asked(params)


def _words_param(params: dict[str, object]) -> list[str]:
    words = params.get("words") or [params.get("word")]
    return [str(word) for word in words] if isinstance(words, list | tuple) else [str(words)]


def _write(rng: random.Random, question: Question, plan: Plan) -> str | None:
    if plan.choice:
        verdict = {True: "yes", False: "no", None: "maybe"}[question.choice]
        sentences: list[str] | None = [f"My answer is {verdict}."]
    else:
        sentences = _sentences(rng, question, plan)
    if sentences is None:
        return None
    if plan.json:
        answer = _as_json(question, plan, sentences)
    else:
        answer = _as_text(rng, question, plan, sentences)
        if answer is not None and plan.twice:
            more = _sentences(rng, question, plan)
            other = _as_text(rng, question, plan, more) if more else None
            if other is None or other == answer:
                return None
            answer = f"{answer}\n******\n{other}"
    if answer is None:
        return None
    if plan.repeat is not None:
        answer = f"{plan.repeat}\n{answer}"
    if plan.closing is not None:
        answer = f"{answer}{chr(10) if plan.bullets else ' '}{plan.closing}"
    answer = {"lower": answer.lower(), "upper": answer.upper(), None: answer}[plan.case]
    return f'"{answer}"' if plan.quotes else answer


def _count(rng: random.Random, question: Question, plan: Plan) -> int:
    """How many sentences the body gets, asides included."""
    if plan.bullets:
        return plan.bullets
    if plan.sentences is not None:
        return max(1, plan.sentences - (plan.postscript is not None) - (plan.closing is not None))
    fewest = max(plan.paragraphs, plan.sections[0] if plan.sections else 1)
    usual = (1, 2, 3) if question.attribute is not None else DEFAULT_SENTENCES
    return max(rng.choice(usual), fewest)


def _sentences(rng: random.Random, question: Question, plan: Plan) -> list[str] | None:
    """The sentences of the body: facts in their round order, with the asides after the first of them."""
    entity = question.entity
    total = _count(rng, question, plan)
    opening = [] if question.choice is None else ["Yes." if question.choice else "No."]
    extra = _asides(rng, plan)
    fewest = 0 if extra and plan.sentences is not None else 1
    wanted = max(fewest, total - len(extra) - len(opening))
    first = question.attribute or rng.choice(ATTRIBUTE_NAMES[:-1])  # "However, ..." opens no answer
    start = ATTRIBUTE_NAMES.index(first)
    order = [*ATTRIBUTE_NAMES[start:], *ATTRIBUTE_NAMES[:start]]
    order = [name for name in order if not (words_of(entity, name) & plan.banned)]
    if len(order) < wanted:
        return None
    facts = [
        sentence(
            entity,
            name,
            plan.language,
            variant=zlib.crc32(f"{entity.name}/{name}".encode()),
            by_name=place == 0,
            commas=plan.commas,
        )
        for place, name in enumerate(order[:wanted])
    ]
    written = [*opening, *facts[:1], *extra, *facts[1:]]
    if any(word in normalise(text).split() for text in written for word in plan.banned):
        return None
    return written


def _asides(rng: random.Random, plan: Plan) -> list[str]:
    templates = itertools.cycle(asides.WITH_WORD[plan.language])
    for _ in range(rng.randrange(len(asides.WITH_WORD[plan.language]))):
        next(templates)
    written = [template.format(w=word) for template, word in zip(templates, plan.mentions, strict=False)]
    if plan.placeholders:
        fields = " and ".join(f"[{name}]" for name in asides.PLACEHOLDER_FIELDS[: plan.placeholders])
        written.append(rng.choice(asides.WITH_PLACEHOLDERS[plan.language]).format(fields=fields))
    return written


def _as_json(question: Question, plan: Plan, sentences: list[str]) -> str | None:
    if plan.paragraphs > 1 or plan.sections or plan.bullets or plan.twice or plan.closing or plan.repeat:
        return None
    if plan.highlights:
        sentences = [_highlighted(text) for text in sentences]
    if not plan.commas:
        return json.dumps({"answer": " ".join(sentences)}, ensure_ascii=False)
    content: dict[str, object] = {"topic": question.entity.name, "facts": sentences}
    if plan.title:
        content = {"title": f"<<{question.entity.name}>>", **content}
    return json.dumps(content, ensure_ascii=False)


def _as_text(rng: random.Random, question: Question, plan: Plan, sentences: list[str]) -> str | None:
    if plan.highlights:
        sentences = [_highlighted(text) for text in sentences]
    if plan.capital_words:
        sentences = [*(text.upper() for text in sentences[:2]), *sentences[2:]]
    if plan.bullets:
        if plan.paragraphs > 1 or plan.sections or len(sentences) != plan.bullets:
            return None
        body = "\n".join(f"* {text}" for text in sentences)
    elif plan.sections is not None:
        count, splitter = plan.sections
        body = "\n".join(f"{splitter} {i + 1}\n{block}" for i, block in enumerate(_split(sentences, count)))
    else:
        paragraphs = _split(sentences, plan.paragraphs)
        if len(paragraphs) < plan.paragraphs:
            return None
        body = plan.paragraph_break.join(paragraphs)
    if plan.title:
        body = f"<<About {question.entity.name}>>\n{body}"
    if plan.postscript is not None:
        body = f"{body}\n{plan.postscript} {rng.choice(asides.POSTSCRIPTS[plan.language])}"
    return body


def _split(sentences: list[str], count: int) -> list[str]:
    """Parts sentences into `count` blocks, as even as can be, the longer ones first; fewer if they are too few."""
    count = min(count, len(sentences))
    size, longer = divmod(len(sentences), count)
    rest = iter(sentences)
    return [" ".join(itertools.islice(rest, size + (block < longer))) for block in range(count)]


def _highlighted(text: str) -> str:
    """Puts the last two words of a sentence between asterisks."""
    words = text.rstrip(".").split()
    return " ".join([*words[:-2], f"*{' '.join(words[-2:])}*."])
