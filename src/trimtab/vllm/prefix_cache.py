"""What vLLM's prefix cache must know to keep blocks computed under one steering from being read under another.

Two things. The salt of a request covers what steers it, and no client can leave that out. And where prompt and answer
are steered differently, a block of an answer must not be read as part of a later prompt that quotes it, as every turn
of a chat does: the hash of each block that holds generated tokens then says where they begin. Blocks of prompts alone
are shared as ever, and with edits for all tokens everything is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from trimtab.serve.composition import composed

INTERNAL = "trimtab"
"""The entry of a request's `extra_args` that the frontend writes and the engine and its workers read."""
SCOPED = "scoped"
"""The entry below that which says that some edit is not for all tokens."""


def salt(client_salt: str | None, composition: Iterable[tuple[str, float]]) -> str | None:
    """What vLLM shall mix into the hashes of a request's cache blocks: equal only where both arguments are.

    A salt that a client chose is hashed too, steered or not: so none that it could choose is the salt of a steering.
    Where there is neither, it is None, so that plain requests share their cache as ever.
    """
    parts = composed(composition)
    if not client_salt and not parts:
        return None
    content = json.dumps([client_salt or None, canonical(parts)])
    return "trimtab:" + hashlib.sha256(content.encode()).hexdigest()


def canonical(composition: Iterable[tuple[str, float]]) -> str:
    """A text that is equal for equal compositions only, the same in every process and version of Python."""
    parts = [[digest, repr(strength)] for digest, strength in composed(composition)]
    return json.dumps(parts, separators=(",", ":"))


def block_keys(request: Any, start: int, end: int) -> list[tuple[str, int]]:
    """What the hash of the block of tokens `start` to `end` of a vLLM request must cover beside tokens and salt.

    That is where generated tokens begin in it, if edits steer the request that tell them from a prompt's.
    """
    extra = getattr(request.sampling_params, "extra_args", None)
    internal = extra.get(INTERNAL) if extra else None
    if not internal or not internal.get(SCOPED):
        return []
    own = internal.get("prompt_tokens")
    prompt_tokens: int = request.num_prompt_tokens if own is None else own
    return [("trimtab_generated", max(prompt_tokens - start, 0))] if end > prompt_tokens else []
