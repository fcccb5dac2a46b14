"""Compares the two engines in a process of its own: `python -m tests.on_vllm.engine_job MODEL OPTIONS RESULT`.

The options, JSON, are those of the vLLM engine; the result has the largest differences.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tests.tiny import PROMPTS, random_steering

import trimtab
from trimtab.engines.transformers import TransformersEngine
from trimtab.thoughts import ThoughtFormat

# In which half of what a random model writes is a mark.
BYTES = ThoughtFormat(
    "bytes",
    begins="thought",
    kinds={"thought": "thought", "answer": "answer", "call": "call"},
    rules=tuple(
        (("thought", chr(byte), "answer"), ("answer", chr(byte), "call"), ("call", chr(byte), "answer"))[
            byte % 3
        ]
        for byte in range(1, 128)
    ),
)
LONG = "Tell me about the river and the city, in three sentences. " * 3
ASKED = [*PROMPTS, LONG, "hi", LONG]


def compare(engine: trimtab.VllmEngine, plain: TransformersEngine) -> dict[str, Any]:
    """What differs in what the engines read, write and score."""
    scopes = ("all", "prompt", "answer", "generated", "answer")
    rows = [None, *(random_steering(plain, seed, scope) for seed, scope in enumerate(scopes))]
    numbers = torch.Generator().manual_seed(0)
    shape = (plain.identity.blocks, 2, plain.identity.width)
    found: dict[str, Any] = {"identity": engine.identity == plain.identity, "read": {}}
    for positions in ("last", "mean", "all", 1):
        options: dict[str, Any] = {
            "positions": positions,
            "keep": True,
            "directions": torch.randn(shape, generator=numbers) / shape[2] ** 0.5,
        }
        one, two = engine.capture(ASKED, **options), plain.capture(ASKED, **options)
        assert (one.blocks, one.count) == (two.blocks, two.count)
        found["read"][str(positions)] = max(
            float(((first - second).abs() / (1 + second.abs())).max())
            for first, second in (
                (one.mean, two.mean),
                (one.second_moment, two.second_moment),
                (one.activations, two.activations),
            )
            if first is not None and second is not None
        )
    settings: dict[str, Any] = {"steering": rows, "max_new_tokens": 16}
    written, expected = engine.generate(ASKED, **settings), plain.generate(ASKED, **settings)
    found["written"] = [one == two for one, two in zip(written, expected, strict=True)]
    found["told apart"] = any(one.thought and one.text for one in expected)
    answers = [one.token_ids for one in expected]
    scores = zip(
        engine.score(ASKED, answers, steering=rows), plain.score(ASKED, answers, steering=rows), strict=True
    )
    found["scores"] = max(abs(one - two) for one, two in scores if one == one or two == two)  # nan is not
    [streamed] = ["".join(engine.stream(LONG, steering=rows[1], max_new_tokens=16))]
    found["streamed"] = streamed == plain.generate([LONG], steering=rows[1], max_new_tokens=16)[0].text
    return found


def main(model: str, options: str, result: str) -> None:
    """Runs both."""
    with trimtab.load(model, engine="vllm", thoughts=BYTES, **json.loads(options)) as engine:
        found = compare(engine, trimtab.load(model, device="cpu", thoughts=BYTES))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
