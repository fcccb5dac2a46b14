"""Small changes of wording, so that nano learns what a phrasing says and not its exact words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_Swap = tuple[re.Pattern[str], tuple[str, ...]]


def _swap(pattern: str, *replacements: str) -> _Swap:
    return re.compile(pattern), replacements


# Each match may become any of the replacements; \1 keeps what stood before.
_SWAPS: tuple[_Swap, ...] = (
    _swap(
        r"\b(your|the|entire|whole|Your|The) (?:answer|response|reply|output)\b",
        r"\1 answer",
        r"\1 response",
        r"\1 reply",
        r"\1 output",
    ),
    _swap(r"^(?:Answer|Reply|Respond)\b", "Answer", "Reply", "Respond", "Write"),
    _swap(r"\b(?:must|should|has to|needs to)\b", "must", "should", "has to", "needs to"),
    _swap(r"\b(?:Do not|Don't|Never)\b", "Do not", "Don't", "Never"),
    _swap(r"\b(must|should|to|not) (?:contain|include|have)\b", r"\1 contain", r"\1 include", r"\1 have"),
    _swap(r"\b(?:entire|whole)\b", "entire", "whole", "full", "complete"),
    _swap(r"^(?:Write|Give me|Use)\b", "Write", "Give me", "Use", "I want", "Make it"),
    _swap(r"^(?:Include|Add|Put)\b", "Include", "Add", "Put"),
    _swap(r"^(?:End|Finish|Close)\b", "End", "Finish", "Close", "Conclude"),
    _swap(r"\bPlease (\w)", r"\1", r"Please \1"),
    _swap(r"\b(?:exactly|precisely) ", "exactly ", "", "just "),
    _swap(r"\.$", ".", "", "!", ", please."),
)


def vary(rng: random.Random, phrasing: str, held_out: Callable[[], list[str]], chance: float = 0.4) -> str:
    """Exchanges words of a share of phrasings for others of the same meaning, but gives none that is held out."""
    if rng.random() > chance:
        return phrasing
    varied = phrasing
    for pattern, replacements in _SWAPS:
        if rng.random() < 0.5:
            varied = pattern.sub(rng.choice(replacements), varied)
    return phrasing if varied == phrasing or varied in held_out() else varied
