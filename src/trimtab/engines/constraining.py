"""Rows of a batch held to constraints: at each place of an answer, the tokens that a grammar allows there.

llguidance (https://github.com/guidance-ai/llguidance) follows each grammar in a matcher. All end tokens of a model are
allowed exactly where the grammar may stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.constraint import Constraint, limits
from trimtab.engines.casing import OtherCase
from trimtab.engines.vocabulary import readable_vocabulary
from trimtab.errors import InstructionError, ModelError, PromptError

Constraints = Constraint | Sequence[Constraint | None] | None
"""What answers are held to: one constraint for all, one (or None) per row, or None."""


def constraints_of_rows(constraints: Constraints, count: int) -> list[Constraint | None]:
    """The constraint of each of `count` rows.

    Raises:
        InstructionError: One is no constraint, or their number is not `count`.
    """
    if constraints is None or isinstance(constraints, Constraint):
        return [constraints] * count
    rows = arguments.listed(
        constraints, "constraints", "constraints, one (or None) for each prompt", InstructionError
    )
    for row in rows:
        if row is not None and not isinstance(row, Constraint):
            raise InstructionError(
                f"each of constraints is a Constraint or None, not {arguments.in_words(row)}"
            )
    if len(rows) != count:
        raise InstructionError(
            f"there are {len(rows)} constraints for {count} prompts; give one for all, or one (or None) for each"
        )
    return rows


_KEPT = 256
"""Compiled constraints that are kept: a server is sent new ones for ever."""


class Matchers:
    """Compiles constraints for the vocabulary of one model, the last ones used each once. May be used from any thread.

    Args:
        tokenizer: The model's tokenizer.
        ends: Its tokens that end an answer.
        width: How many logits it gives.
        model: What to call it in messages.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int], width: int, model: str) -> None:
        self.ends = tuple(end for end in ends if 0 <= end < width)
        self.width = width
        self._tokenizer = tokenizer
        self._model = model
        self._vocabulary: Any = None
        self._compiled: dict[Constraint, Any] = {}

    def matcher(self, constraint: Constraint, beginning: str = "") -> Any:
        """An `llguidance.LLMatcher` at the start of an answer, behind the `beginning` that a prompt gives it.

        Raises:
            InstructionError: The constraint cannot be compiled.
            PromptError: The beginning breaks it.
            ModelError: The model's answers cannot be held to any; see `readable_vocabulary`.
        """
        if self._vocabulary is None:
            self._vocabulary = readable_vocabulary(self._tokenizer, self.ends, self.width, self._model)
        compiled = self._compiled.pop(constraint, None)
        if compiled is None:
            compiled = self._compile(constraint)
        self._compiled[constraint] = compiled  # behind those that were used before
        while len(self._compiled) > _KEPT:
            self._compiled.pop(next(iter(self._compiled)), None)
        matcher = compiled.deep_copy()
        if beginning:
            tokens = self._vocabulary.tokenize_str(beginning)
            if matcher.try_consume_tokens(tokens) < len(tokens):
                raise PromptError(
                    f"the beginning of the answer that the prompt gives, {beginning!r:.60}, breaks the constraint; "
                    "change it, or leave the constraint out"
                )
        return matcher

    def _compile(self, constraint: Constraint) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._vocabulary, constraint.grammar, log_level=0, limits=limits())
        if matcher.is_error():
            raise InstructionError(
                f"this constraint ({constraint.kind}) cannot be used: {matcher.get_error():.300}"
            )
        return matcher

    @cached_property
    def other_case(self) -> OtherCase:
        """The tokens in lower and in upper case."""
        return OtherCase(self._tokenizer, self.width)

    @property
    def words(self) -> int:
        """How many int32 hold one bit for each token."""
        return (int(self._vocabulary.vocab_size) + 31) // 32


class Holding(Protocol):
    """An engine whose answers can be held to constraints."""

    @property
    def matchers(self) -> Matchers:
        """What compiles them for its model."""


