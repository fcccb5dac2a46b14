"""Whatever a prompt is (text, a chat, one with the answer begun, raw text), all that engines do with it agrees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import random_steering, tokens_of

from trimtab.engines.chat import format_prompt
from trimtab.errors import PromptError
from trimtab.steering.when import Matches, Resembles

ASKED = "the moon"
TEXT = [{"role": "user", "content": ASKED}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]


def begun(answer: str) -> list[dict[str, str]]:
    return [*TEXT, {"role": "assistant", "content": answer}]


@pytest.fixture
def raw(tiny_llama: Any) -> str:
    """The text that `ASKED` becomes in the model's template."""
    return format_prompt(tiny_llama.tokenizer, ASKED)


@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_one_prompt_in_all_its_forms_gets_one_answer(tiny_llama: Any, raw: str, scope: Any) -> None:
    steering = random_steering(tiny_llama, 1, scope)
    options: dict[str, Any] = {"steering": steering, "max_new_tokens": 8}
    [expected] = tiny_llama.generate([ASKED], **options)
    for form in (TEXT, PARTS, begun(" ")):
        assert tiny_llama.generate([form], **options)[0].token_ids == expected.token_ids
        assert "".join(tiny_llama.stream(form, **options)) == expected.text
        assert tiny_llama.score([form], ["abc"], steering=steering) == tiny_llama.score(
            [ASKED], ["abc"], steering=steering
        )
    assert tiny_llama.generate([raw], raw=True, **options)[0].token_ids == expected.token_ids
    assert "".join(tiny_llama.stream(raw, raw=True, **options)) == expected.text
    assert tiny_llama.score([raw], ["abc"], steering=steering, raw=True) == tiny_llama.score(
        [ASKED], ["abc"], steering=steering
    )


def test_what_is_read_is_the_same_too(tiny_llama: Any, raw: str) -> None:
    expected = tiny_llama.capture([ASKED]).mean
    assert torch.equal(tiny_llama.capture([PARTS]).mean, expected)
    assert torch.equal(tiny_llama.capture([raw], raw=True).mean, expected)
    assert not torch.equal(tiny_llama.capture([raw]).mean, expected)


def test_the_beginning_of_an_answer_belongs_to_the_prompt(tiny_llama: Any) -> None:
    """Edits of generated tokens begin behind it, and those of the prompt act on it."""
    form = begun("It is")
    [plain] = tiny_llama.generate([form], max_new_tokens=1)
    late = random_steering(tiny_llama, 4, "generated", strength=2.0)
    early = random_steering(tiny_llama, 4, "prompt", strength=2.0)
    whole = random_steering(tiny_llama, 4, "all", strength=2.0)
    assert tokens_of(tiny_llama.generate([form], steering=late, max_new_tokens=1)) == tokens_of([plain])
    first = tokens_of(tiny_llama.generate([form], steering=early, max_new_tokens=1))
    assert first == tokens_of(tiny_llama.generate([form], steering=whole, max_new_tokens=1))
    assert first != tokens_of([plain])
    raw = format_prompt(tiny_llama.tokenizer, form)
    assert raw.endswith("It is")
    assert tokens_of(tiny_llama.generate([raw], raw=True, max_new_tokens=6)) == tokens_of(
        tiny_llama.generate([form], max_new_tokens=6)
    )


def test_a_rule_looks_at_what_is_asked(tiny_llama: Any, raw: str) -> None:
    steering = random_steering(tiny_llama, 1).when(Matches("moon$"))
    acts = tiny_llama.decided(steering, [ASKED, TEXT, PARTS, begun("It is the sun")])
    assert all(one is not None for one in acts)
    assert tiny_llama.decided(steering, [raw], raw=True) == [None]


def test_a_learned_when_reads_raw_prompts_as_raw(tiny_llama: Any, raw: str) -> None:
    read = tiny_llama.capture([ASKED], blocks=[1]).mean[0]
    when = Resembles(tiny_llama.identity, 1, read, 0.9999)
    steering = random_steering(tiny_llama, 1).when(when)
    assert tiny_llama.decided(steering, [raw], raw=True)[0] is not None
    options: dict[str, Any] = {"steering": steering, "max_new_tokens": 6}
    assert tokens_of(tiny_llama.generate([raw], raw=True, **options)) == tokens_of(
        tiny_llama.generate([ASKED], **options)
    )


def test_a_raw_prompt_is_text(tiny_llama: Any) -> None:
    for call in (tiny_llama.generate, tiny_llama.capture):
        with pytest.raises(PromptError, match="a raw prompt is text"):
            call([TEXT], raw=True)
