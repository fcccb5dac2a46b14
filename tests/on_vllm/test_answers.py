"""Law 9 for edits of the answer alone: vLLM steers the very tokens that the transformers engine does.

Nano "thinks" up to a letter that it writes soon, and "calls tools" between others, so that marks come in the middle of
tokens, often, and at other places under other steerings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.on_vllm.conftest import SMALL
from tests.tiny import PROMPTS, random_steering, tokens_of

import trimtab
from trimtab.engines.base import Engine
from trimtab.thoughts import ThoughtFormat
from trimtab.vllm.engine import VllmEngine

# What vLLM and what it imports warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

LETTERS = ThoughtFormat(
    "letters",
    begins="thought",
    kinds={"thought": "thought", "answer": "answer", "call": "call"},
    rules=(("thought", "e", "answer"), ("answer", " a", "call"), ("call", "i", "answer")),
)
LONG = "Tell me about the river and the city, in three sentences, and be kind to the reader. " * 2
ASKED = [LONG, LONG, *PROMPTS, LONG]
NGRAMS = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2, "prompt_lookup_min": 1}
WAYS: dict[str, dict[str, Any]] = {
    "chunked": {},
    "asynchronous and preempted": {
        "async_scheduling": True,
        "block_size": 32,
        "max_model_len": 192,
        "num_gpu_blocks_override": 8,
        "disable_log_stats": False,
    },
    "drafted": {"speculative_config": NGRAMS},
}


@pytest.fixture(scope="module")
def plain() -> Engine:
    """Nano under transformers."""
    return trimtab.load("nano", device="cpu", thoughts=LETTERS)


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def engine(request: pytest.FixtureRequest, quiet: None) -> Iterator[VllmEngine]:
    with trimtab.load("nano", engine="vllm", thoughts=LETTERS, **{**SMALL, **request.param}) as found:
        assert isinstance(found, VllmEngine)
        yield found


@pytest.fixture(scope="module")
def rows(plain: Engine) -> list[Any]:
    one, two = (random_steering(plain, seed, "answer", strength=1.5) for seed in (1, 2))
    return [one, two, two + random_steering(plain, 3, "generated"), None, one, two]


def test_answers_are_steered_alike(engine: VllmEngine, plain: Engine, rows: list[Any]) -> None:
    settings: dict[str, Any] = {"steering": rows, "max_new_tokens": 40}
    expected = plain.generate(ASKED, **settings)
    assert tokens_of(expected) != tokens_of(plain.generate(ASKED, max_new_tokens=40))
    thoughtless = [random_steering(plain, seed, "generated", strength=1.5) for seed in (1, 2)]
    assert (
        tokens_of(plain.generate(ASKED[:2], steering=thoughtless, max_new_tokens=40))
        != tokens_of(expected)[:2]
    )
    assert engine.generate(ASKED, **settings) == expected
    assert engine.generate(ASKED, **settings) == expected  # now from the prefix cache
    assert "".join(engine.stream(LONG, steering=rows[0], max_new_tokens=40)) == expected[0].text


def test_some_were_preempted(engine: VllmEngine) -> None:
    """Where the cache is small, so that answers are taken up again in their middle."""
    config = engine.llm.llm_engine.vllm_config
    if config.cache_config.num_gpu_blocks_override is None:
        return
    counts = {metric.name: getattr(metric, "value", 0) for metric in engine.llm.get_metrics()}
    assert counts["vllm:num_preemptions"] > 0, "the cache was not small enough to preempt anyone"


def test_a_turn_that_quotes_an_answer_is_a_prompt(engine: VllmEngine, plain: Engine, rows: list[Any]) -> None:
    """What was steered as an answer must not be read from the cache where it is part of the prompt."""
    [first] = engine.generate([LONG], steering=rows[0], max_new_tokens=40)
    said = first.thought or ""
    chat = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": f"{said}e{first.text}"},
        {"role": "user", "content": "hi"},
    ]
    settings: dict[str, Any] = {"steering": rows[0], "max_new_tokens": 24}
    assert engine.generate([chat], **settings) == plain.generate([chat], **settings)


def test_scores_are_of_the_answer(engine: VllmEngine, plain: Engine, rows: list[Any]) -> None:
    written = tokens_of(plain.generate(ASKED, max_new_tokens=24))
    for _ in range(2):
        found = engine.score(ASKED, written, steering=rows)
        assert found == pytest.approx(plain.score(ASKED, written, steering=rows), abs=1e-3, nan_ok=True)
