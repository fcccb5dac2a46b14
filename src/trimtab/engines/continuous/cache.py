"""The keys and values of a batch that rows join and leave at any token.

All rows end in one column, so that the batch is what a batch padded on the left would be: a row that joins is written
behind padding, or the padding of all others grows. The columns lie in buffers with room to their right, where a
step writes its new ones in place, where transformers copies the whole cache at each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

_ROOM = 64
_LAYERS = (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
)


def is_joinable(cache: Any) -> bool:
    """Whether the rows of a cache can be put beside those of another: all its layers are of kinds known here."""
    return type(cache) in (Cache, DynamicCache) and all(type(layer) in _LAYERS for layer in cache.layers)


def is_recurrent(cache: Any) -> bool:
    """Whether some layers keep a state of a fixed size, into which padding would leak."""
    return any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers)


def keeps_phase(model: Any) -> bool:
    """Whether a model keeps something from pass to pass beside its cache, so that texts must not take turns.

    Weights that carry edits for the prompt or the answer alone do (`trimtab bake`): the pass tells which of them acts.
    """
    told = getattr(model.config, "steering", None)
    return isinstance(told, dict) and bool(told.get("scoped"))


def has_columns(cache: Any) -> bool:
    """Whether anything in it has a column for each token: a model of states alone takes no mask beside them."""
    layers = getattr(cache, "layers", None)
    return not layers or any(isinstance(layer, CacheLayerMixin) for layer in layers)


class RunningCache(Cache):  # type: ignore[misc]
    """What a model is given as its cache; `rows` of them, in the order of the batch.

    Attributes:
        rows: How many there are.
        past: How many columns they have: as many as the longest has tokens.
    """

    def __init__(self, like: Any) -> None:
        super().__init__(layers=[_layer_like(layer) for layer in like.layers])
        self.rows = self.past = 0

    def join(self, other: Any, width: int) -> None:
        """Adds the rows of another cache, of a batch of `width` columns padded on the left, behind those here."""
        past = max(self.past, width)
        added = max(
            layer.join(theirs, self.rows, past)
            for layer, theirs in zip(self.layers, other.layers, strict=True)
        )
        self.rows += added
        self.past = past

    def leave(self, gone: Sequence[int]) -> list[int]:
        """Takes rows out; the last ones take their places. Returns which rows there are now, by their old places."""
        order = list(range(self.rows))
        moves = []
        for place in sorted(gone, reverse=True):
            last = len(order) - 1
            if place != last:
                moves.append((last, place))
                order[place] = order[last]
            order.pop()
        for layer in self.layers:
            layer.leave(moves, len(order))
        self.rows = len(order)
        return order

    def narrow(self, past: int) -> None:
        """Leaves out the first columns, where all rows are padding, so that `past` are left."""
        self.past = past
        for layer in self.layers:
            layer.narrow(past)

    def advance(self) -> None:
        """After a forward pass of one token."""
        self.past += 1
        for layer in self.layers:
            layer.advance(self.rows)


class _Columns(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values `[rows, heads, columns, d]` of one layer; with a window, only the last columns are kept."""

    is_croppable = False

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.is_sliding = window is not None
        self.sliding_window = window
        self.past = 0
        self._end = 0  # one past the last column in use
        self._buffers: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: what joins brings its own shapes."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns a query of this length sees, and the first of them."""
        kept = self._kept(self.past)
        return kept + query_length, self.past - kept

    def get_seq_length(self) -> int:
        """How many columns there are."""
        return self.past

    def get_max_length(self) -> int:
        """The most columns that are kept; -1 for any number."""
        return -1 if self.sliding_window is None else self.sliding_window

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes the columns of new tokens, and gives all that they see."""
        if self._buffers is None:
            raise RuntimeError("a layer writes keys and values that left its cache empty before")
        rows, tokens = key_states.shape[0], key_states.shape[2]
        first, end = self._end - self._kept(self.past), self._end + tokens
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:rows, :, self._end : end] = new
        keys, values = (buffer[:rows, :, first:end] for buffer in self._buffers)
        return keys, values

    def advance(self, rows: int) -> None:
        self.past += 1
        self._end += 1
        if self._buffers is not None and self._end == self._buffers[0].shape[2]:
            kept = self._kept(self.past)
            self._move(rows, rows, kept, kept)

    def narrow(self, past: int) -> None:
        self.past = past

    def leave(self, moves: Sequence[tuple[int, int]], rows: int) -> None:
        columns = slice(self._end - self._kept(self.past), self._end)
        for buffer in self._buffers or ():
            for source, target in moves:
                buffer[target, :, columns] = buffer[source, :, columns]

    def join(self, other: Any, rows: int, past: int) -> int:
        added: tuple[Tensor, Tensor] = (other.keys, other.values)
        before, kept = self._kept(self.past), self._kept(past)
        self.past = past
        if not other.is_initialized:  # a layer that takes the keys and values of another
            return 0
        if self._buffers is None:
            shapes = [(0, new.shape[1], 0, new.shape[3]) for new in added]
            keys, values = (new.new_zeros(shape) for new, shape in zip(added, shapes, strict=True))
            self._buffers = keys, values
        total = rows + len(added[0])
        if total > len(self._buffers[0]) or self._end < kept or self._end == self._buffers[0].shape[2]:
            self._move(rows, total, before, kept)
        first, end = self._end - kept, self._end
        for buffer, new in zip(self._buffers, added, strict=True):
            width = min(new.shape[2], kept)
            # Zeros, since what an earlier row left there may not be finite: not even a weight of 0 keeps that out.
            buffer[:rows, :, first : end - before] = 0
            buffer[rows:total, :, first : end - width] = 0
            buffer[rows:total, :, end - width : end] = new[:, :, new.shape[2] - width :]
        return len(added[0])

    def _kept(self, past: int) -> int:
        return past if self.sliding_window is None else min(past, self.sliding_window - 1)

    def _move(self, rows: int, total: int, before: int, kept: int) -> None:
        """Into new buffers for `total` rows and `kept` columns, with room for more; `rows` of `before` are in use."""
        if self._buffers is None:
            return
        end = kept
        moved = []
        for buffer in self._buffers:
            size, heads, _, width = buffer.shape
            size = size if total <= size else max(total, min(2 * size, total + 8))
            new = buffer.new_zeros(size, heads, kept + max(_ROOM, kept // 2), width)
            new[:rows, :, end - before : end] = buffer[:rows, :, self._end - before : self._end]
            moved.append(new)
        self._buffers = moved[0], moved[1]
        self._end = end


class _States(LinearAttentionLayer):  # type: ignore[misc]
    """The states of a recurrent layer, `[rows, ...]` each."""

    def advance(self, rows: int) -> None:
        """Nothing: the model wrote its new states."""

    def narrow(self, past: int) -> None:
        """Nothing: they have no columns."""

    def leave(self, moves: Sequence[tuple[int, int]], rows: int) -> None:
        for states in (self.conv_states, self.recurrent_states):
            for number, state in states.items():
                if state is None:
                    continue
                for source, target in moves:
                    state[target] = state[source]
                states[number] = state[:rows]

    def join(self, other: Any, rows: int, past: int) -> int:
        for name in ("conv_kernel_size", "has_previous_state", "is_conv_states_initialized"):
            setattr(self, name, dict(getattr(other, name)))
        self.is_recurrent_states_initialized = dict(other.is_recurrent_states_initialized)
        self.dtype, self.device = other.dtype, other.device
        added = 0
        for mine, theirs in (
            (self.conv_states, other.conv_states),
            (self.recurrent_states, other.recurrent_states),
        ):
            for number, state in theirs.items():
                if state is not None:
                    before = mine[number]
                    mine[number] = state.clone() if before is None else torch.cat([before[:rows], state])
                    added = len(state)
        return added


class _StatesAndColumns(_States, _Columns):
    """A layer with both."""

    def __init__(self, number_of_states: int, window: int | None) -> None:
        _Columns.__init__(self, window)
        LinearAttentionLayer.__init__(self, number_of_states=number_of_states)

    def advance(self, rows: int) -> None:
        _Columns.advance(self, rows)

    def narrow(self, past: int) -> None:
        _Columns.narrow(self, past)

    def leave(self, moves: Sequence[tuple[int, int]], rows: int) -> None:
        _Columns.leave(self, moves, rows)
        _States.leave(self, moves, rows)

    def join(self, other: Any, rows: int, past: int) -> int:
        return max(_Columns.join(self, other, rows, past), _States.join(self, other, rows, past))


def _layer_like(layer: Any) -> Any:
    window = layer.sliding_window if isinstance(layer, DynamicSlidingWindowLayer) else None
    if not isinstance(layer, LinearAttentionLayer):
        return _Columns(window)
    if isinstance(layer, DynamicLayer):
        return _StatesAndColumns(layer.number_of_states, window)
    return _States(number_of_states=layer.number_of_states)
