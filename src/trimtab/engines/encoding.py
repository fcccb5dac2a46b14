"""Text to tokens and back, and what of it does not fit a model: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab import arguments
from trimtab.engines.base import Generation, Positions, Prompt
from trimtab.engines.chat import prompt_ids
from trimtab.engines.given import prompt_list
from trimtab.errors import PromptError
from trimtab.thoughts import Reader
from trimtab.thoughts.marks import Node


class Encoding:
    """The tokens of prompts and responses, for a model that is called `model` in messages.

    `limit` is the most tokens that its context holds; None where it says nothing. `thoughts` tells its answers from
    what it thinks. All three can be read. `tokens` is how many the model knows; None where nobody can tell.
    """

    def __init__(
        self, tokenizer: Any, model: str, limit: int | None, thoughts: Reader, tokens: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.thoughts = thoughts
        self._model = model
        self.limit = limit
        self._tokens = tokens

    def prompts(
        self, prompts: Sequence[Prompt], new_tokens: int = 0, *, raw: bool = False
    ) -> list[list[int]]:
        """The token ids of prompts, in the model's chat template; refused if there is none, or one is too long."""
        raw = arguments.flag(raw, "raw", PromptError)
        rows = [
            prompt_ids(self.tokenizer, prompt, raw=raw, limit=self.limit) for prompt in prompt_list(prompts)
        ]
        self._check_known(rows)
        self.check([len(row) for row in rows], new_tokens=new_tokens)
        return rows

    def _check_known(self, rows: Sequence[Sequence[int]]) -> None:
        highest = max((max(row, default=0) for row in rows), default=0)
        if self._tokens is not None and highest >= self._tokens:
            raise PromptError(
                f"the tokenizer gives the token {highest}, but {self._model} knows those from 0 to {self._tokens - 1}: "
                "it is the tokenizer of another model; put the right one beside the weights"
            )

    def check(
        self, lengths: Sequence[int], what: str = "", limit: int | None = None, *, new_tokens: int = 0
    ) -> None:
        """Refuses what does not fit the context: prompts of so many tokens, with so many new ones behind each."""
        limit = self.limit if limit is None else limit
        longest = max(range(len(lengths)), key=lambda row: lengths[row])
        length = lengths[longest]
        if limit is None or length + new_tokens <= limit:
            return
        which = "the prompt" if len(lengths) == 1 else f"prompt {longest + 1} of {len(lengths)}"
        behind = f"; with {new_tokens} new tokens that is {length + new_tokens}" if new_tokens else ""
        remedy = (
            "shorten the prompt or lower max_new_tokens" if new_tokens and length < limit else "shorten it"
        )
        raise PromptError(
            f"{which} has {length} tokens{what and f' {what}'}{behind}, but the context of {self._model} is {limit}; "
            f"{remedy}"
        )

    def answering(self, row: Sequence[int]) -> list[int]:
        """A prompt behind which the answer begins at once: what it leaves open of a thought is closed."""
        return [*row, *self.thoughts.lead(row)]

    def begun(self, rows: Sequence[list[int]], which: Sequence[bool], new_tokens: int) -> list[list[int]]:
        """Prompts; behind the ones meant, the answer begins at once. Refused if one is then too long."""
        begun = [self.answering(row) if meant else row for row, meant in zip(rows, which, strict=True)]
        if any(which):
            self.check([len(row) for row in begun], new_tokens=new_tokens)
        return begun

    def responses(
        self, prompts: Sequence[Prompt], responses: Sequence[str | Sequence[int]], *, raw: bool = False
    ) -> list[Scored]:
        """Prompts with a response to each; text is tokenised on its own, as it was generated."""
        starts = self.prompts(prompts, raw=raw)
        responses = arguments.listed(responses, "responses", "responses, one for each prompt", PromptError)
        if len(responses) != len(starts):
            raise PromptError(
                f"there are {len(responses)} responses to {len(starts)} prompts; give one for each"
            )
        rows = [self._scored(start, response) for start, response in zip(starts, responses, strict=True)]
        self._check_known([row.response for row in rows])
        self.check([len(row.start) + len(row.response) for row in rows], "with its response")
        return rows

    def _scored(self, start: list[int], response: str | Sequence[int]) -> Scored:
        if not isinstance(response, str):
            tokens = [
                arguments.whole(one, "each token of the responses", PromptError, least=0)
                for one in arguments.listed(
                    response, "each of the responses", "token ids, or a text", PromptError
                )
            ]
            return Scored(start, tokens, self.thoughts.of_answer(self.thoughts.after(start), tokens))
        tokens = list(self.tokenizer(response, add_special_tokens=False)["input_ids"])
        lead = self.thoughts.lead(start) if tokens else []
        return Scored(start, lead + tokens, [False] * len(lead) + [True] * len(tokens))

    def generation(
        self,
        row: Sequence[int],
        number: int,
        written: Sequence[int],
        finished: bool,
        taken: float | None = None,
    ) -> Generation:
        """What was written behind a prompt, taken apart; `number` is the prompt's."""
        node = self._behind(row)
        parts = self.thoughts.parts(written, node)
        return Generation(
            parts.answer,
            tuple(written),
            number,
            finished,
            taken,
            parts.thought,
            parts.calls,
            self.thoughts.begins(node, written),
        )

    def pieces(self, row: Sequence[int], tokens: Iterator[int]) -> Iterator[str]:
        """The text of an answer as its tokens come, in pieces that together are all of it."""
        shown = text = ""
        for text in self.thoughts.answers(self._behind(row), tokens):
            # The first bytes of a character that is not complete decode to a replacement character.
            if text.startswith(shown) and len(text) > len(shown) and not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text
        if len(text) > len(shown):
            yield text[len(shown) :]

    def _behind(self, row: Sequence[int]) -> Node:
        return self.thoughts.marks.begin if self.thoughts.is_trivial else self.thoughts.after(row)


@dataclass(frozen=True)
class Scored:
    """A response whose likelihood is wanted.

    Attributes:
        start: The tokens of the prompt.
        response: Those behind it: of the response, and of what closes a thought that the prompt opened.
        counted: For each of these, whether it counts: those of the answer do.
    """

    start: list[int]
    response: list[int]
    counted: list[bool]

    @property
    def tokens(self) -> list[int]:
        """All of them."""
        return self.start + self.response

    @property
    def is_one_token(self) -> bool:
        """Whether the last token alone counts."""
        return self.counted[-1:] == [True] and sum(self.counted) == 1

    @property
    def before_last(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens of the prompt, and those of the response but its last one."""
        return tuple(self.start), tuple(self.response[:-1])

    def mean(self, losses: Sequence[float]) -> float:
        """The mean of what each token of the response lost, over those that count."""
        kept = [loss for loss, counts in zip(losses, self.counted, strict=True) if counts]
        return sum(kept) / len(kept)


def check_positions(positions: Positions, rows: Sequence[Sequence[int]]) -> None:
    """Refuses positions (see `Engine.capture`) of no known kind, or that the tokens of a prompt do not have."""
    if isinstance(positions, str) and positions in ("last", "all", "mean"):
        return
    if isinstance(positions, bool) or not isinstance(positions, int):
        raise PromptError(f"positions are 'last', 'all', 'mean' or the number of a token, not {positions!r}")
    for number, row in enumerate(rows):
        if not -len(row) <= positions < len(row):
            raise PromptError(f"prompt {number} has {len(row)} tokens: it has no token {positions}")
