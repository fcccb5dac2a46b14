"""The form of the answer: JSON, title, bullets, highlights, sections, placeholders, what it starts and ends with."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.constraint import Constraint
from trimtab.instructions.grammars.pieces import (
    ANY,
    INK,
    PATIENCE,
    SOMETHING,
    answer,
    either,
    literal,
    spelled,
)

# A terminal cannot be recursive. Objects and arrays are nested no deeper than this.
_DEPTH = 5
_CHARACTER = r'([^"\\\x00-\x1f\x7f]|\\["\\\/bfnrt]|\\u[0-9a-fA-F]{4})'


def json() -> Constraint:
    """A JSON object or array that is not empty, perhaps in a code fence."""
    terminals = [
        f'STRING: /"{_CHARACTER}*"/',
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
    outer = f"OBJECT{_DEPTH} | ARRAY{_DEPTH}"
    fenced = rf"/```(json)?\n/ ({outer}) /\n?```/"
    return Constraint.terminal(f"{outer} | {fenced}", definitions=terminals, exact=True)


def title() -> Constraint:
    """A title at the start: before it at most a mark or two, or the key of a JSON object."""
    name = r"<<[^\s<>][^\n<>]*>>"
    text = rf'[^\p{{L}}\p{{N}}<]{{0,8}}{name}["*]{{0,3}}(\n{{1,2}}|[ ]){INK}{ANY}'
    in_json = rf'(```json\n)?\{{\s{{0,6}}"[^"<\n]{{1,30}}" ?: ?"{name}{ANY}'
    return answer(f"{text}|{in_json}", exact=True)


def bullets(num_bullets: int) -> Constraint:
    """Exactly so many lines that start with * or -, after at most three other lines, with at most two between."""
    blank = r"[\s\x1c-\x1f&&[^\n]]"
    plain = rf"{blank}{{0,8}}([^*\-\s\x1c-\x1f]|\*\*)[^\n]*"
    bullet = r"[ \t]{0,8}([*\-][ \t]{1,4}[^\s\x1c-\x1f\-]|-[^\s\x1c-\x1f\-]|\*[^\s\x1c-\x1f*])[^\n]*"
    newline = rf"\n({blank}{{0,8}}\n)?"
    return answer(
        rf"\n{{0,2}}({plain}{newline}){{0,3}}{bullet}({newline}({plain}{newline}){{0,2}}{bullet}){{{num_bullets - 1}}}"
        rf"({newline}{plain})*\n?",
        exact=True,
    )


def highlights(num_highlights: int) -> Constraint:
    """At least so many parts between stars, each within some hundred characters of the one before."""
    # A star that starts a bullet would pair with the first star of a highlight that follows it directly.
    bullet = r"[ \t]{0,8}\*[ \t]{1,4}"
    free = rf"([^*]|\n{bullet}[^*\s\x1c-\x1f])"
    gap = rf"{free}{{0,{PATIENCE}}}([^*\s]{{0,40}}[ \n])?"
    double = r"\*\*[^*\s\x1c-\x1f][^\n*]{0,80}\*\*"
    single = r"\*[^*\s\x1c-\x1f][^\n*]{0,80}\*"
    first = rf"({bullet}[^*\s\x1c-\x1f])?{gap}({single}|{double}|\n{bullet}{double})|{bullet}{double}"
    # Two on one line have something between them that is more than a space.
    apart = rf"[ \t]{{0,4}}([^*\s\x1c-\x1f]|\n({bullet}[^*\s\x1c-\x1f])?)"
    following = rf"({apart}{gap}({single}|{double}|\n{bullet}{double})|[ \t]{{0,4}}\n{bullet}{double})"
    return answer(rf"({first}){following}{{{num_highlights - 1}}}{ANY}", exact=True)


def sections(section_spliter: str, num_sections: int) -> Constraint:
    """Marks with the numbers from 1 on, each at the start of a line (in JSON: of a text), with something after it."""
    mark = literal(section_spliter.strip())
    intro = r'(([^\n]{1,200}\n{1,2}){0,2}[#*\t ]{0,6}|(```json\n)?\{\s{0,6}")'
    after = r'(\n[#*\t ]{0,6}|")'
    text = rf"({ANY}\p{{L}}{ANY})"
    marked = [rf"{mark} {number}[^\p{{N}}]" for number in range(1, num_sections + 1)]
    return answer(intro + f"{text}{after}".join(marked) + text, exact=True)


def placeholders(num_placeholders: int) -> Constraint:
    """At least so many names in square brackets, each within some hundred characters of the one before."""
    name = r"\[\p{L}[^\[\]\n]{0,40}\]"
    return answer(
        rf"([^\[]{{0,{PATIENCE}}}([^\[\s]{{0,40}}[ \n])?{name}){{{num_placeholders}}}{ANY}", exact=True
    )


def postscript(postscript_marker: str) -> Constraint:
    """Something, then the marker, at the start of a line or a sentence, and something after it."""
    marker = spelled(postscript_marker.strip())
    return answer(rf'{SOMETHING}[\n" (*]{marker}[^\n]*\p{{L}}{ANY}', exact=True)


def end_phrase(end_phrase: str) -> Constraint:
    """Something, and the phrase after it."""
    wanted = end_phrase.strip()
    mark = "" if wanted.endswith('"') else '"?'
    return answer(rf'{SOMETHING}[\s"(*]{spelled(wanted)}{mark}\s?', exact=True)


def quotes() -> Constraint:
    """Something between double quotation marks."""
    return answer(rf'\s?"{ANY}[^\s\x1c-\x1f"]{ANY}"\s?', exact=True)


def constrained(answers: Sequence[str]) -> Constraint:
    """One of some answers, perhaps with a mark before it and more text after it."""
    return answer(rf'[\s"*]{{0,3}}{either(answers)}(["*]{{0,2}}\s{ANY}|["*]{{0,3}})', exact=True)


def two_responses(separator: str) -> Constraint:
    """Two texts with the separator on a line between them. That they differ is nothing that this can say."""
    text = r"([^*]|\*{1,5}[^*])*[^*\s\x1c-\x1f]([^*]|\*{1,5}[^*])*"
    return answer(rf"{text}\n{{1,2}}{literal(separator)}\n{{1,2}}{text}\n?")


def repeat_prompt(prompt_to_repeat: str) -> Constraint:
    """The request, and something after it."""
    wanted = prompt_to_repeat.strip()
    cases = [case for case in (wanted, wanted.lower(), wanted.upper()) if case.lower() == wanted.lower()]
    return answer(rf"{either(cases)}[\s.:]\s?{SOMETHING}", exact=True)
