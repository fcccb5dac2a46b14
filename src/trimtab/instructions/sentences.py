"""The sentences of an answer as a reader counts them, in any script.

Of the marks that can end a sentence, some do so wherever they stand: 。 and । and ؟. A full stop, an exclamation or a
question mark of other scripts ends one before white space, unless what follows goes on with it: a small letter after
speech (``"Stop!" he said.``), or anything after a full stop that belongs to its word, which `stops` tells.
`benchmarks/sentences.py` compares this with kept libraries.
"""

from __future__ import annotations

from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions import fullstop, onecase, stops
from trimtab.instructions.lexicon import Lexicon
from trimtab.instructions.prose import blocks
from trimtab.instructions.text import ADDRESS, GERSHAYIM, plain, unescaped

# Marks that end a sentence without white space behind them: ideographic, full width, Indic, Arabic, Armenian, Khmer,
# Tibetan, Mongolian, Ol Chiki.
_ALWAYS = "。！？｡．।॥؟۔\u0589\u1362\u1367\u1368\u104b\u17d4\u17d5\u0f0d\u0f0e\u1803\u1c7e\u1c7f"
# A shad of Tibetan closes a clause; the sentence ends with it where the verb before it is a last one.
_SHAD = "\u0f0d"
_LAST_VERBS = regex.compile(r"(?:^|[་།\s])(?:ཡིན|མིན|ཡོད|མེད|རེད|འདུག|སོང|བྱུང|ཐུབ|[གངདནབམརལསཏའ]ོ)་?$")
_CLOSING = "\"'\u2019\u201d\u00bb\u203a)\\]}」』】〕）》〉*_~`$"
_OPENING = "\"'\u2018\u201c\u201e\u201a\u00ab\u00bb\u2039\u203a(\\[{「『【〔（《〈¿¡*_~`"
_BRACKETS = {")": "(", "]": "[", "）": "（", "】": "【", "〕": "〔"}
_QUOTES = "\"'\u2019\u201d\u201c\u00ab\u00bb\u2039\u203a」』"
_OPENING_QUOTES = "\"'\u2018\u201c\u201e\u201a\u00ab\u00bb\u2039\u203a「『"
_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u200d\ufe0f--[\p{Nd}]]"
_NOTE = r"\[(?:\p{Nd}{1,3}|\^[^\]\s]+)\]|[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]{1,3}"
_END = regex.compile(
    rf"(?P<mark>[{_ALWAYS}.!?\u2026\u203c\u2047-\u2049]+"
    r"|(?<=\p{Greek})[;\u037e]|(?<=\p{Armenian}):(?=\s+\p{Lu})|(?<=[\p{Devanagari}\p{Bengali}])\|{1,2}"
    rf"|(?P<smile>:-?[)D(]|;-?\)|{_EMOJI}+))"
    rf"(?P<close>(?:[ \u00a0\u202f](?=\u00bb(?!\p{{L}})))?"
    rf"(?:[{_CLOSING}]|[\u201c\u00ab\u2039](?![\p{{L}}\p{{N}}])|{_NOTE})*)"
    r"(?P<blank>\s*)"
    rf"(?=(?P<opened>[{_OPENING}]*)(?:{_EMOJI}+[{_OPENING}\s]*)?(?P<dash>[\u2014\u2013-]?)\s*(?P<next>\S?))",
    regex.VERSION1,
)
_NUMBER = regex.compile(r"[*_(\[]*(\p{Nd}{1,2})\.[*_]*")
_LETTERS = regex.compile(r"(?:\p{L}[.!?]\s*)+")
_HAS_WORD = regex.compile(r"[\p{L}\p{N}]")
_CODE = regex.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", regex.DOTALL)
_IMAGE = regex.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = regex.compile(r"\[([^\]]+)\]\([^)]*\)")
# A formula, with the stop that closes a sentence.
_FORMULA = regex.compile(
    r"(?<![\p{L}\p{N}$\\])(\${1,2})(?=\S)[^$]{1,400}?(?<=[^\s.])(\.?)\1(?![\p{L}\p{N}$])"
    r"|\\(?:\(|\[)(?s:.{1,400}?)(\.?)\s*\\(?:\)|\])"
)
_SPACED_DOTS = regex.compile(r"\s?\.(?:[ \u00a0]\.){2,}")
# A name or a title inside of a sentence, which goes on behind it: the film "Stop! Or go" is old.
_EMBEDDED = regex.compile(
    r"(?<=[\p{L}\p{N}][ \u00a0])(?:«[^«»]{1,80}»|“[^“”]{1,80}”|„[^„“”]{1,80}[“”]|\"[^\"]{1,80}\"|'[^']{1,80}')"
    r"(?=[,;]?\s*\p{Ll})|(?<![\p{L}\p{N}*_])(\*{1,2}|_)(?![\s*_])[^*_]{1,80}\1(?=[,;]?\s*\p{Ll})"
    r"|《[^《》]{1,80}》|〈[^〈〉]{1,80}〉"
)
_MARKED = frozenset("«“„\"'*_《〈")
_TAG = regex.compile(r"</?[A-Za-z][^<>]*>")
_WHOLE_WORD = regex.compile(r"(?<![\p{L}\p{M}\p{N}.'\u2019_@/\\-])\p{Ll}{2,}$")
# Speech that stands in a row as a part of one sentence: 「はい。」「いいえ。」の二つ.
_QUOTED_ROW = regex.compile(r"(?:[「『][^「」『』]*[」』])+(?=[のがはをや]|など|から)")
_SENTENCE_IN_BRACKETS = regex.compile(r"\G\([^()]*[.!?][\"'\u201d\u2019]?\)\s*(?:$|(?P<next>\p{L}))")
_LETTER = regex.compile(r"(?<=\s)\p{Lu}$")
# What goes on with speech in spite of its capital: I, and the name of who asked or cried.
_SAID = rf"(?:\p{{Ll}}+ly )?(?:{'|'.join(known.SAID)})\b"
_I_SAID = regex.compile(rf"\GI {_SAID}")
_NAME_SAID = regex.compile(
    rf"\G(?P<name>\p{{Lu}}[\p{{L}}\p{{M}}'’-]+)(?: \p{{Lu}}[\p{{L}}\p{{M}}'’-]+)? {_SAID}"
)
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")


