"""Judging an answer about nano's world: which of its sentences are true."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from trimtab import arguments
from trimtab.errors import PromptError
from trimtab.nano.asides import is_aside
from trimtab.nano.questions import entity_of
from trimtab.nano.world import Claim, Entity, normalise

# What formats add around sentences.
_ORNAMENTS = re.compile(
    r"""
      <<[^\n]*?>>                                   # a title
    | ^[ \t"]* section [ \t]+ \d+ [ \t]*$           # a section's header
    | ^[ \t]* \*{3,} [ \t]*$                        # a divider
    | ^[ \t]* [*-] [ \t]+                           # a bullet
    | ^[ \t]* p\.[ \t]?(?:p\.[ \t]?)?s\.? [ \t]    # the mark of a postscript
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"*]*\s+|\n+")


@dataclass(frozen=True)
class Judgement:
    """The sentences of an answer that claim something, by what they are; those that claim nothing are left out."""

    true: tuple[str, ...]
    false: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def share_true(self) -> float | None:
        """Share of true sentences; one that cannot be parsed counts as not true. None without any."""
        count = len(self.true) + len(self.false) + len(self.unknown)
        return len(self.true) / count if count else None


def facts(query: str, response: str) -> float | None:
    """Share of the sentences of a response that are true, from 0 to 1.

    None if the query, which may have instructions in it, names no entity of this world, or if the response claims
    nothing.
    """
    query = arguments.text(query, "query", PromptError)
    response = arguments.text(response, "response", PromptError)
    entity = entity_of(query)
    return None if entity is None else judge(query, response, entity).share_true


def judge(query: str, response: str, entity: Entity) -> Judgement:
    """Judges every sentence of a response about `entity`."""
    true: list[str] = []
    false: list[str] = []
    unknown: list[str] = []
    for text in _sentences(query, response):
        claim = Claim.parse(text)
        if claim is not None:
            (true if claim.is_true_of(entity) else false).append(text)
        elif not is_aside(text):
            unknown.append(text)
    return Judgement(tuple(true), tuple(false), tuple(unknown))


def _sentences(query: str, response: str) -> list[str]:
    """The sentences of a response without its ornaments, less those that only repeat the query."""
    text = _without_json(response.strip())
    text = _ORNAMENTS.sub("\n", text)
    pieces = (piece.strip(' \t"*') for piece in _SENTENCE_END.split(text))
    asked = f" {normalise(query)} "
    return [piece for piece in pieces if (plain := normalise(piece)) and not _repeats(plain, asked)]


def _repeats(plain: str, asked: str) -> bool:
    """Whether a piece is a stretch of the query, long enough to be no accident."""
    return plain.count(" ") >= 2 and f" {plain} " in asked


def _without_json(text: str) -> str:
    """The texts inside a JSON object, one a line, less those that only name the topic."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # the latter: thousands of brackets
        return text
    if not isinstance(content, dict):
        return text
    found: list[str] = []
    for key, value in content.items():
        if key.lower() not in ("topic", "title"):
            found += map(str, value) if isinstance(value, list) else [str(value)]
    return "\n".join(found)
