"""What is asked of a running batch, and what it tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from trimtab.engines.constraining import Start
from trimtab.engines.decoding import Settings
from trimtab.errors import ModelError, PromptError
from trimtab.steering.edits import Edit

Ending = Literal["stop", "length", "error"]
"""Why a request ended: the model ended its answer, the answer is as long as it may be, or something failed."""


@dataclass(frozen=True, eq=False)
class Ask:
    """One request: a prompt, what steers it, and how it is answered.

    Attributes:
        prompt_tokens: The token ids of the prompt, in the model's chat template if it has one.
        edits: What steers this row; without conditions, which are decided before (`Engine.decided`).
        prompt_length: How many of `prompt_tokens` are the prompt; those behind count as written by the model. None for
            all.
        max_new_tokens: The longest answer, in tokens.
        do_sample: Sample instead of taking the most likely token.
        temperature: For sampling, above 0; None leaves it to the model's own generation settings, as below.
        top_p: For sampling: the smallest set of tokens with this probability.
        top_k: For sampling: only the most likely tokens; 0 for all.
        seed: Makes a sample repeatable, whatever else is in the batch; None for another one each time.
        logprobs: How many of the most likely tokens to tell at each place, with their log-probabilities and that of the
            token chosen; 0 for the chosen one alone, None for none. They are the (steered) model's own: before a
            temperature, a constraint and whatever else changes what is chosen from.
        constraint: What holds the answer; it is copied.
        ends: The tokens that end the answer; None for the model's own.

    Raises:
        ModelError: If the settings contradict each other.
        PromptError: If there is no prompt, or `prompt_length` is none of it.
    """

    prompt_tokens: Sequence[int]
    edits: Sequence[Edit] = ()
    prompt_length: int | None = None
    max_new_tokens: int = 256
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    logprobs: int | None = None
    constraint: Start | None = None
    ends: Sequence[int] | None = None

    def __post_init__(self) -> None:
        _ = self.settings
        if not len(self.prompt_tokens):
            raise PromptError("there is no prompt; give at least one token")
        if self.prompt_length is not None and not 0 < self.prompt_length <= len(self.prompt_tokens):
            raise PromptError(
                f"prompt_length is {self.prompt_length}; it must be at least 1 and at most {len(self.prompt_tokens)}, "
                "the number of prompt_tokens"
            )
        if self.logprobs is not None and self.logprobs < 0:
            raise ModelError(f"logprobs is {self.logprobs}; it must be at least 0, or None for none")
        if self.seed is not None and not -(2**63) <= self.seed < 2**64:
            raise ModelError(f"the seed {self.seed} is too large; it must fit into 64 bits")

    @property
    def settings(self) -> Settings:
        """How it is answered, as `Engine.generate` has it."""
        return Settings(self.max_new_tokens, self.do_sample, self.temperature, self.top_p, self.top_k)


@dataclass(eq=False)
class Running:
    """A request that was handed in.

    Attributes:
        ask: What was asked.
        token_ids: What was written so far, without an end token. Only the thread that runs the batch changes it.
        ended: Why it ended; None while it goes on, and where it was cancelled.
        error: What failed, where it ended by an error.
        is_cancelled: Whether it was cancelled: nothing more comes of it.
    """

    ask: Ask
    token_ids: list[int] = field(default_factory=list)
    ended: Ending | None = None
    error: Exception | None = None
    is_cancelled: bool = False
    _taken: float = 0.0
    _held: int = 0

    @property
    def taken(self) -> float | None:
        """The mean probability that its constraint took away from its tokens; None of one without."""
        return self._taken / self._held if self._held else None


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One more token of a request, or its end, or both.

    Attributes:
        running: The request.
        token: The token that was written; None where it ended without one: at an end token, or by an error.
        logprob: The log-probability of what was chosen, an end token too, where that was asked for.
        top_logprobs: The most likely tokens with theirs, the likeliest first, where they were asked for.
        ended: Why the request ended; None where it goes on.
        error: What failed, where it ended by an error.
    """

    running: Running
    token: int | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    ended: Ending | None = None
    error: Exception | None = None


class Row:
    """A request in the batch, with all that it carries from token to token."""

    def __init__(self, running: Running, ends: tuple[int, ...], device: torch.device) -> None:
        ask = running.ask
        self.running = running
        self.ask = ask
        self.text = list(ask.prompt_tokens)
        self.ends = frozenset(ends if ask.ends is None else ask.ends)
        self.constraint = None if ask.constraint is None else ask.constraint.copy()
        self.phases: list[int] | None = None  # of each token of `text`, where its edits ask for them
        self.node: Any = None  # where the text stands among thought and answer, where that matters
        self.processors: Any = None
        self.cache: Any = None  # of a row whose state no other shares
        self._device = device
        self._generator: torch.Generator | None = None

    def follow(self, token: int, share: float, ends: Sequence[int]) -> None:
        """After a token of a row under a constraint was chosen, which took a share of the probability away."""
        self.running._taken += share
        self.running._held += 1
        if self.constraint is not None and token not in ends:
            self.constraint.matcher.consume_token(token)
        else:
            self.constraint = None

    def drawn(self, probabilities: Tensor) -> int:
        """A token drawn from probabilities `[vocabulary]`, by the numbers of this row alone."""
        if self._generator is None:
            self._generator = torch.Generator(self._device)
            if self.ask.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self.ask.seed)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))
