"""Law 2: cached generation equals uncached recomputation, token for token, for every `tokens` mode."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tiny import PROMPTS, random_steering, tokens_of


@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_cached_equals_uncached(engine: Any, scope: str) -> None:
    steerings = [random_steering(engine, seed, scope) for seed in (1, 2)]
    rows = [steerings[0], None, steerings[1]]
    cached = engine.generate(PROMPTS, steering=rows, max_new_tokens=20)
    uncached = engine.generate(PROMPTS, steering=rows, max_new_tokens=20, use_cache=False)
    assert tokens_of(cached) == tokens_of(uncached)
    assert tokens_of(cached) != tokens_of(engine.generate(PROMPTS, max_new_tokens=20))


def test_scopes_together_are_all(engine: Any) -> None:
    """`prompt` and `generated` share every token out between them, none twice and none to neither."""
    everywhere = random_steering(engine, 3, "all")
    halves = random_steering(engine, 3, "prompt") + random_steering(engine, 3, "generated")
    whole = engine.generate(PROMPTS, steering=everywhere, max_new_tokens=12)
    assert tokens_of(engine.generate(PROMPTS, steering=halves, max_new_tokens=12)) == tokens_of(whole)


def test_generated_leaves_the_first_token_and_prompt_changes_it(engine: Any) -> None:
    """The first new token comes out of the prompt alone."""
    plain = engine.generate(PROMPTS, max_new_tokens=1)
    late = random_steering(engine, 4, "generated", strength=2.0)
    assert tokens_of(engine.generate(PROMPTS, steering=late, max_new_tokens=1)) == tokens_of(plain)
    early = random_steering(engine, 4, "prompt", strength=2.0)
    whole = random_steering(engine, 4, "all", strength=2.0)
    first = tokens_of(engine.generate(PROMPTS, steering=early, max_new_tokens=1))
    assert first == tokens_of(engine.generate(PROMPTS, steering=whole, max_new_tokens=1))
    assert first != tokens_of(plain)