def count(text: str) -> int:
    """Number of sentences in an answer, as a reader would count them."""
    text = plain(text)
    lexicon = Lexicon(text)
    return sum(len(split(block, lexicon)) for block in blocks(text))


def split(block: str, lexicon: Lexicon | None = None) -> list[str]:
    """The sentences of one block of running text: pieces with a letter or a digit in them.

    Args:
        block: A block as `prose.blocks` gives them.
        lexicon: What is known of the words of the answer that it is from; by default, of the block alone.
    """
    lexicon = lexicon or Lexicon(block)
    if _FORMULA.fullmatch(block.strip()):
        return []
    if _LETTERS.fullmatch(block):
        # Nothing but letters: the points of a list, no initials of a name.
        return block.split()
    block = _without_code(block)
    pieces: list[str] = []
    start = 0
    judged = block
    if onecase.in_capitals(block):
        judged, lexicon = onecase.lowered(block), lexicon.lowered
    embedded = [] if _MARKED.isdisjoint(judged) else list(_EMBEDDED.finditer(judged))
    for end in _END.finditer(judged):
        if any(_inside(end, found, one_case=lexicon.one_case) for found in embedded):
            continue
        if _ends(judged[start : end.start()], end, judged, lexicon):
            pieces.append(block[start : end.end()].strip())
            start = end.end()
    pieces.append(block[start:].strip())
    return _with_their_numbers([piece for piece in pieces if _HAS_WORD.search(piece)])


def _with_their_numbers(pieces: list[str]) -> list[str]:
    """The same with the numbers of a list that stands in one line before what they number: 1. Wash it. 2. Dry it."""
    found = {place: _NUMBER.fullmatch(piece) for place, piece in enumerate(pieces[:-1])}
    numbers = {place: int(one[1]) for place, one in found.items() if one}
    values = list(numbers.values())
    if len(values) < 2 or values != list(range(values[0], values[0] + len(values))):
        return pieces
    return [
        f"{pieces[place - 1]} {piece}" if place - 1 in numbers else piece
        for place, piece in enumerate(pieces)
        if place not in numbers
    ]


def _inside(end: Any, embedded: Any, *, one_case: bool) -> bool:
    """Whether a mark stands inside of a name or a title; in one case the last one may end what is said before."""
    first, last = embedded.span()
    closes = (
        one_case and end.end("close") >= last and (embedded[0][0] in _OPENING_QUOTES or end["mark"] == ".")
    )
    return first < end.start() < last and not closes


def _without_code(block: str) -> str:
    # Code and addresses have marks that end no sentence: one word stands for each.
    block = _LINK.sub(r"\1", _IMAGE.sub("", _CODE.sub("Code", block)))
    block = _SPACED_DOTS.sub("\u2026", block)
    block = _FORMULA.sub(lambda found: f"formula{found[2] or found[3] or ''}", block)
    return str(GERSHAYIM.sub("\u05f4", unescaped(str(_TAG.sub("", ADDRESS.sub("address", block))))))


