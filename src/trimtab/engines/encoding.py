"""Text to tokens and back, and what of it does not fit a model: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trimtab.engines.base import Positions, Prompt, prompt_list
from trimtab.engines.chat import prompt_ids
from trimtab.errors import PromptError


class Encoding:
    """The tokens of prompts and responses, for a model that is called `model` in messages.

    `limit` is the most tokens that its context holds; None where it says nothing.
    """

    def __init__(self, tokenizer: Any, model: str, limit: int | None) -> None:
        self.tokenizer = tokenizer
        self._model = model
        self._limit = limit

    def prompts(
        self, prompts: Sequence[Prompt], new_tokens: int = 0, *, raw: bool = False
    ) -> list[list[int]]:
        """The token ids of prompts, in the model's chat template; refused if there is none, or one is too long."""
        rows = [prompt_ids(self.tokenizer, prompt, raw=raw) for prompt in prompt_list(prompts)]
        what = f"with {new_tokens} new tokens" if new_tokens else "on its own"
        self.check([len(row) + new_tokens for row in rows], what)
        return rows

    def check(self, lengths: Sequence[int], what: str, limit: int | None = None) -> None:
        """Refuses what does not fit the context."""
        limit = self._limit if limit is None else limit
        longest = max(range(len(lengths)), key=lambda row: lengths[row])
        if limit is not None and lengths[longest] > limit:
            raise PromptError(
                f"prompt {longest} has {lengths[longest]} tokens {what}, but the context of {self._model} is "
                f"{limit}; shorten the prompt or lower max_new_tokens"
            )

    def responses(
        self, prompts: Sequence[Prompt], responses: Sequence[str | Sequence[int]], *, raw: bool = False
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The token ids of prompts and of a response to each; text is tokenised on its own, as it was generated."""
        starts = self.prompts(prompts, raw=raw)
        if isinstance(responses, str) or len(responses) != len(starts):
            raise PromptError(
                f"there are {len(responses)} responses to {len(starts)} prompts; give one for each"
            )
        answers = [
            list(self.tokenizer(response, add_special_tokens=False)["input_ids"])
            if isinstance(response, str)
            else list(response)
            for response in responses
        ]
        lengths = [len(start) + len(answer) for start, answer in zip(starts, answers, strict=True)]
        self.check(lengths, "with its response")
        return starts, answers

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        # Cleaning up spaces would change text before the newest token, and what a check sees.
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def pieces(self, tokens: Iterator[int]) -> Iterator[str]:
        """The text of tokens as they come, in pieces that together are the text of all."""
        ids: list[int] = []
        shown = ""
        for token in tokens:
            ids.append(token)
            text = self.text(ids)
            # The first bytes of a character that is not complete decode to a replacement character.
            if text.startswith(shown) and len(text) > len(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
        rest = self.text(ids)[len(shown) :]
        if rest:
            yield rest


def check_positions(positions: Positions, rows: Sequence[Sequence[int]]) -> None:
    """Refuses positions (see `Engine.capture`) of no known kind, or that the tokens of a prompt do not have."""
    if isinstance(positions, str) and positions in ("last", "all", "mean"):
        return
    if isinstance(positions, bool) or not isinstance(positions, int):
        raise PromptError(f"positions are 'last', 'all', 'mean' or the number of a token, not {positions!r}")
    for number, row in enumerate(rows):
        if not -len(row) <= positions < len(row):
            raise PromptError(f"prompt {number} has {len(row)} tokens: it has no token {positions}")
