"""The bytes that tokens stand for, of any tokenizer of transformers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any


def token_bytes(tokenizer: Any, special: frozenset[int] = frozenset()) -> list[bytes]:
    """What every token of a vocabulary spells; added tokens, and those that are `special`, are their own names."""
    names: list[Any] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = {int(token) for token in getattr(tokenizer, "added_tokens_decoder", {})}
    spell = _speller([str(name) for token, name in enumerate(names) if token not in added])
    return [
        name.encode() if token in added or token in special else spell(name)
        for token, name in enumerate(str(name) for name in names)
    ]


def _speller(names: Sequence[str]) -> Callable[[str], bytes]:
    """How the names of a vocabulary's tokens spell bytes."""
    if all(len(name) == 1 and ord(name) < 256 for name in names):  # one token for each byte (ByT5)
        return lambda name: name.encode("latin-1")
    table = _byte_level()
    marks = "".join(names)
    if "\u2581" not in marks and all(letter in table for letter in marks):
        return lambda name: bytes(table[letter] for letter in name)

    def pieces(name: str) -> bytes:  # of sentencepiece
        if re.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes([int(name[3:5], 16)])
        return name.replace("\u2581", " ").encode()

    return pieces


@cache
def _byte_level() -> dict[str, int]:
    """The letters that stand for bytes in vocabularies like GPT-2's, where each byte has one that can be shown."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(256 + place): byte for place, byte in enumerate(hidden)}
