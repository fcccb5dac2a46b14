"""Means over whole texts: the first token, where models park attention, is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import tiny_engine

from trimtab.errors import ModelError
from trimtab.measure.texts import text_means


def test_the_first_token_does_not_count_however_large_it_is() -> None:
    engine = tiny_engine()

    def parked(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden[:, 0] = 1e6
        return output

    plain = text_means(engine, ["a dog ran home", "go"], [2])
    handle = engine.decoder_blocks.blocks[2].register_forward_hook(parked)
    try:
        assert torch.equal(text_means(engine, ["a dog ran home", "go"], [2]), plain)
        assert (text_means(engine, ["g"], [2]) == 1e6).all()  # there is no other
    finally:
        handle.remove()
    assert plain.shape == (2, 1, engine.identity.width)
    kept = engine.capture(["go"], positions="all", keep=True, raw=True).activations
    assert kept is not None
    assert torch.allclose(text_means(engine, ["go"])[0], kept[1:].mean(0), atol=1e-6)


def test_an_engine_that_keeps_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    found = engine.capture(["go"])
    monkeypatch.setattr(engine, "capture", lambda *values, **options: found)
    with pytest.raises(ModelError, match="keeps no activations"):
        text_means(engine, ["go"])
