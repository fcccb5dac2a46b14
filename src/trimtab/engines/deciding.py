"""Deciding when: which edits act on which prompt, before anything is applied.

It needs nothing of an engine but its `capture`, so that every engine decides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from trimtab.engines.batching import check_batch_size
from trimtab.steering.when import ReadTokens, When

if TYPE_CHECKING:
    from trimtab.engines.base import Capture, Prompt
    from trimtab.steering.steering import Steering


Reads = Callable[..., "Capture"]
"""`Engine.capture`, of which only `blocks`, `positions`, `keep` and `batch_size` are used."""


def decide(
    capture: Reads,
    steerings: Sequence[Steering | None],
    prompts: Sequence[Prompt],
    batch_size: int | None = None,
) -> list[Steering | None]:
    """The steering of each prompt, less the edits that do not act on it.

    Prompts that stand several times, and a `when` that several steerings share, are decided once.
    """
    keys = [repr(prompt) for prompt in prompts]  # chats are lists, which no dictionary takes
    asked: dict[str, tuple[Prompt, dict[When, bool]]] = {}
    for key, prompt, steering in zip(keys, prompts, steerings, strict=True):
        if steering is not None and steering.whens:
            asked.setdefault(key, (prompt, {}))[1].update(dict.fromkeys(steering.whens, False))
    readings = _Readings(capture, list(asked.values()), batch_size)
    for number, (prompt, verdicts) in enumerate(asked.values()):
        for when in verdicts:
            verdicts[when] = when.holds(prompt, partial(readings.of, number))
    # Rows with the same steering and the same verdicts share one result: what is shared is installed once.
    known: dict[tuple[int, frozenset[When]], Steering] = {}
    results: list[Steering | None] = []
    for key, steering in zip(keys, steerings, strict=True):
        if steering is None or not steering.whens:
            results.append(steering)
            continue
        verdicts = asked[key][1]
        holding = frozenset(when for when in steering.whens if verdicts[when])
        if (id(steering), holding) not in known:
            known[id(steering), holding] = steering.decided(holding.__contains__)
        results.append(known[id(steering), holding])
    return results


def holds(capture: Reads, when: When, prompts: Sequence[Prompt], batch_size: int | None = None) -> list[bool]:
    """Whether a `when` holds, for each prompt."""
    readings = _Readings(capture, [(prompt, {when: False}) for prompt in prompts], batch_size)
    return [when.holds(prompt, partial(readings.of, row)) for row, prompt in enumerate(prompts)]


class _Readings:
    """The block outputs that are wanted of prompts: one pass over those concerned for each kind of tokens."""

    def __init__(
        self, capture: Reads, asked: Sequence[tuple[Prompt, dict[When, bool]]], batch_size: int | None
    ) -> None:
        check_batch_size(batch_size)
        wanted: dict[ReadTokens, dict[int, set[int]]] = {}
        for row, (_, whens) in enumerate(asked):
            for block, tokens in frozenset().union(*(when.readings for when in whens)):
                wanted.setdefault(tokens, {}).setdefault(row, set()).add(block)
        self._read: dict[tuple[int, int, ReadTokens], Tensor] = {}
        for tokens, rows in wanted.items():
            blocks = sorted(set().union(*rows.values()))
            read = capture(
                [asked[row][0] for row in rows],
                blocks=blocks,
                positions=tokens,
                keep=True,
                batch_size=batch_size,
            )
            if read.activations is None:  # an engine may only keep sums
                continue
            for vectors, row in zip(read.activations, rows, strict=True):
                for vector, block in zip(vectors, read.blocks, strict=True):
                    self._read[row, block, tokens] = vector

    def of(self, row: int, block: int, tokens: ReadTokens) -> Tensor:
        """The output `[d]` of a block for one of the prompts."""
        return self._read[row, block, tokens]