def allowed(
    engine: Holding, constraint: Constraint, token_ids: Sequence[int], *, beginning: str = ""
) -> Tensor:
    """Which tokens may stand at each place of an answer that a constraint admits.

    Args:
        engine: One that runs the model the answer is for.
        constraint: What the answer is held to.
        token_ids: The answer, with its end token last if it has one; `T` tokens.
        beginning: The beginning of the answer that its prompt gives.

    Returns:
        int32 `[T, W]`, one bit for each token; `unpacked` makes bools of them.

    Raises:
        PromptError: The answer leaves the constraint.
        InstructionError: The constraint cannot be compiled.
    """
    matchers = engine.matchers
    matcher = matchers.matcher(constraint, beginning)
    packed = torch.zeros(len(token_ids), matchers.words, dtype=torch.int32)
    for place, token in enumerate(token_ids):
        _fill(matcher, packed[place])
        if not packed[place, token // 32] >> token % 32 & 1:
            raise PromptError(f"token {place} of the answer ({token}) is one that its constraint forbids")
        if token not in matchers.ends:
            matcher.consume_token(token)
    return packed


def unpacked(packed: Tensor, width: int) -> Tensor:
    """Bits as bool `[..., width]`, of int32 `[..., W]` with the lowest bit first.

    Bits past `width` are dropped; where there are fewer, the rest is False.
    """
    # Eight bools are the bytes of one int64: a table is quicker than shifts by several times.
    octets = packed.contiguous().view(torch.uint8)
    bools = _octet_table(packed.device)[octets.int()].view(torch.bool)
    bools = bools[..., :width]
    return torch.nn.functional.pad(bools, (0, width - bools.shape[-1])) if bools.shape[-1] < width else bools


def _octet_table(device: torch.device) -> Tensor:
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return bits.to(torch.uint8).view(torch.int64).flatten().to(device)


def restrained(engine: Holding, constraint: Constraint, log_probs: Tensor, packed: Tensor) -> Tensor:
    """A distribution held to a constraint, renormalised: what an answer is drawn from that is held to it.

    Args:
        engine: One that runs the model.
        constraint: The constraint.
        log_probs: `[T, V]`, at each place of an answer.
        packed: int32 `[T, W]`, what may stand there; see `allowed`.

    Returns:
        `[T, V]` log-probabilities; minus infinity for what may not stand.
    """
    may = unpacked(packed.to(log_probs.device), log_probs.shape[-1])
    if constraint.other_case:
        log_probs = engine.matchers.other_case.moved(log_probs.exp(), may).log()
    return log_probs.masked_fill(~may, -torch.inf).log_softmax(-1)


def _fill(matcher: Any, packed: Tensor) -> None:
    matcher.unsafe_compute_mask_ptr(packed.data_ptr(), packed.numel() * packed.element_size())
    if matcher.is_error():
        raise ModelError(f"a constraint cannot be followed any further: {matcher.get_error():.200}")


@dataclass(frozen=True)
class Start:
    """What holds an answer that begins: a matcher behind what its prompt gives, and `Constraint.other_case`."""

    matcher: Any
    other_case: bool = False

    def copy(self) -> Start:
        """Another, which goes its own way."""
        return Start(self.matcher.deep_copy(), self.other_case)


def held(matchers: Matchers, starts: Sequence[Start | None], times: int = 1) -> Held | None:
    """What holds a batch in which each of `starts`, one for each prompt, stands `times`.

    None where none of them is held.
    """
    if all(start is None for start in starts):
        return None
    return Held(matchers, [None if start is None else start.copy() for start in starts for _ in range(times)])


class Held:
    """Holds rows of a batch to their constraints while `generate` of transformers writes them.

    It is a logits processor: what is forbidden becomes minus infinity. Rows without a constraint are left as they are.

    Args:
        matchers: What compiled the constraints.
        rows: The start of each row, of its own; None for rows that are free.
    """

    def __init__(self, matchers: Matchers, rows: Sequence[Start | None]) -> None:
        self._matchers = matchers
        self._rows = list(rows)
        self._numbers = list(range(len(rows)))  # of the rows in the batch, as they were at the start
        self._read: int | None = None  # columns of the batch
        self._taken = torch.zeros(len(rows), dtype=torch.float64)
        self._counts = [0] * len(rows)

    def keep(self, places: Sequence[int]) -> None:
        """The rows at these places go on; the others have left the batch."""
        self._numbers = [self._numbers[place] for place in places]

    def taken(self, row: int) -> float | None:
        """The mean probability that was taken away from the tokens of a row; None of a free one."""
        return float(self._taken[row]) / self._counts[row] if self._counts[row] else None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Forbids tokens in `scores`, `[rows, vocabulary]`, and returns it."""
        width = input_ids.shape[1]
        written = input_ids[:, width if self._read is None else self._read :].tolist()
        self._read = width
        places = [
            place
            for place, (row, tokens) in enumerate(zip(self._numbers, written, strict=True))
            if self._follows(row, tokens)
        ]
        if not places:
            return scores
        packed = torch.zeros(len(places), self._matchers.words, dtype=torch.int32)
        others = []
        for number, (place, bits) in enumerate(zip(places, packed, strict=True)):
            row = self._rows[self._numbers[place]]
            if row is not None:
                _fill(row.matcher, bits)
                if row.other_case:
                    others.append(number)
        may = unpacked(packed.to(scores.device), scores.shape[1])
        everything = len(places) == len(scores)
        own = scores if everything else scores[places]
        likely = own.softmax(-1)
        away = likely.masked_fill(may, 0).sum(-1)
        own = own.masked_fill(~may, -torch.inf)
        if others:
            moved = self._matchers.other_case.moved(likely[others], may[others])
            own[others] = moved.log().to(own.dtype)
        if bool((own.amax(-1) == -torch.inf).any()):
            raise ModelError(
                "a constraint allows only tokens that the model's generation settings suppress; change those, or the "
                "constraint"
            )
        for place, share in zip(places, away.tolist(), strict=True):
            self._taken[self._numbers[place]] += share
            self._counts[self._numbers[place]] += 1
        if everything:
            return own
        scores[places] = own
        return scores

    def _follows(self, row: int, tokens: Sequence[int]) -> bool:
        """Whether a row is held still, after the matcher has read what was written to it."""
        held = self._rows[row]
        if held is None:
            return False
        for token in tokens:
            if token in self._matchers.ends:
                self._rows[row] = None
                return False
            held.matcher.consume_token(token)
        return True
