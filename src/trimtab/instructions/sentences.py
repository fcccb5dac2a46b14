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
from trimtab.instructions.text import ADDRESS, GERSHAYIM, plain, unescaped

# Marks that end a sentence without white space behind them: ideographic, full width, Indic, Arabic, Armenian, Khmer,
# Tibetan, Mongolian, Ol Chiki.
_ALWAYS = "。！？｡．।॥؟۔\u0589\u1362\u1367\u1368\u104b\u17d4\u17d5\u0f0d\u0f0e\u1803\u1c7e\u1c7f"
# A shad of Tibetan closes a clause; the sentence ends with it where the verb before it is a last one.
_SHAD = "\u0f0d"
_LAST_VERBS = regex.compile(r"(?:^|[་།\s])(?:ཡིན|མིན|ཡོད|མེད|རེད|འདུག|སོང|བྱུང|ཐུབ|[གངདནབམརལསཏའ]ོ)་?$")
_CLOSING = "\"'\u2019\u201d\u00bb\u203a)\\]}」』】〕）》〉*_~`$"
_OPENING = "\"'\u2018\u201c\u201e\u201a\u00ab\u2039(\\[{「『【〔（《〈¿¡*_~`"
_BRACKETS = {")": "(", "]": "[", "）": "（", "】": "【", "〕": "〔"}
_QUOTES = "\"'\u2019\u201d\u201c\u00bb\u203a」』"
_OPENING_QUOTES = "\"'\u2018\u201c\u201e\u201a\u00ab\u2039「『"
_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u200d\ufe0f--[\p{Nd}]]"
_NOTE = r"\[(?:\p{Nd}{1,3}|\^[^\]\s]+)\]"
_END = regex.compile(
    rf"(?P<mark>[{_ALWAYS}.!?\u2026\u203c\u2047-\u2049]+"
    r"|(?<=\p{Greek})[;\u037e]|(?<=[\p{Devanagari}\p{Bengali}])\|{1,2}"
    rf"|(?P<smile>:-?[)D(]|;-?\)|{_EMOJI}+))"
    rf"(?P<close>(?:[ \u00a0\u202f](?=\u00bb))?(?:[{_CLOSING}]|\u201c(?![\p{{L}}\p{{N}}])|{_NOTE})*)"
    r"(?P<blank>\s*)"
    rf"(?=(?P<opened>[{_OPENING}]*)(?:{_EMOJI}+[{_OPENING}\s]*)?(?P<dash>[\u2014\u2013-]?)\s*(?P<next>\S?))",
    regex.VERSION1,
)
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
_TAG = regex.compile(r"</?[A-Za-z][^<>]*>")
_TOKEN = regex.compile(r"[\p{L}\p{M}\p{N}\u05f4.\u00ba\u00aa№'\u2019-]+$")
_WORD = regex.compile(r"[\p{L}\p{M}'\u2019]+")
_DOTTED = regex.compile(r"(?:[\p{L}\p{M}]{1,2}\.-?)+(?:[\p{L}\p{M}]{1,2}|\p{Ll}{3})")
_ROMAN = regex.compile(r"[IVX]{1,5}")
# The numeral of a ruler where it is an ordinal: III. Selim. After a name it is not.
_ORDINAL_ROMAN = regex.compile(r"[IVX]{2,5}")
_WHOLE_WORD = regex.compile(r"(?<![\p{L}\p{M}\p{N}.'\u2019_@/\\-])\p{Ll}{2,}$")
# Speech that stands in a row as a part of one sentence: 「はい。」「いいえ。」の二つ.
_QUOTED_ROW = regex.compile(r"(?:[「『][^「」『』]*[」』])+(?=[のがはをや]|など|から)")
_DATE = regex.compile(r"\p{Nd}{1,2}\.\s*(?:\p{Nd}|,)")
_SENTENCE_IN_BRACKETS = regex.compile(r"\G\([^()]*[.!?][\"'\u201d\u2019]?\)\s*(?:$|\p{Lu})")
# No article: A) or A. of a list or a name.
_LETTER_ALONE = regex.compile(r"\G[^\p{L}\p{N}]*\p{L}[.),;:\]]")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_ABJAD = regex.compile(r"[\p{Arabic}\p{Hebrew}]\u0640?")
_CASED = regex.compile(r"[\p{Lu}\p{Ll}]")
_SHORT = 4
_UNITS = tuple("CFKVWANL")
_CONSONANTS = regex.compile(r"[b-df-hj-np-tv-xzßçčďłńňřśšťźżž]{2,5}|[бвгджзйклмнпрстфхцчшщ]{2,4}")


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
    block = _LINK.sub(r"\1", _IMAGE.sub("", _CODE.sub("Code", block)))
    block = _FORMULA.sub(lambda found: f"formula{found[2] or found[3] or ''}", block)
    return str(GERSHAYIM.sub("\u05f4", unescaped(str(_TAG.sub("", ADDRESS.sub("address", block))))))