def _ends(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether a mark ends the sentence whose text before it is given."""
    mark, close, follower = end["mark"], end["close"], end["next"]
    if not follower or not _HAS_WORD.search(before):
        return True
    if follower == "&":
        return False
    if end["smile"]:
        begun = fullstop.starts(block, end, lexicon) or (")" in end["smile"] and follower.isupper())
        if lexicon.one_case:
            word = fullstop.next_word(block, end)
            # What goes on: I ❤️ this city.
            within = ")" not in end["smile"] and lexicon.is_function_word(fullstop.last_word(before))
            plain_word = ")" in end["smile"] and not lexicon.has_function_word(word)
            begun = plain_word or (onecase.opens(word, lexicon) and not within)
        return bool(end["blank"]) and begun
    if mark == "．" and before[-1].isdecimal() and follower.isdecimal():
        return False
    if mark[0] in _ALWAYS or mark[0] in "|;:\u037e":
        return _ends_unspaced(before, end, block) if mark[0] in _ALWAYS else bool(end["blank"])
    if mark.endswith(("...", "\u2026")):
        word = fullstop.next_word(block, end)
        begun = follower.isupper() or (lexicon.one_case and onecase.opens(word, lexicon))
        return begun and (word != "i" or "en" not in lexicon.languages)
    if not end["blank"]:
        # Chinese and Japanese with the marks of ASCII; speech that follows speech.
        direct = not close and bool(_UNSPACED.match(follower)) and bool(_UNSPACED.search(before[-1:]))
        speech = close[-1:] in tuple(_QUOTES) and end["opened"][:1] in tuple(_OPENING_QUOTES)
        return direct or speech or _blank_forgotten(before, end, block, lexicon)
    if end["opened"].startswith("("):
        inside = _SENTENCE_IN_BRACKETS.search(block, end.end())
        if inside and (not inside["next"] or inside["next"].isupper() or lexicon.one_case):
            return True
        if (follower.islower() and not lexicon.one_case) or follower.isdecimal():
            return False
    if close.strip("*_~`$") and not close.startswith("["):
        return _ends_after_closing(before, end, block, lexicon)
    # Speech that a dash begins goes on with who said it: – Kommer du? frågade hon.
    dash = end["dash"] or (not lexicon.one_case and before.lstrip().startswith(("\u2013", "\u2014", "- ")))
    if follower.islower() and dash and not (lexicon.one_case and mark == "."):
        return False
    if mark == ".":
        return not (onecase if lexicon.one_case else stops).belongs(before, end, block, lexicon)
    if follower.islower() and _LETTER.search(before):
        return False
    named = mark == "!" and fullstop.last_word(before) in known.NAMES_WITH_A_MARK
    return not (
        named and (follower.islower() or not lexicon.is_function_word(fullstop.next_word(block, end)))
    )


def _blank_forgotten(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    """Whether a sentence begins directly behind a mark, as in "It rained.We stayed." and not in "numpy.Array"."""
    word = fullstop.next_word(block, end)
    if end["opened"] in ("¿", "¡"):
        return True
    beside = not (end["close"] or end["opened"] or end["dash"])
    if not beside or not end["next"].isupper() or not lexicon.has_function_word(word):
        return False
    behind = block[end.end() + len(word) :][:1]
    whole = _WHOLE_WORD.search(before) or (end["mark"] != "." and before[-1:].isalpha())
    return bool(whole) and (not behind or behind.isspace() or behind in ",'\u2019")


def _ends_unspaced(before: str, end: Any, block: str) -> bool:
    if end["mark"] == _SHAD:
        return _LAST_VERBS.search(before) is not None
    close = end["close"].strip("*_~`$")
    if not close or close.startswith("["):
        return True
    if _QUOTED_ROW.match(block, end.end()):
        return False
    if close[-1] in _BRACKETS:
        return before.strip().startswith(_BRACKETS[close[-1]])
    if end["opened"][:1] in tuple(_OPENING_QUOTES):
        return True
    # Speech at the start goes on with who said it; speech after a colon is the end of it.
    opened = max(before.rfind(quote) for quote in _OPENING_QUOTES)
    introduced = before[:opened].rstrip()
    return bool(introduced) and (bool(end["blank"]) or introduced[-1] in ":：,，、")


def _ends_after_closing(before: str, end: Any, block: str, lexicon: Lexicon) -> bool:
    follower = end["next"]
    if end["opened"][:1] in tuple(_OPENING_QUOTES):
        return True
    if lexicon.one_case:
        if end["close"].strip("*_~`$")[-1] in _BRACKETS:
            return before.strip()[:1] in tuple(_BRACKETS.values())
        return onecase.ends_after_speech(before, end, block, lexicon)
    if follower.islower() or _I_SAID.search(block, end.end()):
        return False
    asked = _NAME_SAID.search(block, end.end()) if end["mark"][-1] in "?!" else None
    if asked and not lexicon.has_function_word(asked["name"].casefold()):
        return False
    if follower.isupper():
        return True
    if end["close"].strip("*_~`$")[-1] in _BRACKETS:
        return before.strip()[:1] in tuple(_BRACKETS.values())
    # A script without capitals: speech at the start goes on with who said it.
    return before.strip()[:1] not in tuple(_OPENING_QUOTES)
