"""Reading block outputs with forward hooks that are always taken off again.

A hook reads the output of its own block: what `output_hidden_states` calls the last one is after the final norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from trimtab.steering.blocks import DecoderBlocks, hidden_of


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

    with ExitStack() as handles:
        for block in blocks:
            handles.callback(place.blocks[block].register_forward_hook(hook(block)).remove)
        yield run
