"""What a constraint admits, over a small vocabulary of bytes and pieces of text."""

from __future__ import annotations

import functools
import random
from typing import Any

from trimtab.constraint import Constraint, limits

PIECES = (
    " the", "The", " is", " rocket", "Rocket", " moon", "moon", " star", " a", "A", " I", " of water", " and",
    ", ", ". ", ".\n", ".\n\n", "\n\n", "\n", "! ", "? ", "...", " Dr. ", " e.g. ", " U.S. ", "3.14", "1.", "1. ",
    "\n* ", "\n- ", "* ", "- ", "**", "*", " *", "***", "\n***\n", "******", "\n******\n", "---", '"', '", "', '": "',
    '{"', '"}', "}", "[", "]", " [", "[name]", "<<", ">>", "<<Title>>", "Section", "Section 1", "\nSection 2", "P.S.",
    "\nP.S. ", "p.s.", "NASA", " AND", "```json\n", "\n```", "My answer is yes.", "however", "However", "however, ",
    "\n\nhowever", "Any other questions?", " any other questions?", "What is NASA?",
    " reef", " wonder", " 2,300 kilometers", " that is all", " world", " words", " end", "é",
    "É", "ﬁ", "ß", "\u2028", "\u00a0", "\x1c", "\x0b", "\r\n", "ſ", "ı", "İ", "ǅ", "²", "\u0301", "日本", "Привет",
)  # fmt: skip


class _Vocabulary:
    """Every byte, then the pieces, then the end token."""

    def __init__(self) -> None:
        self.tokens = (
            [bytes([value]) for value in range(256)] + [piece.encode() for piece in PIECES] + [b"<end>"]
        )
        self.eos_token_id = len(self.tokens) - 1
        self.bos_token_id = None
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@functools.cache
def vocabulary() -> Any:
    """The vocabulary as llguidance takes it."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Vocabulary()))


def matcher(constraint: Constraint) -> Any:
    """A matcher at the start of an answer."""
    from llguidance import LLMatcher

    made = LLMatcher(vocabulary(), constraint.grammar, log_level=0, limits=limits())
    assert not made.is_error(), made.get_error()
    return made


def walk(constraint: Constraint, seed: int, length: int = 60) -> str | None:
    """A text that the constraint admits, of tokens drawn at random among those allowed; None if it finds no end.

    It ends at the first chance after `length` tokens, and is given up after ten times as many.
    """
    made, rng, written = matcher(constraint), random.Random(seed), bytearray()
    tokens = _Vocabulary().tokens
    end = len(tokens) - 1
    for step in range(10 * length):
        mask = made.compute_bitmask()
        assert not made.is_error(), made.get_error()
        allowed = [token for token in range(len(tokens)) if mask[token // 8] >> token % 8 & 1]
        assert allowed, bytes(written)
        if end in allowed and (step > length or rng.random() < 0.1 or allowed == [end]):
            assert made.is_accepting()
            return written.decode()
        pieces = [token for token in allowed if 256 <= token < end]
        plain = [token for token in allowed if 32 <= token < 127]
        token = rng.choice(
            pieces if pieces and rng.random() < 0.7 else plain or [t for t in allowed if t != end]
        )
        written += tokens[token]
        assert made.consume_token(token), made.get_error()
    return None
