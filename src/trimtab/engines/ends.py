"""The tokens at which an answer ends: wherever a model says so."""

from __future__ import annotations

from typing import Any

from trimtab.steering.templates import has_template, rendered

_ANSWER = "trimtab"


def end_tokens(generation: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: of the chat template, the generation settings and the tokenizer, each once.

    They often disagree: a chat model ends its turn with one token and a text with another, and files that were made of
    it name one of them. The first is the one that the model was trained to end a turn of a chat with.

    Args:
        generation: A `GenerationConfig` of transformers.
        tokenizer: The model's tokenizer.
    """
    known = generation.eos_token_id
    known = () if known is None else (known,) if isinstance(known, int) else tuple(known)
    found = (turn_end(tokenizer), *known, tokenizer.eos_token_id)
    return tuple(dict.fromkeys(token for token in found if token is not None))


def turn_end(tokenizer: Any) -> int | None:
    """The special token that the chat template closes an answer with; None where text closes it, or nothing."""
    if not has_template(tokenizer):
        return None
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = rendered(tokenizer, messages, add_generation_prompt=False)
    except Exception:  # noqa: BLE001 - a template is the model author's program: it can raise anything
        return None
    _, answer, rest = text.rpartition(_ANSWER)
    if not answer:
        return None
    special = set(getattr(tokenizer, "all_special_tokens", ())) | {
        token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special
    }
    rest = rest.lstrip()
    closing = max((token for token in special if token and rest.startswith(token)), key=len, default=None)
    if closing is None or closing == tokenizer.bos_token:
        return None
    number = tokenizer.convert_tokens_to_ids(closing)
    return number if isinstance(number, int) else None
