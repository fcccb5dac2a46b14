"""Closed-book facts of an evaluation: what each of its steerings makes the model forget, with the cache of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab import nano
from trimtab.errors import SteeringError
from trimtab.evaluate.cache import ContentCache, model_key
from trimtab.instructions import Instruction, from_dict
from trimtab.measure import facts
from trimtab.measure.facts import Facts
from trimtab.progress import Tell, part_of
from trimtab.steering.collection import SteeringSet
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.jobs import Steerings


def closed_book(
    engine: Engine,
    steerings: Steerings,
    n: int,
    *,
    strength: float = 1.0,
    cache: ContentCache,
    batch_size: int | None,
    tell: Tell,
) -> dict[str, Facts]:
    """Asks closed-book questions of the test split plain and under each steering that was given, on its own.

    Args:
        engine: The engine. A built-in model is not asked.
        steerings: As of an evaluation; of sums of them, only the parts.
        n: How many questions.
        strength: What to multiply the steerings by.
        cache: Where answers are looked for and kept.
        batch_size: Rows per batch; None lets the engine choose.
        tell: Told how far it is.

    Returns:
        By what the steering is for (its name, if it names no instruction); without those that no question suits.
    """
    given = [] if nano.is_built_in(engine.identity.id) else _given(steerings)
    model = model_key(engine)
    plain: dict[str, str] = {}
    found: dict[str, Facts] = {}
    for number, (label, instructions, steering) in enumerate(given):
        scaled = steering * strength
        asked = [one.text for one in facts.questions("test", n, instructions=instructions)]
        before = {text: _key(model, None, text) for text in asked}
        try:
            digest = scaled.digest()
            after = {text: _key(model, digest, text) for text in asked}
        except SteeringError:  # a rule that is Python code has no digest, so nothing is kept
            after = {}
        plain |= _read(cache, {text: key for text, key in before.items() if text not in plain})
        steered = _read(cache, after)
        there = set(plain), set(steered)
        measured = facts.measure(
            engine,
            scaled,
            n=n,
            instructions=instructions,
            known=plain,
            steered=steered,
            batch_size=batch_size,
            progress=part_of(tell, f"closed-book questions {number + 1} of {len(given)}"),
        )
        for texts, keys, old in zip((plain, steered), (before, after), there, strict=True):
            for text in texts.keys() & keys.keys() - old:
                cache.put(keys[text], {"text": texts[text]})
        if measured is not None:
            found[label] = measured
    return found


def _given(steerings: Steerings) -> list[tuple[str, list[Instruction], Steering]]:
    """Each steering with what it is for, in words and as instructions."""
    if isinstance(steerings, Mapping):
        return [(one.label, [one], steering) for one, steering in steerings.items()]
    each: Sequence[Steering] = (
        [steerings]
        if isinstance(steerings, Steering)
        else steerings.steerings
        if isinstance(steerings, SteeringSet)
        else steerings
    )
    found = []
    for steering in each:
        instructions = [from_dict(one) for one in steering.record.instructions]
        found.append((", ".join(one.label for one in instructions) or steering.name, instructions, steering))
    return found


def _key(model: Mapping[str, Any], steering: str | None, text: str) -> dict[str, Any]:
    settings = {"max_new_tokens": facts.MAX_NEW_TOKENS, "sampling": "greedy"}
    return {"kind": "fact", "model": model, "steering": steering, "prompt": text, "settings": settings}


def _read(cache: ContentCache, keys: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    values = {text: cache.get(key) for text, key in keys.items()}
    return {
        text: value["text"]
        for text, value in values.items()
        if isinstance(value, dict) and isinstance(value.get("text"), str)
    }
