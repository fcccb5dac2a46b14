"""Where a model keeps its decoder blocks, and the hidden states in what a block returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trimtab import arguments
from trimtab.errors import ModelError


@dataclass(frozen=True)
class DecoderBlocks:
    """The decoder blocks of a model, first to last, and what they belong to."""

    path: str  # their name inside the model, "model.layers" say
    blocks: tuple[nn.Module, ...]
    decoder: nn.Module  # takes token ids and runs the blocks, without the head


def find_decoder_blocks(model: nn.Module, path: str | None = None) -> DecoderBlocks:
    """Finds the decoder blocks: the ModuleList of length `num_hidden_layers` at the shortest path.

    Of a model with several towers, only the language model is searched. A `path` is believed, whatever the config says
    of their number.

    Raises:
        ModelError: If there is nothing at `path`, or no (or no single) fitting list is found without it.
    """
    config: Any = model.config
    text = config.get_text_config()
    wanted = getattr(text, "num_hidden_layers", None)
    name = type(model).__name__
    if path is not None:
        arguments.text(path, "decoder_blocks", ModelError)
        found = dict(model.named_modules()).get(path)
        if not isinstance(found, nn.ModuleList) or len(found) == 0:
            kind = "nothing" if found is None else f"a {type(found).__name__}"
            raise ModelError(
                f"decoder_blocks={path!r}: {name} has {kind} there, not a list of decoder blocks"
            )
        return _at(model, path, found)

    root = ""
    if text is not config:  # the language model of a wrapper: its vision tower may have as many blocks
        language = model.get_decoder()  # type: ignore[operator]
        root = next((path for path, module in model.named_modules() if module is language), "")
    hint = '; name them with decoder_blocks="model.layers" or the like'
    return _at(model, *block_list(model, wanted, root, hint))


def block_list(
    model: nn.Module, count: int | None, inside: str = "", hint: str = ""
) -> tuple[str, nn.ModuleList]:
    """The path and the list of decoder blocks: the ModuleList of that length at the shortest path inside a module."""
    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and (not inside or path.startswith(inside + "."))
    ]
    depth = min((path.count(".") for path, _ in lists), default=0)
    best = [(path, module) for path, module in lists if path.count(".") == depth]
    if len(best) != 1:
        what = f"several lists ({', '.join(path for path, _ in best)})" if best else "no list"
        raise ModelError(
            f"{type(model).__name__} has {what} of {count} modules that could be its decoder blocks{hint}"
        )
    return best[0]


def _at(model: nn.Module, path: str, modules: nn.ModuleList) -> DecoderBlocks:
    return DecoderBlocks(path, tuple(modules), model.get_submodule(path.rpartition(".")[0]))


def hidden_of(output: Any) -> Tensor:
    """The hidden states `[rows, tokens, d]` in the output of a block."""
    hidden = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(hidden, Tensor) or hidden.dim() != 3:
        shape = tuple(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
        raise ModelError(
            f"a decoder block returned {shape} instead of hidden states [rows, tokens, width]: "
            "this architecture cannot be steered"
        )
    return hidden


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """The output of a block with other hidden states."""
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    if isinstance(output, list):
        return [hidden, *output[1:]]
    return hidden
