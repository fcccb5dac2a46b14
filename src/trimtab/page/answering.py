"""Several answers at once, piece by piece: the one place where the page has the model write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.steering.steering import Steering

PAUSE = 0.06
"""Seconds between two pictures of what is written so far: faster than anybody reads."""


@dataclass(frozen=True)
class Wanted:
    """An answer that is wanted: to a prompt, under a steering or none."""

    prompt: str
    steering: Steering | None = None


def streamed(
    engine: Engine, wanted: Sequence[Wanted], *, max_new_tokens: int, pause: float = PAUSE
) -> Iterator[list[str]]:
    """All answers as far as they are written, again and again until all have ended.

    Args:
        engine: The model; it is free for others between two tokens.
        wanted: What to answer. Each gets a token in turn.
        max_new_tokens: The longest answer, in tokens.
        pause: Seconds between two pictures, at least.

    Yields:
        The texts so far, in the order of `wanted`; the last time whole.

    Raises:
        PromptError: A prompt does not fit the model's context.
        SteeringError: A steering is for another model.
    """
    texts = [""] * len(wanted)
    running = {
        row: engine.stream(one.prompt, steering=one.steering, max_new_tokens=max_new_tokens)
        for row, one in enumerate(wanted)
    }
    shown = time.monotonic()
    while running:
        for row, pieces in list(running.items()):
            piece = next(pieces, None)
            if piece is None:
                del running[row]
            else:
                texts[row] += piece
        if running and time.monotonic() - shown >= pause:
            yield list(texts)
            shown = time.monotonic()
    yield list(texts)


def tokens_of(engine: Engine, text: str) -> int:
    """How many tokens a text has, as far as the engine can tell; 0 where it cannot."""
    tokenizer = getattr(engine, "tokenizer", None)
    return 0 if tokenizer is None else len(tokenizer(text, add_special_tokens=False)["input_ids"])
