"""Generated cases for the comparison with the reference: parameters and adversarial responses, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

WORDS = (
    "the rocket orbit planet Moon star light and water river of a in never However NASA USA it is green I don't "
    "well-known x1 e.g. Dr. Smith U.S. 3.14 1,000 no. etc. AI-based O'NEIL café ÉCOLE naïve straße İstanbul"
).split()
SENTENCES = (
    "The rocket left the launch pad at dawn.",
    "Dr. Smith lives in the U.S. and works for NASA.",
    "Is this the end? No! It is not.",
    'He said "stop." Then he left.',
    "the whole answer is written without any capital letter.",
    "THE WHOLE ANSWER IS WRITTEN IN CAPITAL LETTERS, EVERY WORD OF IT.",
    "El cohete despegó al amanecer y la luna brillaba sobre el mar.",
    "La fusée a décollé à l'aube et la lune brillait sur la mer.",
    "Die Rakete startete im Morgengrauen, und der Mond schien über dem Meer.",
    "ロケットは夜明けに打ち上げられました。",
    "Ракета стартовала на рассвете.",
    "My answer is yes.",
    "my answer is no.",
    "My answer is maybe.",
    "Any other questions?",
    "Is there anything else I can help with?",
    "However, it rained at 5 p.m. on Friday.",
    "Rocket rocket ROCKET rockets sprocket.",
    "\"However\" is a word; however, 'rocket's too.",
    "It costs $3.50... or more?!",
)
FRAGMENTS = (
    "* first point", "- second point", "*bold start* and more", "** not a bullet", "  * indented", "*", "-", "* ",
    "---", "*highlighted part*", "**strong part**", "* *", "****", "*a**b*", "***", "***\n***", "******",
    "text ****** text", "********", "<<A title>>", "<< >>", "<<>>", "<<a\nb>>", "<<<nested>>>", "[address]",
    "[name] [date]", "[]", "[a\nb]", "P.S. do not forget", "p. s. lower", "P.P.S more", "P. P. S. spaced", "PS no dots",
    "Section 1", "SECTION 2\ntext", "Section3", "section 4", "Section ٣", "Sections 1", '{"a": 1}', '{"a": "b, c"}',
    "```json\n{\"a\": [1, 2]}\n```", "```\n[1]\n```", "```JSON\n{}\n```", "{'a': 1}", "NaN", "3", '"quoted"', "null",
    '"', '""', '"All of it is quoted."', "“curly quotes”", "however the second", "'However, quoted", "rocket.",
    "# Heading", "1. one\n2. two", "\ttab", "\u00a0", "\u2028", "emoji 🚀 here", "A,B", "，", "no comma", "eeeeeee",
    "EEE", "R.O.C.K.E.T.", "a_b c_d", "\r\n", "A", "!", "...", "!?", "12345", "§ 12", "Ⅷ ⅷ", "ǅ", "ﬁne",
)  # fmt: skip
JOINTS = (" ", "\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n***\n", " *** ", "\n******\n", "", "\n \n", "\r\n\r\n")
PROMPTS = ("Write about the rocket.", "  What is NASA?\nSay it. ", "İstanbul ÉCOLE", "Tell me, please")


def _relation(rng: random.Random) -> str:
    return rng.choice(("less than", "at least"))


PARAMETERS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "keywords:existence": lambda r: {"keywords": r.sample(_plain_words(), r.randint(1, 3))},
    "keywords:frequency": lambda r: {
        "keyword": r.choice((*_plain_words(), " rocket ")),
        "frequency": r.randint(1, 4),
        "relation": _relation(r),
    },
    "keywords:forbidden_words": lambda r: {"forbidden_words": r.sample(_plain_words(), r.randint(1, 3))},
    "keywords:letter_frequency": lambda r: {
        "letter": r.choice("aeExzT"),
        "let_frequency": r.randint(1, 12),
        "let_relation": _relation(r),
    },
    "language:response_language": lambda r: {
        "language": r.choice(("en", "es", "fr", "de", "ja", "ru", "it"))
    },
    "length_constraints:number_sentences": lambda r: {
        "num_sentences": r.randint(1, 7),
        "relation": _relation(r),
    },
    "length_constraints:number_paragraphs": lambda r: {"num_paragraphs": r.randint(1, 4)},
    "length_constraints:number_words": lambda r: {"num_words": r.randint(1, 45), "relation": _relation(r)},
    "length_constraints:nth_paragraph_first_word": lambda r: {
        "num_paragraphs": (n := r.randint(1, 4)),
        "nth_paragraph": r.randint(1, n),
        "first_word": r.choice(("however", "The", "rocket", "A", "[address]", "*", "3")),
    },
    "detectable_content:number_placeholders": lambda r: {"num_placeholders": r.randint(1, 4)},
    "detectable_content:postscript": lambda r: {
        "postscript_marker": r.choice(("P.S.", "P.P.S", " P.S. ", "PS"))
    },
    "detectable_format:number_bullet_lists": lambda r: {"num_bullets": r.randint(1, 5)},
    "detectable_format:constrained_response": lambda r: {},
    "detectable_format:number_highlighted_sections": lambda r: {"num_highlights": r.randint(1, 4)},
    "detectable_format:multiple_sections": lambda r: {
        "section_spliter": r.choice(("Section", "SECTION", " Section ", "Day")),
        "num_sections": r.randint(1, 3),
    },
    "detectable_format:json_format": lambda r: {},
    "detectable_format:title": lambda r: {},
    "combination:two_responses": lambda r: {},
    "combination:repeat_prompt": lambda r: {"prompt_to_repeat": r.choice(PROMPTS)},
    "startend:end_checker": lambda r: {
        "end_phrase": r.choice(
            ("Any other questions?", " rocket. ", "Is there anything else I can help with?")
        )
    },
    "change_case:capital_word_frequency": lambda r: {
        "capital_frequency": r.randint(1, 6),
        "capital_relation": _relation(r),
    },
    "change_case:english_capital": lambda r: {},
    "change_case:english_lowercase": lambda r: {},
    "punctuation:no_comma": lambda r: {},
    "startend:quotation": lambda r: {},
}


def _plain_words() -> tuple[str, ...]:
    """Words without characters that mean something in a regular expression: the reference does not escape them."""
    return ("rocket", "Moon", "star", "however", "the", "café", "rock", "well-known", "AI", "of a")


def response(rng: random.Random, ifeval_id: str, params: dict[str, Any]) -> str:
    """One response: half are a few fragments, half an attempt to follow that may be off by one; some are blank."""
    if rng.random() < 0.02:
        return rng.choice(("", " ", "\n\n", "*", "\t\n*"))
    text = _attempt(rng, ifeval_id, params) if rng.random() < 0.5 else _fragments(rng, rng.choice(JOINTS))
    change = rng.random()
    if change < 0.07:
        text = text.lower()
    elif change < 0.14:
        text = text.upper()
    elif change < 0.18:
        text = f'"{text}"'
    elif change < 0.26:
        text = f"Sure, here it is:\n{text}\nI hope this helps!"
    elif change < 0.3:
        text = f"**{text}**"
    elif change < 0.34:
        text = rng.choice(("\n", " ", "\n\n", "\t")) + text + rng.choice(("\n", " ", "\n\n"))
    return text


def _fragments(rng: random.Random, joint: str) -> str:
    text = ""
    for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7))):
        kind = rng.random()
        if kind < 0.4:
            text += rng.choice(SENTENCES)
        elif kind < 0.8:
            text += rng.choice(FRAGMENTS)
        else:
            text += " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
        text += joint if rng.random() < 0.7 else rng.choice(JOINTS)
    return text if rng.random() < 0.3 else text.removesuffix(joint)


def _attempt(rng: random.Random, ifeval_id: str, params: dict[str, Any]) -> str:
    """A response that follows the instruction, or misses it narrowly."""
    numbers = [value for value in params.values() if isinstance(value, int)]
    count = max(0, (numbers[0] if numbers else 2) + rng.choice((-1, 0, 0, 0, 1)))
    phrase = rng.choice(SENTENCES).strip(".")
    several = [rng.choice(SENTENCES) for _ in range(count)]
    if ifeval_id.endswith(
        ("number_bullet_lists", "number_placeholders", "highlighted_sections", "multiple_sections")
    ):
        shapes = {
            "lists": ("* {}", "- {}", "  * {}", "*{}", "-{}", "** {}", "\n* {}"),
            "ders": ("[{}]", "see [{}] there", "[[{}]]", "[]{}"),
            "ted_sections": ("*{}*", "**{}**", "***{}***", "a *{}* b"),
            "ple_sections": ("Section # {}", "SECTION #\n{}", "Day #{}", "Section#: {}", "section # {}"),
        }
        shape = rng.choice(next(forms for tail, forms in shapes.items() if ifeval_id.endswith(tail)))
        joint = rng.choice(("\n", "\n", " ", "\n\n"))
        return joint.join(shape.replace("#", str(n)).format(text) for n, text in enumerate(several, start=1))
    if ifeval_id.endswith("number_paragraphs"):
        return rng.choice(("\n***\n", " *** ", "***", "\n****\n")).join(several)
    if ifeval_id.endswith("nth_paragraph_first_word"):
        nth = params["nth_paragraph"] - 1
        opening = rng.choice(("{} it is.", "'{}' it is.", '"{}, it is."', "{}: yes", "{}s", "{}", "{}? {}"))
        blocks = [rng.choice(SENTENCES) for _ in range(count)]
        if nth < count:
            blocks[nth] = opening.format(params["first_word"], "No")
        return rng.choice(("\n\n", "\n\n", "\n\n\n", "\n \n", "\n\n\n\n")).join(blocks)
    if ifeval_id.endswith("json_format"):
        value = {"title": phrase, "items": several, "n": count, "x": None, "é": 1.5}
        fence = rng.choice(
            ("{}", "```json\n{}\n```", "```\n{}```", "```JSON{}```", "JSON: {}", "```Json\n{}\n```\nDone.")
        )
        return fence.format(json.dumps(value, indent=rng.choice((None, 2)), ensure_ascii=rng.random() < 0.5))
    if ifeval_id.endswith("title"):
        return rng.choice(
            ("<<{}>>\ntext", "text <<{}>> text", "<{}>", "<< {} >", "<<{}\n>>", "*<<{}>>*")
        ).format(phrase)
    if ifeval_id.endswith("two_responses"):
        first, second = rng.choice(SENTENCES), rng.choice(SENTENCES)
        return rng.choice(
            ("{}\n******\n{}", "{}******{}******", "{} ***** {}", "******{}\n******\n{}")
        ).format(first, second)
    if ifeval_id.endswith(
        ("english_capital", "english_lowercase", "response_language", "capital_word_frequency")
    ):
        sentences = SENTENCES[:1] + SENTENCES[4:10] if rng.random() < 0.7 else SENTENCES
        text = " ".join(rng.choice(sentences) for _ in range(rng.randint(1, 3)))
        capitals = " ".join(rng.choice(("NASA", "AI", "A-B", "X1", "U.S.", "OK,")) for _ in range(count))
        cased = {
            "capital": text.upper(),
            "lowercase": text.lower(),
            "frequency": f"{capitals} is {text.lower()}",
        }
        return next((shown for tail, shown in cased.items() if ifeval_id.endswith(tail)), text)
    if ifeval_id.endswith("quotation"):
        return f'"{_fragments(rng, " ")}"'
    wanted = [text for value in params.values() for text in (value if isinstance(value, list) else [value])]
    texts = [text for text in wanted if isinstance(text, str) and text not in ("less than", "at least")]
    if ifeval_id.endswith(("end_checker", "repeat_prompt", "postscript")):
        return rng.choice(("{1} {0}", "{0} {1}", '{0}\n{1}"', "{1}\n{0}\n\n", "{0}{1}")).format(
            phrase, texts[0]
        )
    if texts:
        parts = texts * count + [rng.choice(SENTENCES)]
        rng.shuffle(parts)
        return rng.choice((" ", ", ", "", "\n")).join(parts)
    return " ".join(several) or "My answer is maybe."


def generate(count: int, seed: int) -> list[tuple[str, dict[str, Any], str]]:
    """So many cases (id, parameters, response), going round all 25 ids."""
    rng = random.Random(seed)
    ids = sorted(PARAMETERS)
    cases = []
    for number in range(count):
        ifeval_id = ids[number % len(ids)]
        params = PARAMETERS[ifeval_id](rng)
        cases.append((ifeval_id, params, response(rng, ifeval_id, params)))
    return cases


def corners() -> list[tuple[str, dict[str, Any], str]]:
    """Every fragment alone, after a line, and before a bullet, for every id whose check needs no language."""
    rng = random.Random(0)
    found = []
    for ifeval_id in sorted(PARAMETERS):
        if ifeval_id.endswith(("response_language", "english_capital", "english_lowercase")):
            continue
        for fragment in FRAGMENTS:
            for text in (fragment, f"It is so.\n{fragment}", f"{fragment}\n- rocket"):
                params = PARAMETERS[ifeval_id](rng)
                # Small numbers, which such short text can reach.
                small = {
                    name: 1 + n % 2 if type(n) is int and name != "nth_paragraph" else n
                    for name, n in params.items()
                }
                if "nth_paragraph" in small:
                    small["nth_paragraph"] = small["num_paragraphs"]
                found.append((ifeval_id, small, text))
    return found
