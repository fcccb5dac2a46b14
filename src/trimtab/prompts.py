"""Prompts: base queries, prompt pairs, and the text a model really sees.

A **base query** is what a user asks; an **instruction**'s phrasing says how the answer should look. A **prompt
pair** is the same query with and without the phrasing. Both sides stay plain user text here; `format_prompt` puts them
into the model's own chat template.

Tokenising what `format_prompt` returns: a chat template writes the special tokens itself (the beginning-of-sequence
token included), so its text must be tokenised with `add_special_tokens=False`, or it starts with two of them. The plain
format has none and wants the tokenizer's own. `prompt_ids` does the right thing for both.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab import nano
from trimtab.errors import PromptError
from trimtab.query_files import load_queries, refuse_broken_text, split_queries

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering import ModelIdentity

Split = Literal["learning", "validation", "test"]
Chat = Sequence[Mapping[str, str]]

__all__ = [
    "PLAIN",
    "SPLITS",
    "Chat",
    "PromptPair",
    "Split",
    "base_queries",
    "default_queries",
    "digest",
    "format_prompt",
    "has_template",
    "load_queries",
    "make_pairs",
    "prompt_ids",
    "sample_queries",
    "split_queries",
    "template_digest",
]

SPLITS: tuple[Split, ...] = get_args(Split)
PLAIN = "plain"


# --- the text a model sees -------------------------------------------------------------------------------------------


def format_prompt(tokenizer: Any, prompt: str | Chat) -> str:
    """Write a prompt the way the model expects it, ready for the answer to begin.

    Uses the tokenizer's own chat template with its generation prompt. A tokenizer without a template (a base model)
    gets the plain format: `Question: ...` and `Answer:` on lines of their own, turns separated by an empty line, a
    system message as a paragraph in front.

    Args:
        tokenizer: A transformers tokenizer (only `chat_template` and `apply_chat_template` are used).
        prompt: A user message, or a chat: `{"role": ..., "content": ...}` messages, the last one the user's.

    Returns:
        The text. Tokenise it with `prompt_ids`, or with `add_special_tokens=not has_template(tokenizer)`.

    Raises:
        PromptError: The chat is malformed, or the model's template refuses it (no system role, say).
    """
    messages = _messages(prompt)
    if not has_template(tokenizer):
        return _plain_text(messages)
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is the model author's program: it can raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise PromptError(
            f"the model's chat template refuses this chat (roles: {roles}): {error or type(error).__name__}; "
            "change the messages (many templates take no system message and want user and assistant in turn)"
        ) from error
    if not isinstance(text, str):
        raise PromptError(f"the model's chat template gave {type(text).__name__} instead of text")
    return text


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template of its own (else the plain format is used)."""
    return bool(getattr(tokenizer, "chat_template", None))


def template_digest(tokenizer: Any) -> str:
    """Name the prompt format: `"sha256:..."` of the chat template's text, or `"plain"` for a model without one.

    A steering records it, because directions learned under one template do not fit another.
    """
    if not has_template(tokenizer):
        return PLAIN
    template = tokenizer.chat_template
    if not isinstance(template, str):  # some tokenizers name several templates
        template = json.dumps(template, sort_keys=True, ensure_ascii=False)
    return "sha256:" + hashlib.sha256(template.encode()).hexdigest()


def prompt_ids(tokenizer: Any, prompt: str | Chat) -> list[int]:
    """Token ids of a formatted prompt: no doubled beginning token, no end token behind it.

    Args:
        tokenizer: A transformers tokenizer.
        prompt: As for `format_prompt`.

    Raises:
        PromptError: As for `format_prompt`, or when the prompt has no tokens at all.
    """
    text = format_prompt(tokenizer, prompt)
    ids = list(tokenizer(text, add_special_tokens=not has_template(tokenizer))["input_ids"])
    # A few tokenizers close every text with the end token; the model would then answer after the end.
    if not has_template(tokenizer) and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    if not ids:
        raise PromptError("the prompt is empty after tokenising; give the model at least one word")
    return ids


def _messages(prompt: str | Chat) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Sequence) or not prompt:
        raise PromptError("a prompt is a text or a non-empty list of {'role': ..., 'content': ...} messages")
    messages = []
    for position, message in enumerate(prompt):
        if not isinstance(message, Mapping):
            raise PromptError(f"message {position} of the chat is {type(message).__name__}, not a mapping")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise PromptError(f"message {position} of the chat needs 'role' and 'content', both text")
        refuse_broken_text(content, "the prompt")
        messages.append({"role": role, "content": content})
    if messages[-1]["role"] != "user":
        raise PromptError(f"the last message of a chat must be the user's, not the {messages[-1]['role']}'s")
    return messages


