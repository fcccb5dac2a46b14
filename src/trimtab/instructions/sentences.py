"""The sentences of an answer as a reader counts them, in any script.

Of the marks that can end a sentence, some do so wherever they stand: 。 and । and ؟. A full stop, an exclamation or a
question mark of other scripts ends one before white space, unless what follows goes on with it: a small letter after
speech (``"Stop!" he said.``), anything after an abbreviation, an initial or the number of a day. The abbreviations are
those of many languages together, since nobody says in which language an answer is, and a word that is an abbreviation
in one of them seldom ends a sentence of another. `benchmarks/sentences.py` compares this with kept libraries.
"""

from __future__ import annotations

from typing import Any

import regex

from trimtab.instructions import abbreviations as known
from trimtab.instructions.prose import blocks
from trimtab.instructions.text import plain, unescaped

# Marks that end a sentence without white space behind them: ideographic, full width, Indic, Arabic, Armenian, Khmer.
_ALWAYS = "。！？｡．।॥؟۔\u0589\u1362\u1367\u1368\u104a\u104b\u17d4\u17d5"
_CLOSING = "\"'\u2019\u201d\u00bb\u203a)\\]}」』】〕）》〉*_~`"
_OPENING = "\"'\u2018\u201c\u201e\u201a\u00ab\u2039(\\[{「『【〔（《〈¿¡*_~`"
_BRACKETS = {")": "(", "]": "[", "）": "（", "】": "【", "〕": "〔"}
_QUOTES = "\"'\u2019\u201d\u201c\u00bb\u203a」』"
_OPENING_QUOTES = "\"'\u2018\u201c\u201e\u201a\u00ab\u2039「『"
_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u200d\ufe0f--[\p{Nd}]]"
_END = regex.compile(
    rf"(?P<mark>[{_ALWAYS}.!?\u2026\u203c\u2047-\u2049]+"
    r"|(?<=\p{Greek})[;\u037e]|(?<=[\p{Devanagari}\p{Bengali}])\|{1,2}"
    rf"|(?P<smile>:-?[)D(]|;-?\)|{_EMOJI}+))"
    rf"(?P<close>(?:[ \u00a0\u202f](?=\u00bb))?(?:[{_CLOSING}]|\u201c(?![\p{{L}}\p{{N}}])|\[\p{{Nd}}{{1,3}}\])*)"
    r"(?P<blank>\s*)"
    rf"(?=(?P<opened>[{_OPENING}]*)(?:{_EMOJI}+[{_OPENING}\s]*)?(?P<dash>[\u2014\u2013-]?)\s*(?P<next>\S?))",
    regex.VERSION1,
)
_LETTERS = regex.compile(r"(?:\p{L}[.!?]\s*)+")
_HAS_WORD = regex.compile(r"[\p{L}\p{N}]")
_ADDRESS = regex.compile(
    r"(?:https?://|www\.)[^\s<>\"\u3002\uff0c]*[^\s<>\".,;:!?)\]\u3002\uff0c]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
)
_CODE = regex.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", regex.DOTALL)
_LINK = regex.compile(r"!?\[([^\]]+)\]\([^)\s]*\)")
_TAG = regex.compile(r"</?[A-Za-z][^<>]*>")
_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}.\u00ba\u00aa№'\u2019-]+$")
_WORD = regex.compile(r"[\p{L}\p{M}'\u2019]+")
_DOTTED = regex.compile(r"(?:\p{L}{1,2}\.-?)+\p{L}{1,2}")
_ROMAN = regex.compile(r"[IVX]{1,5}")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_ABJAD = regex.compile(r"[\p{Arabic}\p{Hebrew}]\u0640?")
_CONSONANTS = regex.compile(r"[b-df-hj-np-tv-xz]{2,5}")


def count(text: str) -> int:
    """Number of sentences in an answer, as a reader would count them."""
    return sum(len(split(block)) for block in blocks(plain(text)))


def split(block: str) -> list[str]:
    """The sentences of one block of running text: pieces with a letter or a digit in them."""
    if _LETTERS.fullmatch(block):
        # Nothing but letters: the points of a list, no initials of a name.
        return block.split()
    block = _without_code(block)
    pieces: list[str] = []
    start = 0
    for end in _END.finditer(block):
        if _ends(block[start : end.start()], end, block):
            pieces.append(block[start : end.end()].strip())
            start = end.end()
    pieces.append(block[start:].strip())
    return [piece for piece in pieces if _HAS_WORD.search(piece)]


def _without_code(block: str) -> str:
    # Code and addresses have marks that end no sentence: one word stands for each.
    block = _LINK.sub(r"\1", _CODE.sub("code", block))
    return unescaped(str(_TAG.sub("", _ADDRESS.sub("address", block))))


