"""An engine around a model that somebody holds."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from tests.tiny import PROMPTS, tiny_model, tiny_tokenizer

from trimtab.engines import as_engine
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError


def test_a_pair_stands_for_an_engine() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    engine = as_engine((model, tokenizer))
    assert engine.generate(PROMPTS, max_new_tokens=2)
    assert as_engine((model, tokenizer)) is engine
    assert as_engine([model, tokenizer]) is engine  # type: ignore[arg-type]
    assert as_engine((model, tiny_tokenizer())) is not engine
    assert as_engine(engine) is engine


def test_nothing_of_a_pair_is_kept_behind_its_back() -> None:
    model = tiny_model("llama")
    gone = weakref.ref(model)
    as_engine((model, tiny_tokenizer()))
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nano", r"not the text 'nano'; load it: trimtab.load\('nano'\)"),
        (tiny_model("llama"), r"not LlamaForCausalLM alone; add its tokenizer: \(model, tokenizer\)"),
        ((1, 2), "not tuple"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_model_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        as_engine(given)


def test_threads_that_hold_one_model_take_turns() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    together = Barrier(4)

    def made(_: int) -> Any:
        together.wait()
        return as_engine((model, tokenizer))

    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(made, range(4)))
    assert len(set(map(id, engines))) == 1
    # With another tokenizer it is another engine, whose calls would meet the hooks of this one.
    other = as_engine((model, tiny_tokenizer()))
    assert other is not engines[0]
    assert other.lock is engines[0].lock
    assert TransformersEngine(tiny_model("llama"), tokenizer).lock is not other.lock
