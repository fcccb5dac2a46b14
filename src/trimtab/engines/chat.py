"""The text a model really sees: its own chat template, or the plain format of a model without one.

A chat template writes the special tokens itself (the beginning-of-sequence token included), so its text must be
tokenised with `add_special_tokens=False`, or it starts with two of them. The plain format has none and wants the
tokenizer's own. `prompt_ids` does the right thing for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.errors import PromptError
from trimtab.prompts.queries import refuse_broken_text
from trimtab.steering.templates import has_template, rendered, writes_chats_itself
from trimtab.steering.when.base import Prompt, content_text

_SHORT = 2**16
"""Characters of a text of which tokens are made without a second look."""
_CHARACTERS = 16
"""More than a token has in any language, on the average."""


def format_prompt(tokenizer: Any, prompt: Prompt) -> str:
    """Write a prompt the way the model expects it, ready for the answer to begin, or to go on where the chat ends.

    Uses the tokenizer's own chat template with its generation prompt, or the program that a tokenizer like Mistral's
    has instead. One without either (of a base model) gets the plain format: `Question: ...` and `Answer:` on lines of
    their own, turns separated by an empty line, a system message as a paragraph in front.
    """
    messages = messages_of(prompt)
    if not has_template(tokenizer):
        return _plain_text(messages)
    text = _chat(tokenizer, messages)
    if not isinstance(text, str):
        raise PromptError(f"the model's chat template gave {type(text).__name__} instead of text")
    return text


def _chat(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> Any:
    begun = messages[-1]["role"] == "assistant"
    try:
        return rendered(
            tokenizer, messages, add_generation_prompt=not begun, continue_final_message=begun, **options
        )
    except Exception as error:  # a template is the model author's program: it can raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise PromptError(
            f"the model's chat template refuses this chat (roles: {roles}): {error or type(error).__name__}; "
            "change the messages (many templates take no system message and want user and assistant in turn)"
        ) from error


def prompt_ids(tokenizer: Any, prompt: Prompt, *, raw: bool = False, limit: int | None = None) -> list[int]:
    """Token ids of a formatted prompt: no doubled beginning token, no end token behind it.

    One that is `raw` is text that goes in as it is, without template or plain format. One that is many times longer
    than the `limit` in tokens is refused before tokens are made of all of it.
    """
    if raw and not isinstance(prompt, str):
        raise PromptError(f"a raw prompt is text, not {type(prompt).__name__}; leave raw out for a chat")
    if raw:
        refuse_broken_text(str(prompt), "the prompt")
    if not raw and writes_chats_itself(tokenizer):  # its text need not be what its tokens are
        return [int(one) for one in _chat(tokenizer, messages_of(prompt), tokenize=True, return_dict=False)]
    text = str(prompt) if raw else format_prompt(tokenizer, prompt)
    _refuse_endless(tokenizer, text, limit)
    bare = raw or not has_template(tokenizer)
    ids = list(tokenizer(text, add_special_tokens=bare)["input_ids"])
    # A few tokenizers close every text with the end token; the model would then answer after the end.
    if bare and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token):
        ids.pop()
    if raw and len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:  # the text begins with it already
        ids.pop(0)
    if not ids:
        raise PromptError("the prompt is empty after tokenising; give the model at least one word")
    return ids


def _refuse_endless(tokenizer: Any, text: str, limit: int | None) -> None:
    """Refuses a text whose beginning is too long: tokens of all of it would take a hundred times its memory."""
    if limit is None:
        return
    size = max(_SHORT, _CHARACTERS * limit)
    while size < len(text):
        count = len(tokenizer(text[:size], add_special_tokens=False)["input_ids"])
        if count > 2 * limit:  # not by a token or two that would be others in the whole text
            raise PromptError(
                f"the prompt has {len(text)} characters, and the first {size} of them are {count} tokens, but the "
                f"model's context is {limit}; shorten it"
            )
        size *= 4


def beginning(prompt: Prompt) -> str:
    """The beginning of the answer that a chat ends with; empty where it ends with a question."""
    if isinstance(prompt, str) or len(prompt) < 2 or prompt[-1]["role"] != "assistant":
        return ""
    return content_text(prompt[-1]["content"])


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """The messages of a chat, each with a text as content; a text is one of a user. Refused if it is no prompt."""
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Sequence) or not prompt:
        raise PromptError("a prompt is a text or a non-empty list of {'role': ..., 'content': ...} messages")
    messages = []
    for position, message in enumerate(prompt):
        where = f"message {position} of the chat"
        if not isinstance(message, Mapping):
            raise PromptError(f"{where} is {type(message).__name__}, not a mapping")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str | list | tuple):
            raise PromptError(
                f"{where} needs 'role' and 'content', both text, or a list of text parts as content"
            )
        for part in () if isinstance(content, str) else content:
            if (
                not isinstance(part, Mapping)
                or part.get("type") != "text"
                or not isinstance(part.get("text"), str)
            ):
                raise PromptError(
                    f"{where} has a part that is not {{'type': 'text', 'text': ...}}: {part!r:.60}; only text goes in"
                )
        messages.append({"role": role, "content": content_text(content)})
        refuse_broken_text(messages[-1]["content"], "the prompt")
    if len(messages) > 1 and messages[-1]["role"] == "assistant" and not messages[-1]["content"].strip():
        messages.pop()  # nothing of the answer is there yet
    if messages[-1]["role"] not in ("user", "assistant"):
        raise PromptError(
            "the last message of a chat must be the user's, or the assistant's as the beginning of the answer, not "
            f"the {messages[-1]['role']}'s"
        )
    return messages


def _plain_text(messages: list[dict[str, str]]) -> str:
    text = ""
    for position, message in enumerate(messages):
        role, content = message["role"], message["content"].strip()
        if role == "user":
            text += f"Question: {content}\nAnswer:"
        elif role == "assistant":
            opened = position > 0 and messages[position - 1]["role"] == "user"
            begun = position + 1 == len(messages)
            text += f"{' ' if opened else 'Answer: '}{message['content'].lstrip() if begun else content}"
            text += "" if begun else "\n\n"
        elif role == "system" and position == 0:
            text += f"{content}\n\n"
        else:
            raise PromptError(
                f"the plain format of a model without a chat template has no place for a '{role}' message at "
                f"position {position}; use user and assistant messages, and one system message in front"
            )
        if role == "user" and position + 1 < len(messages) and messages[position + 1]["role"] == "user":
            text += "\n\n"
    return text