def _ends(before: str, end: Any, block: str) -> bool:
    """Whether a mark ends the sentence whose text before it is given."""
    mark, close, follower = end["mark"], end["close"], end["next"]
    if not follower or not _HAS_WORD.search(before):
        return True
    if end["smile"]:
        return bool(end["blank"]) and _starts(block, end)
    if mark[0] in _ALWAYS or mark[0] in "|;\u037e":
        return _ends_unspaced(before, end) if mark[0] in _ALWAYS else bool(end["blank"])
    if not mark.strip(".\u2026") and len(mark) + mark.count("\u2026") > 1:
        return follower.isupper() and _next_word(block, end) != "i"
    if not end["blank"]:
        # Chinese and Japanese with the marks of ASCII; speech that follows speech.
        direct = not close and bool(_UNSPACED.match(follower)) and bool(_UNSPACED.search(before[-1:]))
        return direct or (close[-1:] in tuple(_QUOTES) and end["opened"][:1] in tuple(_OPENING_QUOTES))
    if close.strip("*_~`") and not close.startswith("["):
        return _ends_after_closing(before, end)
    if end["dash"] and follower.islower():
        return False
    if mark == ".":
        return not _abbreviated(before, follower, block, end)
    return not (follower.islower() and _last_word(before) in known.NAMES_WITH_A_MARK)


def _ends_unspaced(before: str, end: Any) -> bool:
    close = end["close"].strip("*_~`")
    if not close or close.startswith("["):
        return True
    if close[-1] in _BRACKETS:
        return before.strip().startswith(_BRACKETS[close[-1]])
    if end["opened"][:1] in tuple(_OPENING_QUOTES):
        return True
    # Speech at the start goes on with who said it; speech after a colon is the end of it.
    opened = max(before.rfind(quote) for quote in _OPENING_QUOTES)
    introduced = before[:opened].rstrip()
    return bool(introduced) and (bool(end["blank"]) or introduced[-1] in ":：,，、")


def _ends_after_closing(before: str, end: Any) -> bool:
    follower = end["next"]
    if end["opened"][:1] in tuple(_OPENING_QUOTES):
        return True
    if follower.islower() or (end["dash"] and follower.islower()):
        return False
    if follower.isupper():
        return True
    if end["close"].strip("*_~`")[-1] in _BRACKETS:
        return before.strip()[:1] in tuple(_BRACKETS.values())
    # A script without capitals: speech at the start goes on with who said it.
    return before.strip()[:1] not in tuple(_OPENING_QUOTES)


def _abbreviated(before: str, follower: str, block: str, end: Any) -> bool:
    """Whether a full stop belongs to the word before it and ends no sentence."""
    found = _TOKEN.search(before)
    if not found:
        return False
    token = found[0].strip("'\u2019-")
    word = token.casefold()
    earlier = _last_word(before[: found.start()])
    capital = follower.isupper()
    if token.replace(".", "").isdecimal() or (_ROMAN.fullmatch(token) and follower.islower()):
        return _is_ordinal(token, earlier, block, end)
    if word in known.TITLES:
        return True
    if word in known.BEFORE_NUMBERS and follower.isdecimal():
        return True
    if word in known.DATES and (follower.isdecimal() or follower.islower()):
        return True
    if word in known.OFTEN_LAST:
        return not capital or _next_word(block, end) in known.AFTER_TIMES
    if word in known.ANY or word.endswith("str") or _DOTTED.fullmatch(token):
        return not (capital and _starts(block, end))
    if len(token) == 1 and (token.isupper() or token.islower() or _ABJAD.fullmatch(token)):
        return _is_initial(token, earlier, block, end)
    return follower.islower() and _CONSONANTS.fullmatch(word) is not None


def _is_initial(token: str, earlier: str, block: str, end: Any) -> bool:
    capital, following = end["next"].isupper(), _next_word(block, end)
    if not capital:
        return True
    if token.islower():
        return not (earlier[-1:].isdecimal() or following in known.STARTERS)
    return earlier not in known.BEFORE_LETTERS and not (len(following) > 1 and following in known.STARTERS)


def _is_ordinal(token: str, earlier: str, block: str, end: Any) -> bool:
    """Whether a number and its full stop are an ordinal, as in German and other languages: am 3. Mai."""
    if len(token) > 2 and not _ROMAN.fullmatch(token):
        return False
    if end["next"].islower() or _next_word(block, end) in known.AFTER_ORDINALS:
        return True
    return earlier in known.BEFORE_ORDINALS and not _starts(block, end)


def _starts(block: str, end: Any) -> bool:
    """Whether the word after a mark has a capital and is one that starts sentences."""
    word = _next_word(block, end)
    # "He's" starts one as "He" does.
    return bool(end["next"].isupper()) and not known.STARTERS.isdisjoint((word, word.partition("'")[0]))


def _next_word(block: str, end: Any) -> str:
    found = _WORD.search(block, end.end())
    return found[0].casefold().replace("\u2019", "'") if found else ""


def _last_word(before: str) -> str:
    words = before.split()
    return words[-1].strip("\"'(«„“*_").casefold() if words else ""
