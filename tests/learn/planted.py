"""An engine whose activations are made up: queries scatter around a point, and saying an instruction moves them along a
known direction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.base import Capture, Engine
from trimtab.prompts.pairs import PromptPair
from trimtab.steering.record import ModelIdentity

BLOCKS, WIDTH = 3, 24
SAID = "PLEASE"


def pairs(count: int) -> list[PromptPair]:
    return [PromptPair(f"query {i}", f"query {i} {SAID}", phrasing=SAID) for i in range(count)]


@Engine.register
class PlantedEngine:
    """Only `capture`, of last positions.

    Args:
        push: `[BLOCKS, WIDTH]`, what the instruction adds.
        spread: How differently it moves different queries, along one axis for all blocks.
        axis: `[WIDTH]`, that axis.
        noise: Size of what else differs between the two sides.
    """

    def __init__(
        self, push: Tensor, spread: float = 0.0, axis: Tensor | None = None, noise: float = 0.0
    ) -> None:
        self.identity = ModelIdentity("planted", None, "Planted", BLOCKS, WIDTH, "plain")
        self.push, self.spread, self.axis, self.noise = push, spread, axis, noise
        self.prompts: list[str] = []

    def activation(self, prompt: str) -> Tensor:
        query = prompt.removesuffix(f" {SAID}")
        vector = 5 * self._random(query, BLOCKS, WIDTH) + self.noise * self._random(
            prompt + "n", BLOCKS, WIDTH
        )
        if prompt != query:
            vector = vector + self.push
            if self.axis is not None:
                vector = vector + self.spread * self._random(query + "s", 1) * self.axis
        return vector

    def _random(self, text: str, *shape: int) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    def capture(
        self,
        prompts: Sequence[str],
        *,
        blocks: Sequence[int] | None = None,
        positions: str,
        keep: bool = False,
        **_: Any,
    ) -> Capture:
        if positions != "last":
            raise AssertionError("learning reads the last token")
        self.prompts += prompts
        wanted = tuple(range(BLOCKS)) if blocks is None else tuple(blocks)
        activations = torch.stack([self.activation(prompt)[list(wanted)] for prompt in prompts])
        return Capture(wanted, len(prompts), activations.mean(0), activations=activations if keep else None)
