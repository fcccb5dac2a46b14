"""Where an answer ends: wherever the model says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny import TEMPLATE, tiny_engine, tiny_model, tiny_tokenizer
from transformers import GenerationConfig

import trimtab
from trimtab.engines.ends import end_tokens, turn_end
from trimtab.learn.distillation.teachers import end_token

TURN = "{% for message in messages %}{{ message.content }}END{% endfor %}"


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (TEMPLATE, 3),
        (TURN.replace("END", " </s>"), 2),
        (TURN.replace("END", "<|end|>\n"), 3),
        (TURN.replace("END", "\n"), None),
        (TURN.replace("END", "<s>"), None),  # the next turn's beginning
        ("{{ raise_exception('no') }}", None),
        ("always this", None),
        (None, None),
    ],
)
def test_the_end_of_a_turn_is_read_off_a_chat(template: str | None, end: int | None) -> None:
    assert turn_end(tiny_tokenizer(template)) == end


@pytest.mark.parametrize(
    ("saved", "template", "ends"),
    [
        (None, None, (2,)),
        (7, None, (7, 2)),
        ([7, 2], None, (7, 2)),
        (2, TEMPLATE, (3, 2)),
        ([2, 3], TEMPLATE, (3, 2)),
    ],
)
def test_the_ends_are_the_union(
    saved: int | list[int] | None, template: str | None, ends: tuple[int, ...]
) -> None:
    assert end_tokens(GenerationConfig(eos_token_id=saved), tiny_tokenizer(template)) == ends


def test_without_any_there_is_none() -> None:
    tokenizer = tiny_tokenizer(None)
    tokenizer.eos_token = None
    assert end_tokens(GenerationConfig(), tokenizer) == ()


@pytest.mark.parametrize("end", [2, 3])
def test_an_answer_ends_at_each_of_them(end: int) -> None:
    """With a head that writes this token and no other, whatever it reads."""
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.lm_head.weight.zero_()
        engine.model.lm_head.bias = torch.nn.Parameter(10.0 * (torch.arange(264) == end))
    [answer] = engine.generate(["hi"], max_new_tokens=5)
    assert (answer.token_ids, answer.finished) == ((), True)
    assert list(engine.stream("hi", max_new_tokens=5)) == []


def test_lessons_end_as_the_model_ends_a_turn() -> None:
    assert end_token(tiny_engine()) == 3
    assert end_token(tiny_engine(template=None)) == 2
    assert end_token(trimtab.load("nano", device="cpu")) == 3


def test_a_chat_model_without_a_template_is_warned_of(tmp_path: Path) -> None:
    for name, warned in (("model-2b-it", True), ("Some-Instruct.v2", True), ("italian-writer", False)):
        folder = tmp_path / name
        tiny_model("llama").save_pretrained(folder)
        tiny_tokenizer(None).save_pretrained(folder)
        if warned:
            with pytest.warns(UserWarning, match=f"{name} is called a chat model but has no chat template"):
                trimtab.load(folder, device="cpu")
        else:
            trimtab.load(folder, device="cpu")


def test_template_options_are_part_of_the_identity(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer("{{ messages[0].content }}{% if loud %}!{% endif %}").save_pretrained(tmp_path)
    plain = trimtab.load(tmp_path, device="cpu")
    loud = trimtab.load(tmp_path, device="cpu", template_options={"loud": True})
    assert trimtab.engines.chat.format_prompt(loud.tokenizer, "hi") == "hi!"
    assert plain.identity.chat_template != loud.identity.chat_template
    assert "chat templates differ" in str(plain.identity.refusal(loud.identity))
