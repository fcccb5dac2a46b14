"""What a person sees of a text, whatever code points it is written in.

Checks of our own look at a text through here and nowhere else: `plain` for how it is laid out, `folded` for its words.
IFEval's types look at the text as it is, since they must agree with the reference to the letter.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterator
from html import unescape
from html.entities import html5

import regex

# What Unicode calls compatible but a reader takes for the same letters: full and half width, styled letters of
# mathematics, Arabic forms by place, ligatures. Not x² for x2, ① for 1 or ™ for TM.
_SAME_LETTERS = ("<wide>", "<narrow>", "<font>", "<initial>", "<medial>", "<final>", "<isolated>")

_MARKS = {
    **dict.fromkeys("‘’‚‛ʼ′`´", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("\u2010\u2011\u2212\ufe63", "-"),
    "…": "...",
    # Letters of one look that Arabic and Persian keyboards write differently.
    "\u06cc": "\u064a",
    "\u06a9": "\u0643",
    # Russian is mostly printed without the two dots.
    "ё": "е",
    "Ё": "Е",
}
_LINE_ENDS = regex.compile(r"\r\n|[\r\x0b\x0c\x85\u2028]")
# Characters without a width. A joiner inside of one emoji is a part of it.
_INVISIBLE = regex.compile(
    r"(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d"
    r"|[\p{Default_Ignorable_Code_Point}\ufeff--\u200d]",
    regex.VERSION1,
)
# Vowels that Arabic and Hebrew may write or leave out, the stroke that makes an Arabic word wider, stress in Cyrillic.
_POINTS = regex.compile(
    r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]"
    # Armenian writes the marks of a question, an exclamation and of stress inside of a word.
    r"|[\u055b\u055c\u055e]"
    r"|(?<=\p{Script=Cyrillic})[\u0300\u0301]"
)
# In Thai the ring of a vowel may be typed before or behind the tone.
_RING_AND_TONE = regex.compile(r"(\u0e4d)([\u0e48-\u0e4b])")
_QUOTED = regex.compile(r"^[ \t]{0,3}(?:>[ \t]?)+", regex.MULTILINE)
_INSIDE = r"(?=\S)((?:(?!\n[ \t]*\n).)+?)(?<=\S)"
_EMPHASIS = (
    regex.compile(rf"(?<![*\\])(\*{{1,3}}){_INSIDE}(?<!\*)\1(?!\*)", regex.DOTALL),
    regex.compile(rf"(?<![\p{{L}}\p{{N}}_\\])(_{{1,3}}){_INSIDE}(?<!_)\1(?![\p{{L}}\p{{N}}_])", regex.DOTALL),
    regex.compile(rf"(?<!~)(~~){_INSIDE}(?<!~)\1(?!~)", regex.DOTALL),
    regex.compile(rf"(?<!`)(`{{1,2}}){_INSIDE}(?<!`)\1(?!`)", regex.DOTALL),
)
_PRODUCT = regex.compile(r"(?<=\p{Nd})\*(?=\p{Nd})")
_ENTITY = regex.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,31}));")
# A stroke before a mark that keeps it from being one of Markdown, or before a line end that is to be kept.
_STROKE = regex.compile(r"\\([!-/:-@\[-`{-~\n])")
_APART = r"br|hr|p|div|li|[uod]l|d[dt]|t[drh]|table|thead|tbody|h[1-6]|blockquote|pre|details|summary|section"
# Those of HTML that a model puts into prose.
_PROSE = rf"{_APART}|a|abbr|b|code|del|em|font|i|ins|kbd|mark|q|s|small|span|strike|strong|su[bp]|tt|u|var"
_ATTRIBUTES = r"(?:\s+[A-Za-z-]+=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s*/?>"
_ANY_TAG, _PROSE_TAG = (
    regex.compile(rf"</?(?:(?P<apart>{_APART})|{names}){_ATTRIBUTES}", regex.IGNORECASE)
    for names in (r"[a-z][a-z0-9]*", _PROSE)
)
_BLANKS = regex.compile(r"(?P<paragraph>[^\S\n]*\n\s*\n\s*)|\s+")
FENCE = regex.compile(r"^[ ]{0,3}(`{3,}|~{3,})(.*)$", regex.MULTILINE)
ADDRESS = regex.compile(
    r"(?:https?://|www\.)[^\s<>\"\u3002\uff0c]*[^\s<>\".,;:!?)\]\u3002\uff0c]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
)
"""Addresses of pages and of mail."""

GERSHAYIM = regex.compile(r"(?<=\p{Script=Hebrew})[\"”](?=\p{Script=Hebrew})")
"""What looks like a quotation mark inside of an abbreviation of Hebrew."""

MARKDOWN = frozenset("*_~`>\\")
"""The marks that `unmarked` and `unescaped` may take away."""


def plain(text: str) -> str:
    """The text with line ends as line feeds, letters composed, and what has no width left out."""
    text = _LINE_ENDS.sub("\n", text).replace("\u2029", "\n\n")
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def unmarked(text: str) -> str:
    """A plain text without markdown's marks around words, inside of them, or of quotations."""
    if MARKDOWN.isdisjoint(text):
        return text
    # A star between digits is a product.
    text = _PRODUCT.sub("×", _QUOTED.sub("", text))
    for pattern in _EMPHASIS:
        # Marks stand inside marks, as in **_this_**.
        for _ in range(3):
            text, changed = pattern.subn(r"\2", text)
            if not changed:
                break
    return text


