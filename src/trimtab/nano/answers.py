"""Answers written by program: true sentences about an entity, in the shape that instructions ask for.

`write_answer` is the teacher of nano. It turns instructions into a `Plan`, writes sentences and formats them; what it
returns satisfies the check of every instruction, or it returns None.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trimtab.instructions import Instruction
from trimtab.nano import asides
from trimtab.nano.questions import Question
from trimtab.nano.world import ATTRIBUTE_NAMES, normalise, sentence, words_of

DEFAULT_SENTENCES = (3, 4, 4, 5)
WORDS_PER_SENTENCE = 8
ATTEMPTS = 4


@dataclass
class Plan:
    """The shape of one answer; the defaults are those of an answer without instructions."""

    language: str = "en"
    sentences: tuple[int, int] | None = None
    words: tuple[int, int] | None = None
    paragraphs: int = 1
    paragraph_break: str = "\n\n"
    first_word: tuple[int, str] | None = None
    mentions: list[str] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)
    commas: bool = True
    highlights: int = 0
    capital_words: int = 0
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
    rng: random.Random, question: Question, instructions: Sequence[Instruction] = ()
) -> str | None:
    """Writes an answer that follows all instructions.

    Returns:
        The answer, or None when the instructions cannot be met together by this writer.
    """
    for _ in range(ATTEMPTS):
        plan = Plan()
        for instruction in instructions:
            _plan_for(rng, plan, instruction)
        answer = _write(rng, question, plan)
        if answer is not None and all(instruction.check(answer) for instruction in instructions):
            return answer
    return None


def _bounds(params: dict[str, object], most: int) -> tuple[int, int]:
    """The (smallest, largest) number that at_least, at_most or exactly allow, none above `most`."""
    if params.get("exactly") is not None:
        exactly = int(str(params["exactly"]))
        return exactly, exactly
    low, high = params.get("at_least"), params.get("at_most")
    return int(str(low or 1)), int(str(high or most))


def _related(relation: str, number: int, most: int) -> tuple[int, int]:
    return (number, most) if relation == "at least" else (1, number - 1)


def _plan_for(rng: random.Random, plan: Plan, instruction: Instruction) -> None:
    params = dict(instruction.params)
    match instruction.name:
        case "json":
            plan.json = True
        case "title":
            plan.title = True
        case "bullets":
            plan.bullets = params["num_bullets"]
        case "highlights":
            plan.highlights = params["num_highlights"]
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
            if params["capital_relation"] == "at least":
                plan.capital_words = params["capital_frequency"]
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
            plan.sentences = _related(params["relation"], params["num_sentences"], len(ATTRIBUTE_NAMES))
        case "sentences":
            plan.sentences = _bounds(params, len(ATTRIBUTE_NAMES))
        case "number_words":
            plan.words = _related(params["relation"], params["num_words"], 70)
        case "words":
            plan.words = _bounds(params, 70)
        case "concise":
            plan.words = (1, params["max_words"])
        case "verbose":
            plan.words = (params["min_words"], 90)
        case "number_paragraphs":
            plan.paragraphs, plan.paragraph_break = params["num_paragraphs"], "\n***\n"
        case "paragraphs":
            low, high = _bounds(params, 4)
            plan.paragraphs = rng.randint(low, max(low, min(high, low + 1)))
        case "nth_paragraph_first_word":
            plan.paragraphs = params["num_paragraphs"]
            plan.first_word = (params["nth_paragraph"], params["first_word"])


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
        low, high = plan.sentences
        spare = (plan.postscript is not None) + (plan.closing is not None)
        return max(1, rng.randint(low, min(high, low + 2)) - spare)
    if plan.words is not None:
        low, high = plan.words
        at_least, at_most = -(-low // (WORDS_PER_SENTENCE - 1)), max(1, high // (WORDS_PER_SENTENCE + 2))
        return rng.randint(min(at_least, at_most), min(max(at_least, at_most), at_least + 2))
    if question.attribute is not None:
        return rng.choice((1, 2, 3))
    return rng.choice(DEFAULT_SENTENCES)


def _sentences(rng: random.Random, question: Question, plan: Plan) -> list[str] | None:
    """The sentences of the body: facts, with asides at random places among them."""
    entity = question.entity
    extra = _asides(rng, plan)
    total = _count(rng, question, plan)
    if plan.sections is not None:
        total = max(total, plan.sections[0])
    total = max(total, plan.paragraphs)
    opening = []
    if question.choice is not None:
        opening = ["Yes." if question.choice else "No."]
    wanted = max(0 if extra else 1, total - len(extra) - len(opening))
    allowed = [name for name in ATTRIBUTE_NAMES if not (words_of(entity, name) & plan.banned)]
    if len(allowed) < wanted:
        if plan.sentences or plan.words or plan.bullets:
            return None
        wanted = len(allowed)
    chosen = rng.sample(allowed, wanted)
    if question.attribute in allowed and chosen:
        chosen = [question.attribute, *(name for name in chosen if name != question.attribute)][:wanted]
    elif chosen and chosen[0] == "need" and len(chosen) > 1:
        chosen[0], chosen[1] = chosen[1], chosen[0]
    written = [
        sentence(
            entity,
            name,
            plan.language,
            variant=rng.randrange(2),
            by_name=place == 0 or rng.random() < 0.15,
            commas=plan.commas,
        )
        for place, name in enumerate(chosen)
    ]
    for aside in extra:
        written.insert(rng.randint(min(1, len(written)), len(written)), aside)
    if any(word in normalise(text).split() for text in written for word in plan.banned):
        return None
    return opening + written


def _asides(rng: random.Random, plan: Plan) -> list[str]:
    templates = asides.WITH_WORD[plan.language]
    order = rng.sample(templates, len(templates))
    if len(plan.mentions) > len(order):
        order = order * len(plan.mentions)
    written = [order[place].format(w=word) for place, word in enumerate(plan.mentions)]
    if plan.placeholders:
        names = rng.sample(asides.PLACEHOLDER_FIELDS, plan.placeholders)
        fields = " and ".join(f"[{name}]" for name in names)
        written.append(rng.choice(asides.WITH_PLACEHOLDERS[plan.language]).format(fields=fields))
    return written


def _as_json(question: Question, plan: Plan, sentences: list[str]) -> str | None:
    if plan.paragraphs > 1 or plan.sections or plan.bullets or plan.twice or plan.closing or plan.repeat:
        return None
    sentences = _highlighted(sentences, plan.highlights)
    if not plan.commas:
        return json.dumps({"answer": " ".join(sentences)}, ensure_ascii=False)
    content: dict[str, object] = {"topic": question.entity.name, "facts": sentences}
    if plan.title:
        content = {"title": f"<<{question.entity.name}>>", **content}
    return json.dumps(content, ensure_ascii=False)


def _as_text(rng: random.Random, question: Question, plan: Plan, sentences: list[str]) -> str | None:
    sentences = _highlighted(sentences, plan.highlights)
    sentences = _capitalised(sentences, plan.capital_words)
    blocks: Iterable[str]
    if plan.bullets:
        if plan.paragraphs > 1 or plan.sections or len(sentences) != plan.bullets:
            return None
        body = "\n".join(f"* {text}" for text in sentences)
    elif plan.sections is not None:
        count, splitter = plan.sections
        blocks = (f"{splitter} {i + 1}\n{block}" for i, block in enumerate(_split(rng, sentences, count)))
        body = "\n".join(blocks)
    else:
        paragraphs = _split(rng, sentences, plan.paragraphs)
        if len(paragraphs) < plan.paragraphs:
            return None
        if plan.first_word is not None:
            nth, word = plan.first_word
            start = rng.choice(asides.WORD_FIRST).format(W=word[0].upper() + word[1:])
            paragraphs[nth - 1] = f"{start} {paragraphs[nth - 1]}"
        body = plan.paragraph_break.join(paragraphs)
    if plan.title:
        body = f"<<{rng.choice(('About', 'The story of', 'Facts about'))} {question.entity.name}>>\n{body}"
    if plan.postscript is not None:
        body = f"{body}\n{plan.postscript} {rng.choice(asides.POSTSCRIPTS[plan.language])}"
    return body


def _split(rng: random.Random, sentences: list[str], count: int) -> list[str]:
    """Parts sentences into `count` blocks of at least one each, as long as there are enough."""
    count = min(count, len(sentences))
    cuts = [0, *sorted(rng.sample(range(1, len(sentences)), count - 1)), len(sentences)]
    return [" ".join(sentences[start:end]) for start, end in itertools.pairwise(cuts)]


def _highlighted(sentences: list[str], count: int) -> list[str]:
    """Puts the last two words of the first `count` sentences between asterisks, more than once if they are few."""
    marked = list(sentences)
    for place in range(min(count, len(marked))):
        words = marked[place].rstrip(".").split()
        marked[place] = " ".join([*words[:-2], f"*{' '.join(words[-2:])}*."])
    return marked


def _capitalised(sentences: list[str], words: int) -> list[str]:
    """Writes the first sentences in capitals until at least `words` words are."""
    written = []
    for text in sentences:
        written.append(text.upper() if words > 0 else text)
        words -= len([word for word in text.split() if len(word) > 1])
    return written
