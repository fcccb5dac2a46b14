"""The bytes of every token of a vocabulary, in the form in which llguidance reads grammars against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from trimtab.errors import ModelError

_SAMPLE = 'What a "constraint" sees: {bytes, [1, 2.5]}.\nNot tokens; été, 数.'


def readable_vocabulary(tokenizer: Any, ends: Iterable[int], width: int, model: str) -> Any:
    """The `llguidance.LLTokenizer` of any tokenizer of transformers.

    Args:
        tokenizer: One that runs in Rust is read as it is; of another kind, the bytes of each token are asked for.
        ends: The tokens that end an answer.
        width: How many logits the model gives; those without a token are never allowed.
        model: What to call the model in messages.

    Raises:
        ModelError: llguidance is not installed, the model has no token to end an answer, or its tokens cannot be read
            as bytes.
    """
    try:
        from llguidance import LLTokenizer
    except ImportError:
        raise ModelError(
            "to hold answers to a constraint needs llguidance; install it with: pip install 'trimtab[constraints]'"
        ) from None
    known = [end for end in ends if 0 <= end < width]
    if not known:
        raise ModelError(
            f"{model} has no token that ends an answer, so that a constraint could never let it end; name one in its "
            "generation config (eos_token_id)"
        )
    width = max(width, len(tokenizer))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        with suppress(ValueError):  # of a kind that llguidance does not know
            return LLTokenizer(backend.to_str(), n_vocab=width, eos_token=known)
    tokens = _Tokens(tokenizer, known, width)
    joined = b"".join(tokens.tokens[token] for token in tokens(_SAMPLE))
    if joined.strip() != _SAMPLE.encode():
        raise ModelError(
            f"the tokenizer of {model}, a {type(tokenizer).__name__}, does not tell the bytes of its tokens, so that "
            "its answers cannot be held to a constraint; load one that does (of byte-level BPE or sentencepiece)"
        )
    from llguidance import TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(tokens), n_vocab=width, eos_token=known)


class _Tokens:
    """What llguidance asks of a tokenizer that it cannot read itself."""

    def __init__(self, tokenizer: Any, ends: Sequence[int], width: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = ends[0]
        self.bos_token_id = tokenizer.bos_token_id
        self.special_token_ids = sorted({*tokenizer.all_special_ids, *ends})
        names: list[Any] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        added = {int(token) for token in getattr(tokenizer, "added_tokens_decoder", {})}
        spell = _speller([str(name) for token, name in enumerate(names) if token not in added])
        self.tokens = [
            name.encode() if token in added or token in self.special_token_ids else spell(name)
            for token, name in enumerate(str(name) for name in names)
        ]
        self.tokens += [b""] * (width - len(self.tokens))

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _speller(names: Sequence[str]) -> Any:
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


def _byte_level() -> dict[str, int]:
    """The letters that stand for bytes in vocabularies like GPT-2's, where each byte has one that can be shown."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(256 + place): byte for place, byte in enumerate(hidden)}
