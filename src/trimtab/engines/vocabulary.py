"""The bytes of every token of a vocabulary, in the form in which llguidance reads grammars against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from trimtab.errors import ModelError
from trimtab.thoughts.spelling import token_bytes

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
        self.tokens = token_bytes(tokenizer, frozenset(self.special_token_ids))
        self.tokens += [b""] * (width - len(self.tokens))

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