def _plain_text(messages: list[dict[str, str]]) -> str:
    text = ""
    for position, message in enumerate(messages):
        role, content = message["role"], message["content"].strip()
        if role == "user":
            text += f"Question: {content}\nAnswer:"
        elif role == "assistant":
            opened = position > 0 and messages[position - 1]["role"] == "user"
            text += f"{' ' if opened else 'Answer: '}{content}\n\n"
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


# --- base queries ----------------------------------------------------------------------------------------------------


@cache
def _shipped(split: Split) -> tuple[str, ...]:
    file = resources.files("trimtab") / "data" / "queries" / f"{split}.txt"
    return tuple(line for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def base_queries(split: Split) -> list[str]:
    """The base queries this project wrote for real models: one split of them, always in the same order.

    None of them says anything about the format, length or wording of the answer, so that an instruction can be added to
    any of them. No query has a near duplicate in another split.

    Args:
        split: `"learning"` (about 60 %), `"validation"` (20 %) or `"test"` (20 %).

    Raises:
        PromptError: There is no such split.
    """
    return list(_shipped(_checked_split(split)))


def default_queries(identity: ModelIdentity, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
    """The base queries that suit a model: the built-in model's own world, or `base_queries` for any other.

    Args:
        identity: The model the queries are for.
        split: `"learning"`, `"validation"` or `"test"`.
        n: How many; all (for the built-in model: its own default number) when None.
        seed: Which ones, when fewer than all.

    Raises:
        PromptError: There is no such split, or it has fewer than `n` queries.
    """
    split = _checked_split(split)
    if n is not None and n < 1:
        raise PromptError(f"the number of queries must be at least 1, not {n}")
    if nano.is_built_in(identity.id):
        return list(nano.queries(split, n, seed))
    return sample_queries(base_queries(split), n, seed, what=f"the {split} split")


def sample_queries(
    queries: Sequence[str], n: int | None, seed: int = 0, what: str = "the query list"
) -> list[str]:
    """Take `n` of the queries, chosen by `seed` and kept in random order; all of them, as they are, when `n` is None.

    Raises:
        PromptError: There are fewer than `n`.
    """
    if n is None:
        return list(queries)
    if n > len(queries):
        raise PromptError(
            f"{what} has {len(queries)} queries, fewer than the {n} asked for; ask for fewer or bring your own"
        )
    return random.Random(seed).sample(list(queries), n)


def _checked_split(split: str) -> Split:
    for known in SPLITS:
        if split == known:
            return known
    raise PromptError(f"there is no split '{split}'; the splits are {', '.join(SPLITS)}")


# --- prompt pairs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptPair:
    """The same query without and with an instruction, as user text that is not yet in a chat template.

    Attributes:
        query: The base query.
        phrasing: The way the instruction was put into words.
        plain: What the model is asked without the instruction: the query.
        instructed: What it is asked with it: the query, a space, the phrasing.
    """

    query: str
    phrasing: str
    plain: str
    instructed: str


def make_pairs(
    queries: Iterable[str], instruction: Instruction, split: Split, seed: int = 0
) -> list[PromptPair]:
    """Pair every query with a phrasing of the instruction from the same split.

    Phrasings are dealt out evenly: each is used once, in an order drawn from `seed`, before any is used again. An
    instruction that speaks about the query itself (repeat the prompt) is filled in for each query.

    Args:
        queries: Base queries.
        instruction: What to add to them.
        split: Whose phrasings to use: learning never sees those of validation or test.
        seed: Which phrasing meets which query. The same arguments always give the same pairs.

    Raises:
        PromptError: There is no query, or the instruction has no phrasing in the split.
    """
    split = _checked_split(split)
    rng = random.Random(f"{seed}/{split}/{instruction.name}")
    deck: list[int] = []
    pairs = []
    for query in queries:
        phrasings = instruction.for_query(query).phrasings(split)
        if not phrasings:
            raise PromptError(f"the instruction {instruction.label} has no {split} phrasings; add some to it")
        if not deck:
            deck = rng.sample(range(len(phrasings)), len(phrasings))
        phrasing = phrasings[deck.pop() % len(phrasings)]
        pairs.append(
            PromptPair(query=query, phrasing=phrasing, plain=query, instructed=f"{query} {phrasing}")
        )
    if not pairs:
        raise PromptError("there are no queries to make prompt pairs of; give at least one")
    return pairs


def digest(pairs: Sequence[PromptPair]) -> str:
    """Name a list of prompt pairs by its content: `"sha256:..."` over queries and phrasings, in order."""
    text = json.dumps([[pair.plain, pair.instructed] for pair in pairs], ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
