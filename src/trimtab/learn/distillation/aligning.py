"""Which token of a changed answer stands where one of the original stood.

A program that rewrites an answer changes a few of its words. Where the rest stands, what the model would have said is
known: its distribution at that place of the original. So tokens of both are aligned by the characters they begin at,
those of the texts by difflib (the same whatever their case).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any


def aligned(tokenizer: Any, original: Sequence[int], changed: Sequence[int]) -> list[int | None]:
    """For each token of a changed answer, the place of the original at which the same text begins.

    Args:
        tokenizer: What made the tokens.
        original: Token ids of the original, without an end token; `T`.
        changed: Those of the changed answer.

    Returns:
        One place (or None) for each token, and one more for what follows the last: `T` where the original is over too.
    """
    before, after = (_beginnings(tokenizer, ids) for ids in (original, changed))
    texts = [tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) for ids in (original, changed)]
    characters = _same_characters(*texts)
    starts: dict[int, int] = {}
    for place, character in enumerate(before):
        starts.setdefault(character, place)
    seen: set[int] = set()
    found: list[int | None] = []
    for character in after:
        # Of several tokens that are one letter, only the first begins where a letter does.
        found.append(None if character in seen else starts.get(characters.get(character, -1)))
        seen.add(character)
    return found


def _beginnings(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """At which character each token begins, and where the text ends."""
    return [
        len(tokenizer.decode(list(ids[:place]), clean_up_tokenization_spaces=False).rstrip("\ufffd"))
        for place in range(len(ids) + 1)
    ]


def _same_characters(original: str, changed: str) -> dict[int, int]:
    """For characters of the changed text, and its end, the place of the same in the original."""
    old, new = original.lower(), changed.lower()
    if len(old) != len(original) or len(new) != len(changed):  # a few capitals are two letters in lower case
        old, new = original, changed
    if old == new:
        return {place: place for place in range(len(new) + 1)}
    found: dict[int, int] = {}
    end = (len(old), len(new))
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        found |= {block.b + step: block.a + step for step in range(block.size)}
        if block.size and (block.a + block.size, block.b + block.size) == end:
            found[len(new)] = len(old)
    return found
