"""The text a model sees."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tiny import tiny_tokenizer

from trimtab.engines import chat
from trimtab.errors import PromptError

NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[model]{% endif %}"
)
CHAT = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "Who are you?"},
]
SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.fixture(scope="module")
def templated() -> Any:
    return tiny_tokenizer(NO_SYSTEM)


@pytest.fixture(scope="module")
def plain() -> Any:
    return tiny_tokenizer(None)


def test_a_chat_template_is_used_with_its_generation_prompt(templated: Any) -> None:
    assert chat.format_prompt(templated, "Hello") == "<s>[user]Hello[model]"
    assert chat.format_prompt(templated, CHAT) == "<s>[user]Hello[assistant]Hi![user]Who are you?[model]"


def test_without_a_template_the_plain_format_is_used(plain: Any) -> None:
    assert chat.format_prompt(plain, "Why?") == "Question: Why?\nAnswer:"
    expected = "Be kind.\n\nQuestion: Hello\nAnswer: Hi!\n\nQuestion: Who are you?\nAnswer:"
    assert chat.format_prompt(plain, [SYSTEM, *CHAT]) == expected
    twice = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    assert chat.format_prompt(plain, twice) == "Question: One\nAnswer:\n\nQuestion: Two\nAnswer:"


def test_a_template_that_refuses_a_role_gives_its_reason_on_one_line(templated: Any) -> None:
    with pytest.raises(
        PromptError, match=r"refuses this chat \(roles: system, user.*System role not supported"
    ):
        chat.format_prompt(templated, [SYSTEM, *CHAT])


def test_a_broken_template_is_an_error_of_ours() -> None:
    with pytest.raises(PromptError, match="refuses this chat"):
        chat.format_prompt(tiny_tokenizer("{% for %}"), "Hello")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "non-empty list"),
        (3, "non-empty list"),
        (["Hello"], "message 0 of the chat is str"),
        ([{"role": "user"}], "needs 'role' and 'content'"),
        ([{"role": "user", "content": None}], "needs 'role' and 'content'"),
        ([{"content": "Hello"}], "needs 'role' and 'content'"),
        ([*CHAT, SYSTEM], "last message of a chat must be the user's, or .* not the system's"),
        ([{"role": "user", "content": 3}], "a list of text parts"),
        ([{"role": "user", "content": ["Hello"]}], "a part that is not .*: 'Hello'; only text goes in"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "message 0 of the chat has a part that is not .*image_url",
        ),
    ],
)
def test_malformed_chats_are_named(plain: Any, messages: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        chat.format_prompt(plain, messages)


def test_the_plain_format_has_no_place_for_other_roles(plain: Any) -> None:
    for messages in ([{"role": "tool", "content": "4"}, CHAT[0]], [CHAT[0], SYSTEM, CHAT[0]]):
        with pytest.raises(PromptError, match=r"no place for a '(tool|system)' message at position"):
            chat.format_prompt(plain, messages)


def test_text_that_is_not_unicode_is_refused(plain: Any, templated: Any) -> None:
    for tokenizer in (plain, templated):
        for prompt in ("a\udcff", [{"role": "user", "content": "a\udcff"}]):
            with pytest.raises(PromptError, match="the prompt is not valid Unicode at character 1"):
                chat.prompt_ids(tokenizer, prompt)


def test_there_is_one_beginning_token_and_no_end_token(templated: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    for template in (NO_SYSTEM, None):
        tokenizer = tiny_tokenizer(template)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        ids = chat.prompt_ids(tokenizer, "Hello")
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids.count(tokenizer.eos_token_id) == 0
        assert tokenizer.decode(ids).removeprefix("<s>") == chat.format_prompt(
            tokenizer, "Hello"
        ).removeprefix("<s>")


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(PromptError, match="empty after tokenising"):
        chat.prompt_ids(tiny_tokenizer("{{ '' }}"), "Hello")


def _parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def test_content_may_come_in_parts(plain: Any, templated: Any) -> None:
    for tokenizer in (plain, templated):
        whole = [{**message, "content": _parts(message["content"])} for message in CHAT]
        assert chat.format_prompt(tokenizer, whole) == chat.format_prompt(tokenizer, CHAT)
        split = [{"role": "user", "content": _parts("One.", "Two.")}]
        assert chat.format_prompt(tokenizer, split) == chat.format_prompt(tokenizer, "One.\nTwo.")


def test_an_answer_that_is_begun_goes_on(plain: Any, templated: Any) -> None:
    begun = [*CHAT, {"role": "assistant", "content": "I am"}]
    assert chat.format_prompt(templated, begun) == (
        "<s>[user]Hello[assistant]Hi![user]Who are you?[assistant]I am"
    )
    assert chat.format_prompt(plain, begun).endswith("Question: Who are you?\nAnswer: I am")
    assert chat.format_prompt(plain, [*CHAT, {"role": "assistant", "content": "I am "}]).endswith("I am ")
    for nothing in ("", " \n"):
        empty = [*CHAT, {"role": "assistant", "content": nothing}]
        for tokenizer in (plain, templated):
            assert chat.format_prompt(tokenizer, empty) == chat.format_prompt(tokenizer, CHAT)


def test_raw_text_goes_in_as_it_is() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer(NO_SYSTEM)
    bare = chat.prompt_ids(tokenizer, "Hello", raw=True)
    assert tokenizer.decode(bare) == "Hello"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert chat.prompt_ids(tokenizer, "Hello", raw=True) == [1, *bare]
    assert chat.prompt_ids(tokenizer, "<s>Hello", raw=True) == [1, *bare]
    assert chat.prompt_ids(tokenizer, chat.format_prompt(tokenizer, "Hello"), raw=True) == chat.prompt_ids(
        tokenizer, "Hello"
    )
    assert chat.prompt_ids(tokenizer, "a</s>", raw=True)[-1] == 2
    with pytest.raises(PromptError, match="a raw prompt is text, not list; leave raw out for a chat"):
        chat.prompt_ids(tokenizer, CHAT, raw=True)
    with pytest.raises(PromptError, match="not valid Unicode"):
        chat.prompt_ids(tokenizer, "a\udcff", raw=True)


class _Watched:
    """A tokenizer, and how many characters were given to it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return self._tokenizer(text, **options)


@pytest.mark.parametrize("raw", [True, False])
def test_a_prompt_without_end_is_refused_by_its_beginning(templated: Any, raw: bool) -> None:
    watched = _Watched(templated)
    with pytest.raises(
        PromptError, match=r"characters, and the first 65536 of them are \d+ tokens, but the .* is 64"
    ):
        chat.prompt_ids(watched, "What is a lighthouse? " * 500_000, raw=raw, limit=64)
    assert watched.characters <= 2**16


def test_a_long_text_of_few_tokens_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, templated: Any
) -> None:
    monkeypatch.setattr(chat, "_SHORT", 8)
    monkeypatch.setattr(chat, "_CHARACTERS", 1)
    text = "What is a lighthouse? " * 8
    expected = chat.prompt_ids(templated, text)
    assert len(text) > 8
    assert chat.prompt_ids(templated, text, limit=len(expected)) == expected
