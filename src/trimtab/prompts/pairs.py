"""Prompt pairs: the same base query without and with the phrasing of an instruction.

Both sides are user text (or chats) here; the engine puts them into the model's own chat template.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab import arguments
from trimtab.errors import PromptError
from trimtab.instructions import Instruction, resolve
from trimtab.prompts.queries import Split, checked_split, query_list
from trimtab.steering.when.base import Prompt, prompt_text

__all__ = ["PromptPair", "digest", "make_pairs", "pairs_from"]


@dataclass(frozen=True)
class PromptPair:
    """The same prompt without and with an instruction, or any two whose difference is to be learned.

    Attributes:
        plain: What the model is asked without the instruction: a user message, or a chat.
        instructed: What it is asked with it; of `make_pairs` the query, a space, the phrasing.
        query: The base query, which some checks want to know; the text of `plain` when left out.
        phrasing: The way the instruction was put into words, if it was.
    """

    plain: Any  # a text for those who made it of texts
    instructed: Any
    query: str = ""
    phrasing: str = ""

    def __post_init__(self) -> None:
        if not self.query:
            object.__setattr__(self, "query", prompt_text(self.plain))


def make_pairs(
    queries: Iterable[str], instruction: Instruction | str, split: Split, seed: int = 0
) -> list[PromptPair]:
    """Pair every query with a phrasing of the instruction from the same split.

    Phrasings are dealt out evenly: each is used once, in an order drawn from `seed`, before any is used again. An
    instruction that speaks about the query itself (repeat the prompt) is filled in for each query.

    Args:
        queries: Base queries.
        instruction: What to add to them, or its spelling.
        split: Whose phrasings to use: learning never sees those of validation or test.
        seed: Which phrasing meets which query. The same arguments always give the same pairs.

    Raises:
        PromptError: There is no query, or the instruction has no phrasing in the split.
    """
    instruction, split = resolve(instruction), checked_split(split)
    queries = query_list(queries)
    arguments.seed(seed, PromptError)
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


def pairs_from(with_: Sequence[Prompt], without: Sequence[Prompt]) -> list[PromptPair]:
    """Pairs of the user's own prompts, to learn from without an instruction.

    What tells the two sides apart is what is learned: a system message, a way to ask, the beginning of an answer.

    Args:
        with_: Prompts that have it, as engines take them.
        without: The same prompts without it, in the same order.

    Raises:
        PromptError: There is none, their numbers differ, or both sides of a pair are the same.
    """
    with_ = arguments.each(with_, "with_", "prompts, each a text or a chat", (str, list, tuple), PromptError)
    without = arguments.each(
        without, "without", "prompts, each a text or a chat", (str, list, tuple), PromptError
    )
    if len(with_) != len(without):
        raise PromptError(
            f"there are {len(with_)} prompts with and {len(without)} without; give one for each"
        )
    if not with_:
        raise PromptError("there are no prompts to make pairs of; give at least one of each")
    for number, (told, plain) in enumerate(zip(with_, without, strict=True)):
        if told == plain:
            raise PromptError(
                f"prompt {number} is the same with and without; there is nothing to learn from it"
            )
    return [PromptPair(plain, told) for told, plain in zip(with_, without, strict=True)]


def pair_list(pairs: Iterable[PromptPair], name: str = "pairs") -> list[PromptPair]:
    """Prompt pairs as a list; `name` is the argument they are.

    Raises:
        PromptError: There is none, or something that is no pair.
    """
    found = arguments.each(
        pairs, name, "prompt pairs (make_pairs and pairs_from make some)", PromptPair, PromptError
    )
    if not found:
        raise PromptError("there are no prompt pairs to learn from; make some with prompts.make_pairs")
    return found


def digest(pairs: Sequence[PromptPair]) -> str:
    """Name a list of prompt pairs by its content: `"sha256:..."` over queries and phrasings, in order."""
    pairs = arguments.each(pairs, "pairs", "prompt pairs", PromptPair, PromptError)
    text = json.dumps([[pair.plain, pair.instructed] for pair in pairs], ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