def _ends(before: str, end: Any, block: str) -> bool:
    """Whether a mark ends the sentence whose text before it is given."""
    mark, close, follower = end["mark"], end["close"], end["next"]
    if not follower or not _HAS_WORD.search(before):
        return True
    if end["smile"]:
        return bool(end["blank"]) and (_starts(block, end) or (")" in end["smile"] and follower.isupper()))
    if mark[0] in _ALWAYS or mark[0] in "|;\u037e":
        return _ends_unspaced(before, end, block) if mark[0] in _ALWAYS else bool(end["blank"])
    if not mark.strip(".\u2026") and len(mark) + mark.count("\u2026") > 1:
        return follower.isupper() and _next_word(block, end) != "i"
    if not end["blank"]:
        # Chinese and Japanese with the marks of ASCII; speech that follows speech.
        direct = not close and bool(_UNSPACED.match(follower)) and bool(_UNSPACED.search(before[-1:]))
        speech = close[-1:] in tuple(_QUOTES) and end["opened"][:1] in tuple(_OPENING_QUOTES)
        return direct or speech or _blank_forgotten(before, end, block)
    if end["opened"].startswith("("):
        if _SENTENCE_IN_BRACKETS.search(block, end.end()):
            return True
        if follower.islower() or follower.isdecimal():
            return False
    if close.strip("*_~`$") and not close.startswith("["):
        return _ends_after_closing(before, end)
    if end["dash"] and follower.islower():
        return False
    if mark == ".":
        return not _abbreviated(before, follower, block, end)
    return not (follower.islower() and _last_word(before) in known.NAMES_WITH_A_MARK)


def _blank_forgotten(before: str, end: Any, block: str) -> bool:
    """Whether a sentence begins directly behind a mark, as in "It rained.We stayed." and not in "numpy.Array"."""
    if end["close"] or end["opened"] or not _starts(block, end) or not _WHOLE_WORD.search(before):
        return False
    behind = block[end.end() + len(_next_word(block, end)) :][:1]
    return not behind or behind.isspace() or behind in ",'\u2019"


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


def _ends_after_closing(before: str, end: Any) -> bool:
    follower = end["next"]
    if end["opened"][:1] in tuple(_OPENING_QUOTES):
        return True
    if follower.islower() or (end["dash"] and follower.islower()):
        return False
    if follower.isupper():
        return True
    if end["close"].strip("*_~`$")[-1] in _BRACKETS:
        return before.strip()[:1] in tuple(_BRACKETS.values())
    # A script without capitals: speech at the start goes on with who said it.
    return before.strip()[:1] not in tuple(_OPENING_QUOTES)


def _abbreviated(before: str, follower: str, block: str, end: Any) -> bool:
    """Whether a full stop belongs to the word before it and ends no sentence."""
    found = _TOKEN.search(before)
    if not found:
        return False
    token = found[0].strip("'\u2019-")
    word = _without_article(token.casefold())
    earlier = _last_word(before[: found.start()])
    capital = follower.isupper()
    if token.replace(".", "").isdecimal() or (_ROMAN.fullmatch(token) and follower.islower()):
        return _is_ordinal(token, earlier, block, end)
    if _ORDINAL_ROMAN.fullmatch(token) and capital and not _starts(block, end):
        small = _last_word(before[: found.start()], cased=True).islower()
        return small and earlier not in known.BEFORE_LETTERS
    if word in known.CAPITALISED and token.istitle() and capital:
        return True
    # Of 3 maj., 6 ft. and 300 m. the word is none.
    if word in known.TITLES and not (token in ("maj", "ft", "m") and earlier[-1:].isdecimal()):
        # A street, or a foot, and no saint.
        return not (word in ("st", "ft") and _starts(block, end))
    if word in known.BEFORE_NUMBERS and follower.isdecimal():
        return True
    if word in known.DATES and (follower.isdecimal() or follower.islower()):
        return True
    if word in known.OFTEN_LAST:
        return (
            not capital
            or _next_word(block, end) in known.AFTER_TIMES
            or _goes_on_in_german(before, block, end)
        )
    after_comma = word in known.AFTER_COMMAS and before[: found.start()].rstrip().endswith((",", "("))
    pair = f"{earlier.strip('.,')} {word}" in known.PAIRS
    compound = word.rpartition("-")[2]
    joined = compound != word and (compound in known.ANY or compound in known.BEFORE_NUMBERS)
    if word in known.ANY or after_comma or pair or joined or word.endswith("str") or _DOTTED.fullmatch(token):
        return not (capital and _starts(block, end))
    if len(token) == 1 and (token.isupper() or token.islower() or _ABJAD.fullmatch(token)):
        return _is_initial(token, earlier, block, end)
    if word in known.LONG and not capital:
        return True
    # A part of an address: ..., fl. 5.
    listed = before[: found.start()].rstrip().endswith(",") and word != "too" and word not in known.STARTERS
    if listed and follower.isdecimal() and len(token) <= _SHORT:
        return True
    if follower.islower() and _goes_on_in_small_letters(token, before, found.start(), _next_word(block, end)):
        return True
    if not _CONSONANTS.fullmatch(word) or token.isupper() or word in known.UNITS:
        return False
    # A word without vowels is none; 5 ft. 2 in. goes on, and what is measured in it may be the end.
    return not capital or (len(word) <= _SHORT and not (earlier[-1:].isdecimal() or _starts(block, end)))


