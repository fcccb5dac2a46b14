"""Words that instructions name: which of them nano meets in training, and which are held out."""

from __future__ import annotations

import random
import zlib
from functools import cache
from importlib import resources

from trimtab.instructions import Split
from trimtab.nano import lexicon
from trimtab.nano.world import Entity

_ONSETS = "b br c ch d dr f fl g gl gr h j k l m n p pl pr qu r s sh sl st t th tr v w z".split()
_VOWELS = "a e i o u ai ea ee oa ou".split()
_CODAS = " n r l m t k s nd rt lk st ck mp ".split(" ")


def word_split(word: str) -> Split:
    """The split a word belongs to: 84 % learning, 8 % validation, 8 % test."""
    bucket = zlib.crc32(word.encode()) % 25
    return "test" if bucket < 2 else "validation" if bucket < 4 else "learning"


@cache
def listed_words(split: Split) -> tuple[str, ...]:
    """Common English words of a split, for instructions that want a word in the answer."""
    text = resources.files("trimtab.nano").joinpath("words.txt").read_text(encoding="utf-8")
    return tuple(word for word in text.split() if word_split(word) == split)


def invented_word(rng: random.Random) -> str:
    """A pronounceable word that does not exist: there are many thousands, so that copying is learned, not words."""
    syllables = (
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(rng.choice((1, 2, 2, 3)))
    )
    return "".join(syllables)


@cache
def world_words(split: Split) -> tuple[str, ...]:
    """Words that answers often contain, of a split, for instructions that forbid a word."""
    groups = (lexicon.PLACES, lexicon.COLORS, lexicon.THINGS, lexicon.PEOPLE, lexicon.ADJECTIVES)
    return tuple(term.en for group in groups for term in group if word_split(term.en) == split)


def words_of_answers(entity: Entity, split: Split) -> list[str]:
    """Those of `world_words` that answers about this entity contain."""
    values = {term.en for term in entity.values.values()}
    return [word for word in world_words(split) if word in values]
