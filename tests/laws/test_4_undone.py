"""Law 4: hooks are gone after the call, also after an exception or an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, hooks_of, logits_of, random_steering


class _BrokenError(Exception):
    pass


CALLS: dict[str, Callable[[Any], Any]] = {
    "generate": lambda e: e.generate(PROMPTS, steering=random_steering(e, 0, "generated"), max_new_tokens=4),
    "beams": lambda e: e.generate(PROMPTS, steering=random_steering(e), max_new_tokens=4, num_beams=2),
    "stream": lambda e: list(
        e.stream(PROMPTS[0], steering=random_steering(e, 0, "prompt"), max_new_tokens=4)
    ),
    "capture": lambda e: e.capture(PROMPTS, positions="mean"),
    "score": lambda e: e.score(PROMPTS, ["a", "b", "c"], steering=random_steering(e)),
}


@contextmanager
def _breaking(engine: Any, error: type[BaseException]) -> Iterator[None]:
    """The first block raises on its second pass (the first is that of `random_steering`'s own reading)."""
    passes = 0

    def raise_it(module: Any, args: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise error

    handle = engine.decoder_blocks.blocks[0].register_forward_pre_hook(raise_it)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("call", CALLS)
def test_nothing_stays(engine: Any, call: str) -> None:
    before, plain = hooks_of(engine.model), logits_of(engine, PROMPTS)
    CALLS[call](engine)
    assert hooks_of(engine.model) == before
    assert torch.equal(logits_of(engine, PROMPTS), plain)


@pytest.mark.parametrize("error", [_BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("call", ["generate", "stream", "score"])
def test_nothing_stays_after_an_exception(engine: Any, call: str, error: type[BaseException]) -> None:
    before, plain = hooks_of(engine.model), logits_of(engine, PROMPTS)
    with _breaking(engine, error), pytest.raises(error):
        CALLS[call](engine)
    assert hooks_of(engine.model) == before
    assert torch.equal(logits_of(engine, PROMPTS), plain)


def test_nothing_stays_after_a_capture_that_fails(engine: Any) -> None:
    before = hooks_of(engine.model)
    with _breaking(engine, _BrokenError), pytest.raises(_BrokenError):
        engine.capture(PROMPTS, batch_size=1)
    assert hooks_of(engine.model) == before


def test_a_stream_leaves_the_model_alone_between_its_pieces(engine: Any) -> None:
    before, plain = hooks_of(engine.model), logits_of(engine, PROMPTS)
    stream = engine.stream(PROMPTS[2], steering=random_steering(engine), max_new_tokens=12)
    assert next(stream)
    assert hooks_of(engine.model) == before
    assert torch.equal(logits_of(engine, PROMPTS), plain)
    stream.close()
    assert hooks_of(engine.model) == before