def _without_article(word: str) -> str:
    """L'avv. is avv. with an article."""
    _, apostrophe, last = word.replace("\u2019", "'").rpartition("'")
    return last if apostrophe and len(last) > 2 else word


def _goes_on_in_small_letters(token: str, before: str, start: int, following: str) -> bool:
    """Whether a sentence with a capital goes on behind a short word and a full stop, by what follows in small letters.

    A small word of grammar goes on with it. Names such as numpy begin sentences too.
    """
    cased = _CASED.search(before)
    if len(token) > _SHORT or cased is None or cased[0].islower():
        return False
    if token in ("in", "min", "sec", "oz") and _last_word(before[:start]).isdecimal():
        return True
    if token.istitle() and before[:start].rstrip().endswith(","):
        return True
    return following in known.STARTERS and following not in known.SUBJECTS


def _goes_on_in_german(before: str, block: str, end: Any) -> bool:
    """Whether a noun after "usw." goes on with the sentence, as in "Weil Lehrer, Eltern usw. Angst haben"."""
    if _starts(block, end):
        return False
    opened = False
    for word in reversed(before.split()[:-1]):
        bare = word.strip("\"'(,„“*_").casefold()
        if bare in known.GERMAN_OPENERS:
            opened = True
            break
        # A small word that is none of these is a verb or belongs to one, as far as can be told.
        if word[:1].islower() and bare not in known.GERMAN_LINKS:
            break
    return opened


def _is_initial(token: str, earlier: str, block: str, end: Any) -> bool:
    capital, following = end["next"].isupper(), _next_word(block, end)
    if not capital:
        return True
    if earlier.endswith("°") or (token in _UNITS and earlier.isdecimal() and len(earlier) < 4):
        return False
    if token.islower():
        return not (earlier[-1:].isdecimal() or following in known.STARTERS)
    return earlier not in known.BEFORE_LETTERS and not (len(following) > 1 and following in known.STARTERS)


def _is_ordinal(token: str, earlier: str, block: str, end: Any) -> bool:
    """Whether a number and its full stop are an ordinal, as in German and other languages: am 3. Mai."""
    if _next_word(block, end) in known.AFTER_ORDINALS:
        return True
    if len(token) > 2 and not _ROMAN.fullmatch(token):
        return False
    if end["next"].islower() or _DATE.match(block, end.end()):
        return True
    if end["next"].isdecimal() and earlier.endswith(".") and earlier[:-1].isdecimal():
        return True
    return earlier in known.BEFORE_ORDINALS and not _starts(block, end)


def _starts(block: str, end: Any) -> bool:
    """Whether the word after a mark has a capital and is one that starts sentences."""
    word = _next_word(block, end)
    if len(word) == 1 and _LETTER_ALONE.search(block, end.end()):
        return False
    # "He's" starts one as "He" does.
    return bool(end["next"].isupper()) and not known.STARTERS.isdisjoint((word, word.partition("'")[0]))


def _next_word(block: str, end: Any) -> str:
    found = _WORD.search(block, end.end())
    return found[0].casefold().replace("\u2019", "'") if found else ""


def _last_word(before: str, *, cased: bool = False) -> str:
    words = before.split()
    last = words[-1].strip("\"'(«„“*_") if words else ""
    return last if cased else last.casefold()
