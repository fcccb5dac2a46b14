"""Which tokens of a forward pass are the prompt's, and which the model wrote; `following` adds which are answer.

Edits may act on one kind alone. Where the lengths of the prompts are given, a token's position in its row decides.
Where they are not, the cache does: what fills an empty one is the prompt, what comes after it one by one is generated.
A forward pass that neither settles is an error, since a guess would steer the wrong tokens without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.errors import ModelError, SteeringError
from trimtab.steering.following import Answers
from trimtab.thoughts import Reader

PromptLengths = int | Sequence[int] | Tensor | Mapping[str, Any]
"""How many tokens of each row are its prompt: one number for all rows, one for each, a mask `[rows, tokens]` that is
true at the tokens of the prompts, or the tokenised prompts themselves (`input_ids` and `attention_mask`)."""

_UNKNOWN = (
    "some edits act on the prompt's or on the generated tokens alone, and {why}, so it is not known which is which; "
    "give prompt_lengths= (how many tokens of each row are its prompt){or_else}"
)


def row_lengths(given: PromptLengths | None) -> list[int] | None:
    """The prompt tokens of each row, padding not counted; one number where it is that of all rows."""
    if given is None:
        return None
    counted: Any = given
    try:
        if isinstance(given, bool):
            raise TypeError
        if isinstance(given, Mapping):
            counted = given.get("attention_mask")
            if counted is None:
                counted = torch.ones_like(torch.as_tensor(given["input_ids"]))
        numbers = torch.as_tensor(counted)
    except (KeyError, TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if numbers.dim() == 2 and not numbers.is_floating_point():
        numbers = (numbers != 0).sum(-1)
    if numbers.dim() == 0:
        numbers = numbers[None]
    if numbers.dim() != 1 or not len(numbers) or numbers.dtype.is_floating_point or bool((numbers < 0).any()):
        raise SteeringError(
            f"prompt_lengths are numbers of tokens, one for all rows or one for each, a mask [rows, tokens], or the "
            f"tokenised prompts, padded to one length; not {given!r:.80}"
        )
    return [int(number) for number in numbers]


class TokenPhases:
    """Tells, for each forward pass of a decoder, which of its tokens the model wrote.

    Positions are taken from what the decoder is given: `position_ids`, else the attention mask; models that get
    neither are counted, for which prompts must be padded on the left.
    """

    def __init__(self, decoder: nn.Module, thoughts: Reader | None = None) -> None:
        self._decoder = decoder
        self.read_by(thoughts)
        self._signature: inspect.Signature | None = None
        self._ends: tuple[Sequence[int], Tensor] | None = None
        self.restart()

    def restart(self) -> None:
        """Forgets what was counted, for a new text."""
        self._seen = 0
        self._mask: Tensor | None = None
        self._counts: Tensor | None = (
            None  # of the tokens that the model wrote up to the last one, in each row
        )
        self._inputs: dict[int, int] = {}
        if self._answers is not None:
            self._answers.restart()

    def read_by(self, thoughts: Reader | None) -> None:
        """Tells answers from thoughts by another reader, from the next text on."""
        self._answers = None if thoughts is None or thoughts.is_trivial else Answers(thoughts)

    def begin(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        lengths: Sequence[int] | Tensor | None,
        *,
        answers: bool = False,
        history: Tensor | None = None,
    ) -> None:
        """Looks at what the decoder is about to be run with.

        `lengths`: the prompt tokens of each row, or bool `[rows, tokens]`, true at generated ones; None goes by the
        cache. `answers`: whether it matters which of the generated ones are of the answer; `history` is then the text
        that `generate` is about to run, if it does.
        """
        self._inputs.clear()
        if self._signature is None:
            self._signature = inspect.signature(self._decoder.forward)
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        self._counts = None
        past = self._past(given) if answers else 0
        self._look(given, lengths)
        if answers and self._answers is not None and self._mask is not None:
            ids = given.get("input_ids")
            inputs = given["inputs_embeds"] if ids is None else ids
            self._mask = self._answers.phases(
                ids, tuple(inputs.shape[:2]), self._mask, self._counts, past, history
            )

    def _look(self, given: Mapping[str, Any], lengths: Sequence[int] | Tensor | None) -> None:
        if isinstance(lengths, Tensor):
            self._mask = lengths
            return
        inputs = given.get("inputs_embeds") if given.get("input_ids") is None else given["input_ids"]
        if inputs is None:
            raise ModelError(
                "a decoder was run without input_ids or inputs_embeds: its tokens can't be told apart"
            )
        tokens = inputs.shape[1]
        if lengths is None:
            past = self._past(given)
            self._mask = torch.full((1, 1), self._continues(given, past, tokens), device=inputs.device)
            self._seen = past + tokens
            return

        position_ids, mask = given.get("position_ids"), given.get("attention_mask")
        if isinstance(position_ids, Tensor) and position_ids.dim() in (2, 3):
            # Three dimensions are those of multimodal models, alike for text.
            positions = position_ids if position_ids.dim() == 2 else position_ids[0]
        elif isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] >= tokens:
            positions = mask.long().cumsum(-1)[:, -tokens:] - 1
        else:
            past = self._past(given)
            self._seen = past + tokens
            columns = torch.arange(past, past + tokens, device=inputs.device)
            self._mask = (columns >= max(lengths))[None]
            self._counts = torch.tensor([past + tokens - max(lengths)])
            return
        if self._ends is None or self._ends[0] is not lengths:
            self._ends = (lengths, torch.tensor(lengths))
        ends = self._ends[1].to(positions.device)
        self._ends = (lengths, ends)
        if len(positions) > 1 and len(ends) > 1:
            ends = ends.repeat_interleave(times(len(positions), len(ends), "prompt lengths"))
        self._mask = positions >= ends[:, None]
        self._counts = positions[:, -1] + 1 - ends

    def phases(self, hidden: Tensor) -> Tensor:
        """Of the forward pass under way `[rows or 1, tokens or 1]`, as `EditTable.apply` takes it."""
        if self._mask is None:
            raise ModelError("a decoder block was run outside its decoder: its tokens can't be told apart")
        if len(self._mask) not in (1, len(hidden)):
            again = times(len(hidden), len(self._mask), "prompt lengths")
            self._mask = self._mask.repeat_interleave(again, dim=0)
        return self._mask.to(hidden.device)

    def note(self, block: int, args: tuple[Any, ...], *, again: bool) -> None:
        """Makes sure that a block which is computed again, for its gradient, belongs to the last forward pass."""
        place = args[0].data_ptr() if args and isinstance(args[0], Tensor) else None
        if not again and place is not None:
            self._inputs[block] = place
        elif again and (place is None or self._inputs.get(block) != place):
            raise ModelError(
                f"block {block} is computed again for a forward pass that is not the last one, and some edits tell "
                "prompt and generated tokens apart; with gradient checkpointing call backward() after each forward pass"
            )

    def _continues(self, given: Mapping[str, Any], past: int, tokens: int) -> bool:
        """Whether the tokens of a pass were written by the model, from its cache alone."""
        if past == 0:
            if _cache(given) is None and given.get("use_cache") is not True:
                raise SteeringError(
                    _UNKNOWN.format(
                        why="this forward pass has no cache", or_else=", or use_cache=True if all of them are"
                    )
                )
            return False
        if tokens == 1 and past == self._seen:
            return True
        many = f"this forward pass adds {tokens} tokens to a cache of {past}"
        other = f"the cache of this forward pass holds {past} tokens that were not seen here"
        raise SteeringError(_UNKNOWN.format(why=many if tokens > 1 else other, or_else=""))

    def _past(self, given: Mapping[str, Any]) -> int:
        """How many tokens came before: what the cache holds, or what was counted if the cache doesn't say."""
        cache = _cache(given)
        if cache is None:
            return 0
        try:
            return int(cache.get_seq_length())
        except (AttributeError, ValueError):
            # A state of a fixed size, which does not say how much went into it.
            began = not hasattr(cache, "has_previous_state") or cache.has_previous_state()
            return self._seen if began else 0


def _cache(given: Mapping[str, Any]) -> Any:
    """What models keep from token to token, by the names that they give it; RWKV has a state."""
    names = ("past_key_values", "cache_params", "state")
    return next((given[name] for name in names if given.get(name) is not None), None)


def times(rows: int, given: int, what: str = "steerings") -> int:
    """How often each of the given rows stands in a batch of `rows` (beams, several samples)."""
    if rows % given:
        raise ModelError(f"a batch of {rows} rows was run with {what} for {given}")
    return rows // given
