"""The bounds of quality: how much worse than plain answers steered ones may be, and by how much they leave them.

What follows an instruction at the price of the text is worth nothing. Every bound is set against *plain*, the answers
to the same queries without instruction and steering. Perplexity, repetition and greater length may also be what the
instruction costs by itself, where that is known: those of answers that follow it without steering (`following`), such
as what edits were learned from. Few answers are JSON by themselves, and those that are read less usual than plain text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab import arguments

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.measure.quality import Quality

ABOUT_LENGTH = "length"
"""The family of instructions whose answers are meant to be of another length."""
_OF_ANOTHER_LENGTH = frozenset({"constrained", "two_responses"})  # one of three set answers; two for one


@dataclass(frozen=True)
class Bounds:
    """How much worse than plain answers others may be.

    Attributes:
        repetition: It may rise by this share of itself...
        repeated: ...and by so much in any case: a share of word 4-grams, since plain answers may repeat none.
        perplexity: It may rise by this share of itself, under the unsteered model and under a scorer.
        relevance: It may fall by this share of itself.
        length: The mean number of tokens may rise or fall by this share of itself.
        facts: The share of facts that are right may fall by so much.
    """

    repetition: float = 0.1
    repeated: float = 0.02
    perplexity: float = 0.1
    relevance: float = 0.1
    length: float = 0.25
    facts: float = 0.06

    def __post_init__(self) -> None:
        arguments.bounds(self)


@dataclass(frozen=True)
class Departure:
    """One measure of quality that is out of its bounds.

    Attributes:
        field: Which, as `Quality` calls it.
        measure: Which, in words.
        value: What it is.
        limit: What it might be at most, or at least.
        excess: How far beyond: the logarithm of the ratio for what is compared by ratio (at most 1), the difference
            for shares.
    """

    field: str
    measure: str
    value: float
    limit: float
    excess: float

    def __str__(self) -> str:
        """What is wrong, in words: `repetition 0.31 above 0.13`."""
        side = "above" if self.value > self.limit else "below"
        return f"{self.measure} {self.value:.3g} {side} {self.limit:.3g}"


@dataclass(frozen=True)
class Comparison:
    """The quality of some answers beside that of plain answers to the same queries.

    Attributes:
        quality: That of the answers.
        plain: That of the plain ones.
        departures: Which measures are out of bounds.
    """

    quality: Quality
    plain: Quality
    departures: tuple[Departure, ...]

    @property
    def within(self) -> bool:
        """Whether the answers are within all bounds."""
        return not self.departures

    @property
    def excess(self) -> float:
        """How far they are out of bounds altogether; 0 within them."""
        return math.fsum(one.excess for one in self.departures)

    def to_dict(self) -> dict[str, Any]:
        """The comparison for a record, as JSON.

        Returns:
            `within`; `out_of_bounds`, the departures in words, where there are any; and `against_plain`, what is known
            of both: tokens, perplexity, `scorer_perplexity` and relevance as a ratio to plain, repetition and facts as
            a difference.
        """
        quality, plain = self.quality, self.plain
        against = {
            "tokens": _ratio(quality.tokens, plain.tokens),
            "repetition": quality.repetition - plain.repetition,
            "perplexity": _ratio(quality.perplexity, plain.perplexity),
            "scorer_perplexity": _ratio(quality.scorer_perplexity, plain.scorer_perplexity),
            "relevance": _ratio(quality.relevance, plain.relevance),
            "facts": None if quality.facts is None or plain.facts is None else quality.facts - plain.facts,
        }
        return {
            "within": self.within,
            **({} if self.within else {"out_of_bounds": [str(one) for one in self.departures]}),
            "against_plain": {name: round(value, 3) for name, value in against.items() if value is not None},
        }


def compare(
    quality: Quality,
    plain: Quality,
    bounds: Bounds | None = None,
    *,
    following: Quality | None = None,
    any_length: bool = False,
) -> Comparison:
    """Sets the quality of some answers beside that of plain ones. What was not measured of both is within bounds.

    Args:
        quality: That of the answers.
        plain: That of plain answers to the same queries.
        bounds: How much worse they may be; the defaults when None.
        following: That of answers which follow the instruction without steering: perplexity, repetition and greater
            length may be as theirs.
        any_length: Whether answers may be of any length, as for an instruction about length (`about_length`).
    """
    found = _departures(quality, plain, bounds or Bounds(), following, any_length=any_length)
    return Comparison(quality, plain, tuple(found))


def within(
    quality: Quality,
    plain: Quality,
    bounds: Bounds | None = None,
    *,
    following: Quality | None = None,
    any_length: bool = False,
) -> bool:
    """Whether some answers are within all bounds; see `compare`."""
    return compare(quality, plain, bounds, following=following, any_length=any_length).within


def about_length(wanted: Sequence[Instruction]) -> bool:
    """Whether following some instructions means answers of another length."""
    return any(one.type.family == ABOUT_LENGTH or one.name in _OF_ANOTHER_LENGTH for one in wanted)


def _departures(
    quality: Quality, plain: Quality, bounds: Bounds, following: Quality | None, *, any_length: bool
) -> Iterator[Departure]:
    known = [plain] if following is None else [plain, following]
    usual = max(one.repetition for one in known)
    most = usual * (1 + bounds.repetition) + bounds.repeated
    if quality.repetition > most:
        yield Departure("repetition", "repetition", quality.repetition, most, quality.repetition - most)
    for name, words in (
        ("perplexity", "perplexity"),
        ("scorer_perplexity", "perplexity under the scorer"),
    ):
        value = getattr(quality, name)
        references = [one for one in (getattr(each, name) for each in known) if one is not None]
        if value is not None and references:
            most = max(references) * (1 + bounds.perplexity)
            if value > most:
                yield Departure(name, words, value, most, _log_ratio(value, most))
    if quality.relevance is not None and plain.relevance is not None:
        least = plain.relevance - bounds.relevance * abs(plain.relevance)
        if quality.relevance < least:
            # Nats per token: the logarithm of a ratio already.
            yield Departure(
                "relevance", "relevance", quality.relevance, least, min(1.0, least - quality.relevance)
            )
    if not any_length and quality.tokens is not None and plain.tokens:
        # What an instruction adds is its own, as the braces of JSON are; that told answers are short is no reason.
        longest = max(one.tokens or 0.0 for one in known)
        least, most = plain.tokens * (1 - bounds.length), longest * (1 + bounds.length)
        if not least <= quality.tokens <= most:
            limit = least if quality.tokens < least else most
            yield Departure(
                "tokens", "length in tokens", quality.tokens, limit, _log_ratio(quality.tokens, limit)
            )
    if quality.facts is not None and plain.facts is not None:
        least = plain.facts - bounds.facts
        if quality.facts < least:
            yield Departure("facts", "facts", quality.facts, least, least - quality.facts)


def _log_ratio(value: float, limit: float) -> float:
    """How far apart two numbers above 0 are, as the logarithm of their ratio; at most 1."""
    return min(1.0, abs(math.log(value / limit))) if value > 0 else 1.0


def _ratio(value: float | None, to: float | None) -> float | None:
    return value / to if value is not None and to else None
