"""A model in a few lines: it answers by rule, so that what the evaluation measures is known beforehand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from trimtab.engines.base import Capture, Engine, Generation
from trimtab.steering.edits import Edit
from trimtab.steering.steering import ModelIdentity, Record, Steering

IDENTITY = ModelIdentity("fake", None, "FakeForCausalLM", 4, 8, "plain")
ANSWER = "The River is quiet. It flows past Oslo. Many people love it."


class FakeEngine(Engine):
    """Answers with capital letters; in lowercase when told to, when block 2 is steered, or when held to a constraint.

    Broken past `breaks`.
    """

    def __init__(self, *, breaks: float = 50.0, ends: bool = True) -> None:
        self.identity = IDENTITY
        self.breaks = breaks
        self.ends = ends
        self.generated: list[list[str]] = []
        self.scored: list[tuple[list[str], list[str]]] = []

    def capture(self, prompts: Sequence[Any], **options: Any) -> Capture:
        blocks = self.block_numbers(options.get("blocks"))
        rows = []
        for prompt in prompts:
            state = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
            row = torch.randn(len(blocks), self.identity.width, generator=state)
            row[:, 0] += 3.0 * _told(prompt)
            rows.append(row)
        activations = torch.stack(rows)
        directions = options.get("directions")
        moment = None
        if directions is not None:
            picked = directions[list(blocks)] if len(directions) != len(blocks) else directions
            picked = picked[:, None] if picked.dim() == 2 else picked
            moment = torch.einsum("nbd,bkd->nbk", activations, picked).square().mean(0)
        kept = activations if options.get("keep") else None
        return Capture(blocks, len(rows), activations.mean(0), moment, kept)

    def generate(self, prompts: Sequence[Any], **options: Any) -> list[Generation]:
        self.generated.append(list(prompts))
        edits = self.edits_of_rows(options.get("steering"), len(prompts), list(prompts))
        generations = []
        for i, (prompt, row) in enumerate(zip(prompts, edits, strict=True)):
            text = ANSWER
            if _told(prompt) or any(edit.block == 2 for edit in row):
                text = text.lower()
            held = (options.get("constraints") or [None] * len(prompts))[i]
            taken = None if held is None else 0.5 * (text != text.lower())
            if held is not None:
                text = text.lower()
            if any(float(edit.u.norm()) * max(abs(edit.alpha), 1.0) > self.breaks for edit in row):
                text = "the the the the the the the the the the the the"
            generations.append(Generation(text, tuple(text.encode()), i, self.ends, taken))
        return generations

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        raise NotImplementedError

    def score(self, prompts: Sequence[Any], responses: Sequence[Any], **options: Any) -> list[float]:
        responses = [
            response if isinstance(response, str) else bytes(response).decode() for response in responses
        ]
        self.scored.append((list(prompts), responses))
        # One nat per token, and half a nat more for a lowercase text: what was not asked for is a surprise.
        return [1.0 + 0.5 * response.islower() for response in responses]


def _told(prompt: str) -> bool:
    return any(word in prompt.lower() for word in ("lowercase", "lower case", "small letters", "capital"))


def steering(block: int = 2) -> Steering:
    direction = torch.zeros(IDENTITY.width)
    direction[0] = 1.0
    return Steering(
        "lowercase",
        (Edit.add(block, direction, 1.0),),
        Record(IDENTITY, ({"name": "lowercase", "params": {}},), method="mean_difference"),
    )
