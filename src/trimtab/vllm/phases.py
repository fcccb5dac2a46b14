"""What the prefix cache must know beside the salt: where a prompt ends, if prompt and answer are steered differently.

vLLM caches the blocks of an answer too, and finds them again when a later prompt quotes it, as every turn of a chat
does. Under edits that act on the prompt only, or on generated tokens only, such a block was computed as an answer and
would be read as a prompt. So the hash of each block that holds generated tokens says where they begin; blocks of
prompts alone are shared as ever, and with edits for all tokens everything is.
"""

from __future__ import annotations

from typing import Any

INTERNAL = "trimtab"
"""The entry of a request's `extra_args` that the frontend writes and the engine and its workers read."""
SCOPED = "scoped"
"""The entry below that which says that some edit is not for all tokens."""


def block_keys(request: Any, start: int, end: int) -> list[tuple[str, int]]:
    """What the hash of one block of a request must cover beside its tokens and its salt.

    Args:
        request: A `vllm.v1.request.Request`.
        start: The number of the block's first token in the request.
        end: The number after that of its last token.

    Returns:
        Where generated tokens begin in the block, if its request is steered by edits that tell them from a prompt's.
    """
    extra = getattr(request.sampling_params, "extra_args", None)
    internal = extra.get(INTERNAL) if extra else None
    if not internal or not internal.get(SCOPED):
        return []
    own = internal.get("prompt_tokens")
    prompt_tokens: int = request.num_prompt_tokens if own is None else own
    return [("trimtab_generated", max(prompt_tokens - start, 0))] if end > prompt_tokens else []
