"""Programs that change an answer so that it follows an instruction and leave what it says alone."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

from trimtab.instructions.splitting import simple_sentences

_ITEM = r"[\w'\u2019-]+(?: [\w'\u2019-]+){0,3}"
_SERIES = re.compile(rf"(?P<first>{_ITEM}(?:, {_ITEM})*?), (?P<last>{_ITEM}), (?P<joint>and|or) ")
_LIST_MARK = re.compile(r"^\s*(?:[*\-\u2022]|\d+[.)])\s+", re.MULTILINE)
_VERBS = frozenset(
    "is are was were has have had can could will would may might must should do does did".split()
)
_TITLE_WORDS = 6


def without_commas(text: str) -> str:
    """A series is joined by its last joint (a, b, and c: a and b and c); any other comma goes without a trace."""

    def joined(found: re.Match[str]) -> str:
        joint = found["joint"]
        return f"{found['first'].replace(',', f' {joint}')} {joint} {found['last']} {joint} "

    return _SERIES.sub(joined, text).replace(",", "")


def quoted(text: str) -> str:
    """Between double quotation marks; those inside become single ones."""
    return '"' + text.strip().strip('"').replace('"', "'") + '"'


def in_json(text: str) -> str:
    """As the only value of a JSON object; a list of its sentences where it has many."""
    sentences = simple_sentences(text.strip())
    value = text.strip() if len(sentences) < 4 else sentences
    return json.dumps({"answer": value}, ensure_ascii=False)


def titled(text: str) -> str:
    """With a title: its heading, or the words before the first verb of its first sentence."""
    first, _, rest = text.strip().partition("\n")
    heading = re.fullmatch(r"(?:#+\s*(.+)|\*\*([^*]+)\*\*:?)", first.strip())
    if heading and rest.strip():
        name, body = heading[1] or heading[2], rest.strip()
    else:
        words = re.findall(r"[\w'\u2019-]+", simple_sentences(text.strip())[0])
        verb = next((place for place, word in enumerate(words) if word.lower() in _VERBS), 0)
        name, body = " ".join(words[: min(verb or _TITLE_WORDS, _TITLE_WORDS)]), text.strip()
    return f"<<{name.strip(' *:#<>')}>>\n\n{body}"


def with_end(text: str, phrase: str) -> str:
    """With a phrase at its end, in a paragraph of its own."""
    return f"{text.rstrip()}\n\n{phrase.strip()}"


def with_postscript(text: str, marker: str) -> str | None:
    """With its last sentence as a postscript; None where there is only one."""
    sentences = simple_sentences(text.strip())
    if len(sentences) < 2:
        return None
    before = text.strip().removesuffix(sentences[-1]).rstrip()
    return f"{before}\n\n{marker.strip()} {sentences[-1]}"


def parted(text: str, count: int) -> list[str] | None:
    """Its sentences in so many parts, in order and about equally many in each; None where there are too few.

    Marks of lists go, and line breaks inside of a part become spaces.
    """
    sentences = simple_sentences(_LIST_MARK.sub("", text.strip()))
    if len(sentences) < count:
        return None
    cuts = [len(sentences) * place // count for place in range(count + 1)]
    parts = [" ".join(sentences[start:end]) for start, end in itertools.pairwise(cuts)]
    return [re.sub(r"\s+", " ", part) for part in parts]


def bulleted(text: str, count: int) -> str | None:
    """As so many bullet points; None where it has too few sentences."""
    parts = parted(text, count)
    return "\n".join(f"* {part}" for part in parts) if parts else None


def in_paragraphs(text: str, low: float, high: float, divider: str = "") -> str | None:
    """In a number of paragraphs, with a divider on a line between where there is one.

    Too many are joined by single line breaks, too few made of its sentences; None where there are too few of these.
    """
    between = f"\n\n{divider}\n\n" if divider else "\n\n"
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    if len(blocks) > high:
        last = "\n".join(blocks[int(high) - 1 :])
        return between.join([*blocks[: int(high) - 1], last])
    if len(blocks) >= low:
        return between.join(blocks)
    parts = parted(text, int(low))
    return between.join(parts) if parts else None


def in_sections(text: str, mark: str, count: int) -> str | None:
    """Its sentences in so many sections, each under the mark and its number; None where there are too few."""
    parts = parted(text, count)
    marked = (f"{mark.strip()} {number}\n{part}" for number, part in enumerate(parts or (), start=1))
    return "\n\n".join(marked) if parts else None


def highlighted(text: str, count: int) -> str | None:
    """With the longest word of so many of its sentences between stars, the first ones; None where there are too few."""
    return _longest_words(text.replace("*", ""), count, lambda word: f"*{word}*")


def capitalised(text: str, count: int) -> str | None:
    """With the longest word of so many of its sentences in capitals, the first ones; None where there are too few."""
    return _longest_words(text, count, str.upper)


def _longest_words(text: str, count: int, change: Callable[[str], str]) -> str | None:
    sentences = simple_sentences(text.strip())
    changed, start, done = text, 0, 0
    for sentence in sentences:
        words = re.findall(r"[^\W\d_]{4,}", sentence)
        if words and done < count:
            word = max(words, key=len)
            place = changed.index(word, start)
            changed = changed[:place] + change(word) + changed[place + len(word) :]
            start, done = place + len(change(word)), done + 1
    return changed if done == count else None


def behind_request(text: str, request: str) -> str:
    """Behind the request it answers, word for word."""
    return f"{request.strip()}\n\n{text.strip()}"
