"""Chat templates: their options, their date, and tokenizers that write chats without one."""

from __future__ import annotations

import datetime as clock
import threading
from typing import Any

import pytest
from tests.tiny import tiny_tokenizer

from trimtab.engines.chat import format_prompt, prompt_ids
from trimtab.engines.loading import settle_template
from trimtab.errors import ModelError, PromptError
from trimtab.steering import templates
from trimtab.steering.templates import PLAIN, has_template, set_options, template_digest

THINKING = (
    "\n{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking is false %}<no thoughts>{% else %}<thoughts>{% endif %}"
)


def test_options_change_what_is_written_and_the_digest() -> None:
    plain, changed = tiny_tokenizer(THINKING), tiny_tokenizer(THINKING)
    set_options(changed, {"enable_thinking": False}, "m")
    assert format_prompt(plain, "hi") == "\n<user>hi<thoughts>"
    assert format_prompt(changed, "hi") == "\n<user>hi<no thoughts>"
    assert template_digest(plain) != template_digest(changed)
    again = tiny_tokenizer(THINKING)
    set_options(again, {"enable_thinking": False}, "m")
    assert template_digest(again) == template_digest(changed)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -0.5, "quotes \"and\" 'these' {% x %} \\ \n é 😀", [1, None, "a"], {"a": [False]}],
)
def test_every_value_of_json_arrives(value: Any) -> None:
    tokenizer = tiny_tokenizer("{{ given | tojson }}")
    set_options(tokenizer, {"given": value}, "m")
    import json

    assert json.loads(format_prompt(tokenizer, "hi")) == value


def test_several_templates_are_all_changed() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"default": "{{ who }}", "tool_use": "tools for {{ who }}"}
    set_options(tokenizer, {"who": "me"}, "m")
    chat = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "me"
    assert tokenizer.apply_chat_template(chat, tokenize=False, chat_template="tool_use") == "tools for me"


def test_no_options_change_nothing() -> None:
    tokenizer = tiny_tokenizer(THINKING)
    set_options(tokenizer, {}, "m")
    assert tokenizer.chat_template == THINKING


@pytest.mark.parametrize(
    ("template", "options", "words"),
    [
        (None, {"enable_thinking": False}, "m has no chat template"),
        (THINKING, {"enable_thinkng": False}, "no variable enable_thinkng"),
        (THINKING, {"for message": False}, "no variable for message"),
        (THINKING, {"enable_thinking": object()}, "plain JSON, not object"),
    ],
)
def test_mistakes(template: str | None, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        set_options(tiny_tokenizer(template), options, "m")


def test_the_date_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer("{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}")
    day = clock.datetime(2031, 5, 4)
    templates._run_began.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(templates, "_run_began", lambda: day)
        assert format_prompt(tokenizer, "hi") == "2031-05-04 00:00:00.000000"
    assert format_prompt(tokenizer, "hi") == format_prompt(tokenizer, "hi") != "2031-05-04 00:00:00.000000"


class Mistral:
    """A tokenizer that writes chats by a program, tokens first."""

    eos_token, eos_token_id, bos_token_id = "</s>", 2, 1

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        return_dict: bool = True,
    ) -> Any:
        if any(message["role"] == "system" for message in conversation):
            raise ValueError("no system message")
        text = "".join(f"[{message['role']}]{message['content']}" for message in conversation)
        ids = [1, *text.encode()]
        return ({"input_ids": ids} if return_dict else ids) if tokenize else f"<s>{text}"

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [*([1] if add_special_tokens else []), *text.encode()]}


def test_a_tokenizer_that_writes_chats_itself_is_asked() -> None:
    tokenizer = Mistral()
    assert has_template(tokenizer)
    assert format_prompt(tokenizer, "hi") == "<s>[user]hi"
    assert prompt_ids(tokenizer, "hi") == [1, *b"[user]hi"]
    assert prompt_ids(tokenizer, "hi", raw=True) == [1, *b"hi"]
    assert template_digest(tokenizer).startswith("sha256:")
    with pytest.raises(PromptError, match="no system message"):
        prompt_ids(tokenizer, [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}])


def test_a_tokenizer_of_transformers_without_a_template_is_plain() -> None:
    assert not has_template(tiny_tokenizer(None))
    assert template_digest(tiny_tokenizer(None)) == PLAIN
    assert format_prompt(tiny_tokenizer(None), "hi") == "Question: hi\nAnswer:"


def test_one_that_cannot_write_a_chat_still_has_a_digest() -> None:
    class Broken(Mistral):
        def apply_chat_template(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no")

    assert template_digest(Broken()).startswith("sha256:")


def test_a_template_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    before = threading.active_count()
    endless = "{% for one in range(99999) %}{% for other in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(
        ModelError, match="the chat template of m comes to no end, with one word to write; put a"
    ):
        settle_template(tiny_tokenizer(endless), "m")
    assert threading.active_count() == before
    settle_template(tiny_tokenizer(THINKING), "m")
