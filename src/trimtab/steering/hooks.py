"""Changing and reading block outputs with forward hooks that are always taken off again.

Hooks survive library upgrades where wrapper modules do not. A hook reads the output of its own block: what
`output_hidden_states` calls the last one is after the final norm.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks, hidden_of, with_hidden
from trimtab.steering.edits import Edit, EditTable


class Steered:
    """While entered, every forward pass of the model is steered, row by row. It can be entered again and again.

    Only blocks that have something to do get a hook; an empty steering, or one of strength 0, installs none.

    Args:
        place: The decoder blocks of the model.
        rows: The edits of each row of the batch. A batch of several times as many rows (beams, several samples)
            has the rows of a prompt next to each other. A single row serves all.
        prompt_lengths: How many tokens of each row (or of all) are its prompt, padding not counted; what comes
            later counts as generated. None: everything is prompt.
    """

    def __init__(
        self,
        place: DecoderBlocks,
        rows: Sequence[Sequence[Edit]],
        prompt_lengths: Sequence[int] | None = None,
    ) -> None:
        self._place = place
        shared = all(edits is rows[0] for edits in rows)
        self._rows = list(rows[:1] if shared else rows)
        edits = [edit for row in self._rows for edit in row if not edit.is_nothing]
        if outside := {edit.block for edit in edits if edit.block >= len(place.blocks)}:
            raise ModelError(f"there is no block {max(outside)}: the model has {len(place.blocks)} blocks")
        self._blocks = sorted({edit.block for edit in edits})
        scoped = prompt_lengths is not None and any(edit.tokens != "all" for edit in edits)
        self._tokens = _TokenTracker(place.decoder, prompt_lengths) if scoped and prompt_lengths else None
        self._tables: dict[tuple[int, torch.device, torch.dtype], EditTable] = {}
        self._repeated: dict[tuple[int, int], EditTable] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Steered:
        try:
            if self._tokens is not None:
                self._tokens.restart()
                self._handles.append(
                    self._place.decoder.register_forward_pre_hook(self._tokens.before, with_kwargs=True)
                )
            for block in self._blocks:
                self._handles.append(self._place.blocks[block].register_forward_hook(self._hook(block)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, block: int) -> Callable[[nn.Module, Any, Any], Any]:
        def edit_output(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = hidden_of(output)
            table = self._table(block, hidden)
            generated = None if self._tokens is None else self._tokens.generated(hidden)
            return with_hidden(output, table.apply(hidden, generated))

        return edit_output

    def _table(self, block: int, hidden: Tensor) -> EditTable:
        # Made at the first use, since only then the device of the block's output is known for certain.
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        key = (block, hidden.device, dtype)
        if key not in self._tables:
            rows = [[edit for edit in row if edit.block == block] for row in self._rows]
            width = next(edit.width for row in rows for edit in row)
            if width != hidden.shape[-1]:
                raise ModelError(f"an edit of block {block} has width {width}, the model {hidden.shape[-1]}")
            self._tables[key] = EditTable(rows, dtype=dtype, device=hidden.device)
        table = self._tables[key]
        if table.rows in (1, len(hidden)):
            return table
        again = (id(table), len(hidden))
        if again not in self._repeated:
            self._repeated[again] = table.repeated(_times(len(hidden), table.rows))
        return self._repeated[again]


class _TokenTracker:
    """Tells, for each forward pass of the decoder, which of its tokens the model wrote.

    A token is generated if its position in its row is not below the row's prompt length. Positions are taken from
    what the decoder is given: `position_ids`, else the attention mask; models that get neither are counted, for
    which prompts must be padded on the left.
    """

    def __init__(self, decoder: nn.Module, prompt_lengths: Sequence[int]) -> None:
        self._signature = inspect.signature(decoder.forward)
        self._lengths = torch.tensor(list(prompt_lengths))
        self._width = max(prompt_lengths)
        self._seen = 0
        self._mask: Tensor | None = None

    def restart(self) -> None:
        """Forgets what was counted, for a new text."""
        self._seen = 0
        self._mask = None

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook of the decoder."""
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        inputs = given.get("inputs_embeds") if given.get("input_ids") is None else given["input_ids"]
        if inputs is None:
            raise ModelError(
                "a decoder was run without input_ids or inputs_embeds: its tokens can't be told apart"
            )
        tokens = inputs.shape[1]
        past = self._past(given)
        self._seen = past + tokens

        position_ids, mask = given.get("position_ids"), given.get("attention_mask")
        if isinstance(position_ids, Tensor) and position_ids.dim() in (2, 3):
            # Three dimensions are those of multimodal models, alike for text.
            positions = position_ids if position_ids.dim() == 2 else position_ids[0]
        elif isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] >= tokens:
            positions = mask.long().cumsum(-1)[:, -tokens:] - 1
        else:
            columns = torch.arange(past, past + tokens, device=inputs.device)
            self._mask = (columns >= self._width)[None]
            return
        lengths = self._lengths = self._lengths.to(positions.device)
        if len(positions) > 1 and len(lengths) > 1:
            lengths = lengths.repeat_interleave(_times(len(positions), len(lengths)))
        self._mask = positions >= lengths[:, None]

    def generated(self, hidden: Tensor) -> Tensor:
        """Bool `[rows or 1, tokens]` for the forward pass under way."""
        if self._mask is None:
            raise ModelError("a decoder block was run outside its decoder: its tokens can't be told apart")
        if len(self._mask) not in (1, len(hidden)):
            self._mask = self._mask.repeat_interleave(_times(len(hidden), len(self._mask)), dim=0)
        return self._mask.to(hidden.device)

    def _past(self, given: dict[str, Any]) -> int:
        """How many tokens came before: what the cache holds, or what was counted if the cache doesn't say."""
        cache = given.get("past_key_values")
        if cache is not None and hasattr(cache, "get_seq_length"):
            return int(cache.get_seq_length())
        return self._seen if given.get("cache_params") is not None else 0


def _times(rows: int, given: int) -> int:
    if rows % given:
        raise ModelError(f"a batch of {rows} rows was run with steerings for {given}")
    return rows // given


class _EnoughReadError(Exception):
    """Ends a forward pass once the last wanted block was read."""


@contextmanager
def reading(
    place: DecoderBlocks, blocks: Sequence[int], read: Callable[[int, Tensor], None]
) -> Iterator[Callable[..., None]]:
    """Calls `read(block, hidden)` with the output `[rows, tokens, d]` of each of the blocks.

    Yields:
        What runs the decoder (with the arguments of its `forward`) up to the highest of the blocks and no further.
    """
    last = max(blocks)

    def hook(block: int) -> Callable[[nn.Module, Any, Any], None]:
        def read_output(module: nn.Module, args: Any, output: Any) -> None:
            read(block, hidden_of(output))
            if block == last:
                raise _EnoughReadError

        return read_output

    def run(**inputs: Any) -> None:
        try:
            place.decoder(**inputs)
        except _EnoughReadError:
            return

    handles: list[RemovableHandle] = []
    try:
        handles.extend(place.blocks[block].register_forward_hook(hook(block)) for block in blocks)
        yield run
    finally:
        for handle in handles:
            handle.remove()
