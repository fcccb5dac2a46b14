"""Write words.json, the abbreviations and function words of many languages, from the lists of kept libraries.

    pip install spacy==3.8.18
    git clone https://github.com/wikimedia/sentencex && git -C sentencex checkout 312da7f
    npm pack cldr-segments-full@46.1.0 && tar xzf cldr-segments-full-46.1.0.tgz
    python -m trimtab.instructions.lexicon.gather sentencex package

They are brought together here, and not when an answer is read: a verdict must not depend on what else is installed,
and those libraries are two hundred times as large as their lists.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import regex

from trimtab import files
from trimtab.instructions.languages import NAMES
from trimtab.instructions.lexicon import FILE

# Beside the languages of the detector, those that others are easily taken for.
_MORE = ("az", "eu", "ga", "hy", "is", "kk", "lb", "ms", "sr")
_CODES = {"nb": "no", "nn": "no", "zh": "zh-cn"}
_FORM = regex.compile(r"\p{L}[\p{L}\p{M}]*(?:[.'’-]+[\p{L}\p{M}]+)*")
# Where nothing parts words, or no capital begins a sentence and nothing is abbreviated, they tell nothing.
_LEFT_OUT = ("ja", "ko", "th", "zh-cn", "zh-tw")
# What has no vowel is rather an abbreviation that was taken for a word, such as nr.
_NO_VOWEL = regex.compile(r"[b-df-hj-np-tv-xzßçčďđłńňřśšťźżžб-джзй-нп-тф-ш]{2,}")
# Abbreviations that are among the function words of Dutch.
_NO_WORDS = frozenset(("prof", "publ"))
_WIDTH = 100


def abbreviations(sentencex: Path, cldr: Path) -> dict[str, set[str]]:
    """By language, without the last full stop, in the case that the libraries give."""
    found: dict[str, set[str]] = {}
    for language, defaults in _spacy().items():
        found[language] = {word[:-1] for word in defaults.tokenizer_exceptions if word.endswith(".")}
    for path in sentencex.glob("src/languages/abbrev/*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        listed = {line.strip() for line in lines if not line.startswith("//")}
        found.setdefault(path.stem, set()).update(listed)
    for path in cldr.glob("segments/*/suppressions.json"):
        told = json.loads(path.read_text(encoding="utf-8"))["segments"]["segmentations"]
        listed = {one["suppression"] for one in told.get("SentenceBreak", {}).get("standard", ())}
        found.setdefault(path.parent.name, set()).update(listed)
    return found


def function_words() -> dict[str, set[str]]:
    """By language, in small letters."""
    return {language: set(defaults.stop_words) for language, defaults in _spacy().items()}


def gather(sentencex: Path, cldr: Path) -> dict[str, dict[str, list[str]]]:
    """What words.json holds: by language, words in one string broken into lines."""
    words, short = function_words(), abbreviations(sentencex, cldr)
    gathered = {}
    for language in sorted({*NAMES, *_MORE}.difference(_LEFT_OUT)):
        common = {word.casefold().replace("’", "'") for word in words.get(language, ())}
        common = {
            word for word in common if _FORM.fullmatch(word) and not _NO_VOWEL.fullmatch(word)
        } - _NO_WORDS
        kept = {word.rstrip(".") for word in short.get(language, ())}
        kept = {word for word in kept if len(word) > 1 and _FORM.fullmatch(word)}
        # Of Abb, ABB and abb the one in small letters stands for all.
        kept = {word for word in kept if word.islower() or word.lower() not in kept}
        gathered[language] = {
            "abbreviations": _lines(word for word in kept if word.casefold() not in common),
            "function_words": _lines(common),
        }
    return {language: lists for language, lists in gathered.items() if any(lists.values())}


def _spacy() -> dict[str, Any]:
    import spacy.lang

    found = {}
    for module in pkgutil.iter_modules(spacy.lang.__path__):
        if module.ispkg:
            kinds = vars(importlib.import_module(f"spacy.lang.{module.name}")).values()
            kind = next((one for one in kinds if getattr(one, "lang", None) == module.name), None)
            if kind is not None and module.name != "nn":
                found[_CODES.get(module.name, module.name)] = kind.Defaults
    return found


def _lines(words: Any) -> list[str]:
    return textwrap.wrap(" ".join(sorted(words)), _WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    files.write_text(FILE, json.dumps(gather(*map(Path, sys.argv[1:3])), ensure_ascii=False, indent=1) + "\n")
