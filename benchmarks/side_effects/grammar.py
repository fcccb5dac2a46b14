"""Minimal pairs of English grammar, made by a program: of two sentences that differ in a word or two, one is right.

The idea and most phenomena are those of A. Warstadt and others, BLiMP: The Benchmark of Linguistic Minimal Pairs for
English, TACL 2020, https://arxiv.org/abs/1912.00582; words and sentences are this project's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Pair = tuple[str, str]
"""The right sentence and the wrong one."""

_PEOPLE = "teacher doctor farmer sailor painter singer driver neighbor student baker".split()
_THINGS = "key letter box lamp book chair bottle picture shoe basket".split()
_PLACES = "garden river window station bridge market school table".split()
_ADJECTIVES = "small heavy yellow broken expensive clean old bright".split()
_SHE = "girl mother sister queen aunt grandmother".split()
_HE = "boy father brother king uncle grandfather".split()
_PARTICIPLES = {
    "eaten": ("ate", "the soup"),
    "written": ("wrote", "a letter"),
    "broken": ("broke", "the cup"),
    "taken": ("took", "the train"),
    "forgotten": ("forgot", "the answer"),
    "drawn": ("drew", "a horse"),
    "seen": ("saw", "the film"),
    "given": ("gave", "a speech"),
}
_REFLEXIVE = "saw hurt washed taught introduced defended".split()
_ARTICLES = {
    "an": "apple onion egg umbrella island orange hour".split(),
    "a": "pear carrot lemon ticket house map".split(),
}


def _agreement(rng: random.Random) -> Pair:
    thing, place, adjective = rng.choice(_THINGS), rng.choice(_PLACES), rng.choice(_ADJECTIVES)
    several = rng.random() < 0.5
    subject = f"The {thing}s near the {place}" if several else f"The {thing} near the {place}s"
    right, wrong = ("are", "is") if several else ("is", "are")
    return f"{subject} {right} {adjective}.", f"{subject} {wrong} {adjective}."


def _determiner(rng: random.Random) -> Pair:
    person, thing = rng.choice(_PEOPLE), rng.choice(_THINGS)
    near, ending = rng.choice((("this", ""), ("that", ""), ("these", "s"), ("those", "s")))
    other = "" if ending else "s"
    start = f"The {person} bought {near} {rng.choice(_ADJECTIVES)} {thing}"
    return f"{start}{ending}.", f"{start}{other}."


def _reflexive(rng: random.Random) -> Pair:
    women = rng.random() < 0.5
    who, verb = rng.choice(_SHE if women else _HE), rng.choice(_REFLEXIVE)
    right, wrong = ("herself", "himself") if women else ("himself", "herself")
    start = f"The {who} {verb}"
    end = f" at the {rng.choice(_PLACES)}."
    return f"{start} {right}{end}", f"{start} {wrong}{end}"


def _participle(rng: random.Random) -> Pair:
    right = rng.choice(list(_PARTICIPLES))
    wrong, what = _PARTICIPLES[right]
    start = f"The {rng.choice(_PEOPLE)} has {rng.choice(('already', 'never', 'just'))}"
    return f"{start} {right} {what}.", f"{start} {wrong} {what}."


def _order(rng: random.Random) -> Pair:
    adjective, thing = rng.choice(_ADJECTIVES), rng.choice(_THINGS)
    start, end = f"The {rng.choice(_PEOPLE)} carried the", f"behind the {rng.choice(_PLACES)}."
    return f"{start} {adjective} {thing} {end}", f"{start} {thing} {adjective} {end}"


def _article(rng: random.Random) -> Pair:
    right = rng.choice(("a", "an"))
    wrong = "an" if right == "a" else "a"
    noun = rng.choice(_ARTICLES[right])
    start = f"The {rng.choice(_PEOPLE)} wanted"
    return f"{start} {right} {noun}.", f"{start} {wrong} {noun}."


PHENOMENA: dict[str, Callable[[random.Random], Pair]] = {
    "agreement": _agreement,
    "determiner": _determiner,
    "reflexive": _reflexive,
    "participle": _participle,
    "order": _order,
    "article": _article,
}


def minimal_pairs(each: int = 60, seed: int = 0) -> Iterator[tuple[str, Pair]]:
    """So many different pairs of each phenomenon, with its name."""
    for name, make in PHENOMENA.items():
        rng = random.Random(f"{seed}/{name}")
        found: dict[Pair, None] = {}
        while len(found) < each:
            found.setdefault(make(rng))
        for pair in found:
            yield name, pair