def untagged(text: str, *, prose: bool = False) -> str:
    """A text without tags, of HTML's prose alone or of any name; those of blocks and of line breaks leave a blank."""
    if "<" not in text:
        return text
    return str((_PROSE_TAG if prose else _ANY_TAG).sub(lambda tag: " " if tag["apart"] else "", text))


def unescaped(text: str) -> str:
    """A plain text with the characters that HTML's entities, and strokes before marks, stand for: what a reader sees.

    Where marks and tags are to be taken away, that comes first: those that are written so are meant to be seen.
    """
    text = _STROKE.sub(r"\1", text)
    if "&" not in text or ";" not in text:
        return text
    seen = _ENTITY.sub(
        lambda found: html5.get(f"{found[1]};", found[0]) if found[1] else unescape(found[0]), text
    )
    return text if seen == text else plain(seen)


@functools.lru_cache(maxsize=512)
def folded(text: str, *, marked: bool = False, turkish: bool = False) -> str:
    """The text such that words are the same exactly if a reader takes them for the same, in any case.

    Args:
        text: Any text.
        marked: Whether markdown's marks are kept, and entities as they are spelled.
        turkish: Whether a capital I is that of the letter ı, which cannot be known from the text.
    """
    text = plain(text)
    if not marked:
        text = unescaped(unmarked(text))
    if turkish:
        text = text.replace("İ", "i").replace("I", "ı")
    if text.isascii():
        text = text.lower()
    else:
        text = _RING_AND_TONE.sub(r"\2\1", _POINTS.sub("", text.translate(_letters())))
        text = unicodedata.normalize("NFC", text.casefold()).replace("i\u0307", "i")
    return str(_BLANKS.sub(lambda found: "\n\n" if found["paragraph"] else " ", text))


def same_in_other_letters(word: str) -> Iterator[tuple[str, str]]:
    """The characters, beside the cases of a letter, that fold to letters of a folded word, and what each folds to."""
    for character, fold in _unusual().items():
        if any(letter in word for letter in fold):
            yield character, fold


@functools.cache
def _letters() -> dict[int, str]:
    """What `folded` writes for single characters."""
    table = dict(_MARKS)
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        kind, _, _ = unicodedata.decomposition(character).partition(" ")
        if kind in _SAME_LETTERS or (kind == "<compat>" and character.isalpha()):
            letters = unicodedata.normalize("NFKC", character)
            table[character] = "".join(_MARKS.get(each, each) for each in letters)
    return str.maketrans(table)


@functools.cache
def _unusual() -> dict[str, str]:
    found = {}
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x30000)):
        character = chr(code)
        fold = folded(character)
        if fold and (len(fold) > 1 or fold not in (character, character.lower())) and not fold.isspace():
            found[character] = fold
    return found


def unclosed(text: str) -> bool:
    """Whether a code fence is opened and not closed: so ends an answer that was cut off."""
    text, opened, since = plain(text), "", 0
    for line in FENCE.finditer(text):
        marks, rest = line[1], line[2]
        if not opened:
            # What follows a fence of backticks cannot have backticks; there it is code inside a line.
            if marks[0] == "~" or "`" not in rest:
                opened, since = marks, line.end(1)
        elif marks[0] == opened[0] and len(marks) >= len(opened) and not rest.strip():
            opened = ""
    # Some close it behind the last word.
    return bool(opened) and not text[since:].rstrip().endswith(opened)
