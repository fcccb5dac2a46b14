"""lm-eval's model trimtab on SmolLM2: the same as lm-eval's own model under Steering.on."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tests.tiny import random_steering

from trimtab.harness import SteeredLM

QUESTIONS = ["What is the capital of France?", "What is 8 multiplied by 4?", "Name a fruit."]
CHOICES = ["Paris", " 32", "apples and pears"]


def requests(lm: Any) -> tuple[list[Instance], list[Instance]]:
    """Choices of each question, bare and in a chat; and what is to be written."""
    chats = [lm.apply_chat_template([{"role": "user", "content": question}]) for question in QUESTIONS]
    contexts = [*chats, *(f"Question: {question}\nAnswer:" for question in QUESTIONS)]
    pairs = [(context, choice) for context in contexts for choice in CHOICES]
    written = [(context, {"until": ["\n"], "max_gen_toks": 12}) for context in contexts]
    return (
        [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)],
        [Instance("generate_until", {}, one, number) for number, one in enumerate(written)],
    )


def test_it_is_lm_evals_own_model_under_the_steering(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", logger="lm_eval")
    steering = random_steering(engine, strength=0.3)
    theirs = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=4)
    mine = SteeredLM(engine, steering, batch_size=4)
    scored, written = requests(mine)
    assert [one.args for one in requests(theirs)[0]] == [one.args for one in scored], "the same chats"
    with steering.on(engine.model):
        expected = theirs.loglikelihood(scored)
        texts = theirs.generate_until(written)
    found = mine.loglikelihood(scored)
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-3)
    assert [one[1] for one in found] == [one[1] for one in expected]
    assert mine.generate_until(written) == texts
    plain = SteeredLM(engine).loglikelihood(scored)
    assert [one[0] for one in plain] != pytest.approx([one[0] for one in found], abs=0.1)
