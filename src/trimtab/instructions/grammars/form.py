"""The form of the answer: JSON, title, bullets, highlights, sections, placeholders, what it starts and ends with."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import (
    ANY,
    ENDED,
    INK,
    SOMETHING,
    answer,
    either,
    literal,
    sentences_before,
    spelled,
    unended,
)

# A terminal cannot be recursive. Objects and arrays are nested no deeper than this.
_DEPTH = 5
_ESCAPED = r'\\["\\\/bfnrt]|\\u[0-9a-fA-F]{4}'
_OTHER = r'"\\\x00-\x1f\x7f'
_CHARACTER = rf"([^{_OTHER}]|{_ESCAPED})"


def _text() -> str:
    """The inside of a JSON string: four sentences, or fewer and a beginning."""
    free = rf"([^.!?{_OTHER}]|{_ESCAPED}|[^\p{{L}}.!?{_OTHER}][.!?])*"
    end = r"\p{L}[.!?]{1,3}[')\]]{0,2}"
    return f"(({free}{end}){{0,3}}{free}|({free}{end}){{4}})"


def json() -> Constraint:
    """A JSON object that is not empty, or an array of such, perhaps in a code fence."""
    terminals = [
        f'STRING: /"{_text()}"/',
        # A key has an end, so that an answer is not written into the first one.
        f'KEY: /"{_CHARACTER}{{1,60}}"/',
        r"SPACES: /([ ]|\n[ \t]{0,24})?/",
        r"NUMBER: /-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?([eE][-+]?[0-9]{1,3})?/",
        'VALUE0: STRING | NUMBER | "true" | "false" | "null" | "{}" | "[]"',
    ]
    for level in range(1, _DEPTH + 1):
        terminals += [
            f"MEMBER{level}: KEY /[ ]?:/ SPACES VALUE{level - 1}",
            f'OBJECT{level}: "{{" SPACES MEMBER{level} (SPACES "," SPACES MEMBER{level})* SPACES "}}"',
            f'ARRAY{level}: "[" SPACES VALUE{level - 1} (SPACES "," SPACES VALUE{level - 1})* SPACES "]"',
            f"VALUE{level}: VALUE0 | OBJECT{level} | ARRAY{level}",
        ]
    inner = _DEPTH - 1
    outer = f'OBJECT{_DEPTH} | "[" SPACES OBJECT{inner} (SPACES "," SPACES OBJECT{inner})* SPACES "]"'
    fenced = rf"/```(json)?\n/ ({outer}) /\n?```/"
    return Constraint.terminal(f"{outer} | {fenced}", definitions=terminals, exact=True)


def title() -> Constraint:
    """A title at the start: before it at most a mark or two, or the key of a JSON object."""
    name = r"<<[\p{L}\p{Nd}\"'][^\s<>]*([ ][^\s<>]+){0,9}>>"
    text = rf'(# |\*\*)?{name}["*]{{0,3}}(\n{{1,2}}|[ ]){INK}{ANY}'
    in_json = rf'(```json\n)?\{{\s{{0,6}}"[^"<\n]{{1,30}}" ?: ?"{name}{ANY}'
    return answer(f"{text}|{in_json}", exact=True)


def bullets(num_bullets: int) -> Constraint:
    """Exactly so many lines that start with * or -, of a few sentences at most.

    Before them there may be two headings and a line of two sentences, between two of them a line, after them anything.
    """
    blank = r"[\s\x1c-\x1f&&[^\n]]"
    mark = r"[ \t]{0,8}[*\-][ \t]{1,4}[^\s\x1c-\x1f\-.!?]"
    first = rf"{blank}{{0,8}}([^*\-\s\x1c-\x1f.!?]|\*\*)"
    line_break = r"\n"
    heading = first + unended(line_break)
    plain = first + sentences_before(2, line_break)
    newline = rf"\n({blank}{{0,8}}\n)?"
    bullet = mark + sentences_before(4, line_break)
    return answer(
        rf"\n{{0,2}}({heading}{newline}){{0,2}}({plain}{newline})?"
        rf"{bullet}({newline}({plain}{newline})?{bullet}){{{num_bullets - 1}}}({newline}{first}[^\n]*)*\n?",
        exact=True,
    )


def highlights(num_highlights: int) -> Constraint:
    """At least so many parts between stars, each in the sentence after the one before or at the start of the next."""
    # A star that starts a bullet would pair with the first star of a highlight that follows it directly.
    bullet = r"[ \t]{0,8}\*[ \t]{1,4}"
    free = rf"({unended('*')}(\n{bullet}[^*\s\x1c-\x1f.!?]{unended('*')})*)"
    gap = rf"({free}|{free}{ENDED}[ \n]{{1,2}})"
    words = r"[^*\s\x1c-\x1f]+([ ][^*\s\x1c-\x1f]+){0,4}"
    double, single = rf"\*\*{words}\*\*", rf"\*{words}\*"
    first = rf"({bullet}[^*\s\x1c-\x1f.!?])?{gap}({single}|{double}|\n{bullet}{double})|{bullet}{double}"
    # Two on one line have something between them that is more than a space.
    apart = rf"[ \t]{{0,4}}([^*\s\x1c-\x1f]|\n({bullet}[^*\s\x1c-\x1f.!?])?)"
    following = rf"({apart}{gap}({single}|{double}|\n{bullet}{double})|[ \t]{{0,4}}\n{bullet}{double})"
    return answer(rf"({first}){following}{{{num_highlights - 1}}}{ANY}", exact=True)


def sections(section_spliter: str, num_sections: int) -> Constraint:
    """Marks with the numbers from 1 on, each at the start of a line (in JSON: of a text), and some sentences after it.

    Before the first there may be a heading or a sentence.
    """
    mark = literal(section_spliter.strip())
    line = r"[^\n.!?]+[.!?]?\n{1,2}"
    intro = rf'(({line})?[#*\t ]{{0,6}}|(```json\n)?\{{\s{{0,6}}")'
    after = r'(\n{1,2}[#*\t ]{0,6}|"[^"\n]{0,8}")'
    inside = rf"{unended()}\p{{L}}{sentences_before(3)}"
    *others, last = [rf"{mark} {number}[^\p{{N}}]" for number in range(1, num_sections + 1)]
    return answer(
        f"{intro}{''.join(each + inside + after for each in others)}{last}{ANY}\\p{{L}}{ANY}", exact=True
    )


def placeholders(num_placeholders: int) -> Constraint:
    """At least so many names in square brackets, in the sentence after the one before or at the start of the next."""
    name = r"\[\p{L}[^\[\]\n]{0,40}\]"
    free = unended(r"\[")
    return answer(rf"(({free}|{free}{ENDED}[ \n]{{1,2}}){name}){{{num_placeholders}}}{ANY}", exact=True)


# After so many sentences comes what an answer has to end with.
_SENTENCES = 4


def postscript(postscript_marker: str) -> Constraint:
    """Some sentences, then the marker, at the start of a line or a sentence, and something after it."""
    marker = spelled(postscript_marker.strip())
    return answer(
        rf'{sentences_before(_SENTENCES)}[\n" (*]{{1,2}}{marker}[^\n]*\p{{L}}{ANY}', SOMETHING, exact=True
    )


def end_phrase(end_phrase: str) -> Constraint:
    """Some sentences, and the phrase after them."""
    wanted = end_phrase.strip()
    mark = "" if wanted.endswith('"') else '"?'
    return answer(
        rf'{sentences_before(_SENTENCES)}[\s"(*]{{1,2}}{spelled(wanted)}{mark}\s?',
        SOMETHING,
        exact=True,
    )


def quotes() -> Constraint:
    """Some sentences between double quotation marks."""
    return answer(
        rf'\s?"\s?{sentences_before(_SENTENCES)}"\s?', rf'\s?"{ANY}[^\s\x1c-\x1f"]{ANY}"\s?', exact=True
    )


def constrained(answers: Sequence[str]) -> Constraint:
    """One of some answers, perhaps with a mark before it and more text after it."""
    return answer(rf'[\s"*]{{0,3}}{either(answers)}(["*]{{0,2}}\s{ANY}|["*]{{0,3}})', exact=True)


def two_responses(separator: str) -> Constraint:
    """Two texts with the separator on a line between them. That they differ is nothing that this can say."""
    text = r"([^*]|\*{1,5}[^*])*[^*\s\x1c-\x1f]([^*]|\*{1,5}[^*])*"
    parted = rf"\n{{1,2}}{literal(separator)}\n{{1,2}}"
    return answer(rf"{text}{parted}{text}\n?", rf"{sentences_before(_SENTENCES)}{parted}{ANY}")


def repeat_prompt(prompt_to_repeat: str) -> Constraint:
    """The request, and something after it."""
    wanted = prompt_to_repeat.strip()
    cases = [case for case in (wanted, wanted.lower(), wanted.upper()) if case.lower() == wanted.lower()]
    return answer(rf"{either(cases)}[\s.:]\s?{SOMETHING}", exact=True)
