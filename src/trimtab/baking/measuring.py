"""How near a fitted checkpoint is to the steered model: what it follows, what that costs, and how its tokens differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trimtab import instructions, nano
from trimtab.baking.baked import Answered
from trimtab.engines.base import Generation
from trimtab.engines.chat import prompt_ids
from trimtab.engines.transformers import TransformersEngine
from trimtab.measure import facts
from trimtab.measure.responses import follows, measured, quality_of
from trimtab.progress import Tell, prefixed
from trimtab.prompts import default_queries
from trimtab.steering.steering import Steering


def compared(
    engine: TransformersEngine,
    baked: TransformersEngine,
    steering: Steering,
    test: int,
    max_new_tokens: int,
    tell: Tell,
) -> tuple[dict[str, float], dict[str, Answered]]:
    """The divergences from the steered model, and what each of the three models' answers measured.

    Args:
        engine: The plain model.
        baked: The baked one.
        steering: What was baked.
        test: How many test questions, and as many closed-book ones where those suit.
        max_new_tokens: Longest answer, in tokens.
        tell: Told how far it is.
    """
    queries = default_queries(engine.identity, "test", test)
    runs: dict[str, tuple[TransformersEngine, Steering | None]] = {
        "plain": (engine, None),
        "steered": (engine, steering),
        "baked": (baked, None),
    }
    answers = {
        name: who.generate(
            queries, steering=applied, max_new_tokens=max_new_tokens, progress=prefixed(tell, name)
        )
        for name, (who, applied) in runs.items()
    }
    answered = {
        name: _answered(engine, who, applied, steering, queries, answers[name], test)
        for name, (who, applied) in runs.items()
    }
    return _divergences(engine, runs, queries, answers["steered"]), answered


def _answered(
    engine: TransformersEngine,
    who: TransformersEngine,
    applied: Steering | None,
    steering: Steering,
    queries: Sequence[str],
    answers: Sequence[Generation],
    test: int,
) -> Answered:
    wanted = [instructions.from_dict(one) for one in steering.record.instructions]
    judge = nano.facts if nano.is_built_in(engine.identity.id) else None
    quality = quality_of(measured(engine, queries, queries, answers, facts=judge))
    if judge is None and (asked := facts.questions("test", instructions=wanted)[:test]):
        told = who.generate(
            [one.text for one in asked], steering=applied, max_new_tokens=facts.MAX_NEW_TOKENS
        )
        right = sum(one.answered(answer.text) for one, answer in zip(asked, told, strict=True))
        quality = replace(quality, facts=right / len(asked))
    kept = [follows(answer.text, query, wanted) for query, answer in zip(queries, answers, strict=True)]
    return Answered(len(queries), sum(kept) / len(kept) if wanted else None, quality)


@torch.no_grad()
def _divergences(
    engine: TransformersEngine,
    runs: Mapping[str, tuple[TransformersEngine, Steering | None]],
    queries: Sequence[str],
    answers: Sequence[Generation],
) -> dict[str, float]:
    totals, tokens = {"plain": 0.0, "baked": 0.0}, 0
    for query, answer in zip(queries, answers, strict=True):
        prompt = prompt_ids(engine.tokenizer, query)
        if not answer.token_ids:
            continue
        row = torch.tensor([[*prompt, *answer.token_ids]], device=engine.device)

        def surprise(name: str, row: Tensor = row, begin: int = len(prompt) - 1) -> Tensor:
            who, applied = runs[name]
            with who.steered(applied):
                logits: Any = who.model(input_ids=row, use_cache=False).logits[0, begin:-1]
            return torch.log_softmax(logits.double(), -1)

        reference = surprise("steered")
        for name in totals:
            totals[name] += float((reference.exp() * (reference - surprise(name))).sum())
        tokens += len(answer.token_ids)
    return {name: round(total / max(tokens, 1), 4) for name, total in totals.items()}
