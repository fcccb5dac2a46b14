"""Several answers at once, piece by piece: the one place where the page has the model write."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.server.embedded import Embedded
    from trimtab.steering.steering import Steering

PAUSE = 0.06
"""Seconds between two pictures of what is written so far: faster than anybody reads."""


@dataclass(frozen=True)
class Wanted:
    """An answer that is wanted: to a prompt, under a steering or none."""

    prompt: str
    steering: Steering | None = None


def streamed(
    engine: Engine,
    wanted: Sequence[Wanted],
    *,
    max_new_tokens: int,
    embedded: Embedded | None = None,
    pause: float = PAUSE,
) -> Iterator[list[str]]:
    """All answers as far as they are written, again and again until all have ended.

    Args:
        engine: The model; it is free for others between two tokens.
        wanted: What to answer. Each gets a token in turn.
        max_new_tokens: The longest answer, in tokens.
        embedded: The server in whose running batch they are written, with what others ask; None for none.
        pause: Seconds between two pictures, at least.

    Yields:
        The texts so far, in the order of `wanted`; the last time whole.

    Raises:
        TrimtabError: A prompt does not fit the model's context, a steering is for another model, or there is no place
            for more answers.
    """
    if embedded is None:
        pieces = _in_turn(engine, wanted, max_new_tokens)
    else:
        pieces = _in_batch(embedded, wanted, max_new_tokens)
    texts = [""] * len(wanted)
    shown = time.monotonic()
    for row, piece in pieces:
        texts[row] += piece
        if time.monotonic() - shown >= pause:
            yield list(texts)
            shown = time.monotonic()
    yield list(texts)


def _in_turn(engine: Engine, wanted: Sequence[Wanted], max_new_tokens: int) -> Iterator[tuple[int, str]]:
    running = {
        row: engine.stream(one.prompt, steering=one.steering, max_new_tokens=max_new_tokens)
        for row, one in enumerate(wanted)
    }
    while running:
        for row, pieces in list(running.items()):
            piece = next(pieces, None)
            if piece is None:
                del running[row]
            else:
                yield row, piece


def _in_batch(embedded: Embedded, wanted: Sequence[Wanted], max_new_tokens: int) -> Iterator[tuple[int, str]]:
    """What the event loop of the server gives, from a thread of the page's."""
    loop = embedded.runner.loop
    if loop is None:
        raise RuntimeError("the server does not run")
    found: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()

    async def write(row: int, one: Wanted) -> None:
        async for part in embedded.answer(one.prompt, steering=one.steering, max_new_tokens=max_new_tokens):
            found.put((row, part.text))

    async def write_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for row, one in enumerate(wanted):
                    group.create_task(write(row, one))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            found.put(None)

    writing = asyncio.run_coroutine_threadsafe(write_all(), loop)
    try:
        while (piece := found.get()) is not None:
            yield piece
        writing.result()
    finally:
        writing.cancel()  # whoever asked has left: the places are free again


def tokens_of(engine: Engine, text: str) -> int:
    """How many tokens a text has, as far as the engine can tell; 0 where it cannot."""
    tokenizer = getattr(engine, "tokenizer", None)
    return 0 if tokenizer is None else len(tokenizer(text, add_special_tokens=False)["input_ids"])
