"""The way for added vectors: a bias at the projection whose output a block adds to the residual stream last.

Which projection that is, and that nothing stands between it and the stream (a norm, a factor), is found by trying: a
bias as large as the stream is put at each candidate of the loaded model, and the block's output must change by just
that. Whether a checkpoint can carry it is asked of the architecture's config: a bias is there, or a switch makes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.baking.checkpoint import Checkpoint, plain_values, tensors_of
from trimtab.steering.blocks import DecoderBlocks, hidden_of
from trimtab.steering.edits import Edit

_TOKENS = 8
_ROUNDINGS = 4  # of a block's output, in its dtype, that a change may be off by


@dataclass(frozen=True)
class Place:
    """Where the biases go.

    Attributes:
        projection: The path of the projection inside a block: `mlp.down_proj`.
        config: The config of the model that has biases there.
        switch: What had to be set to true in it for that; None if they were there.
    """

    projection: str
    config: Any
    switch: str | None


def refusal(edits: Sequence[Edit]) -> str | None:
    """Why edits cannot be a bias of any model; None if they can."""
    for edit in edits:
        if edit.p is not None and bool(edit.p.any()):
            return f"what the edit of block {edit.block} adds depends on the hidden state, and a bias is constant"
        if edit.tokens != "all":
            return f"the edit of block {edit.block} acts on {edit.tokens} tokens only, and a bias on all"
    return None


def projections(model: Any, place: DecoderBlocks, blocks: Sequence[int]) -> list[str] | str:
    """The projections whose outputs these blocks add to the residual stream at their end; or why there is none.

    They are paths inside a block, the last first.
    """
    exact = list(_exact_projections(model, place, blocks[0]))
    for block in blocks[1:]:
        there = set(_exact_projections(model, place, block))
        exact = [name for name in exact if name in there]
    return exact[::-1] or (
        f"in {_kind(model)} no projection's output is added to the residual stream as it is at the end of a block "
        "(a norm, a factor or several experts stand between), so that a bias there would be something else"
    )


def find(model: Any, place: DecoderBlocks, blocks: Sequence[int]) -> Place | str:
    """Where a model can carry biases that are added to the outputs of these blocks; or why it cannot."""
    exact = projections(model, place, blocks)
    if isinstance(exact, str):
        return exact
    wanted = {name: [f"{place.path}.{block}.{name}.bias" for block in blocks] for name in exact}
    named = set(dict(model.named_parameters()))
    for name, biases in wanted.items():
        if named.issuperset(biases):
            return Place(name, model.config, None)
    for switch, config, grown in _switched(model):
        for name, biases in wanted.items():
            if grown.issuperset(biases):
                return Place(name, config, switch)
    return f"{_kind(model)} has no bias at {' or '.join(wanted)}, and no switch in its config gives it one"


def checkpoint(model: Any, config: Any, changes: Mapping[str, Tensor]) -> Checkpoint:
    """What to write: all tensors of a model, to some of which something is added.

    Args:
        model: The model.
        config: Its config, or one by which it has biases besides; those are zero.
        changes: What is added, float64, by the names of the tensors.
    """
    config = type(config)(**plain_values(config))
    with torch.device("meta"):
        wanted = type(model)(config).state_dict()
    tensors = tensors_of(model)
    for name, tensor in wanted.items():
        if name not in tensors:
            tensors[name] = torch.zeros(tensor.shape, dtype=model.dtype)
    for name, change in changes.items():
        tensors[name] = (tensors[name].double().cpu() + change).to(tensors[name].dtype)
    return Checkpoint(type(model), config, tensors)


def vectors(edits: Sequence[Edit], path: str, projection: str) -> dict[str, Tensor]:
    """What is added in each block, `[d]` in float64, by the name of the bias."""
    found: dict[str, Tensor] = {}
    for edit in edits:
        name = f"{path}.{edit.block}.{projection}.bias"
        vector = edit.alpha * edit.u.double()
        found[name] = vector + found.get(name, torch.zeros_like(vector))
    return found


def _kind(model: Any) -> str:
    return f"a model of the type {model.config.model_type}"


def _switched(model: Any) -> Iterator[tuple[str, Any, set[str]]]:
    """Configs like a model's with one switch for biases on, and the names of the biases that this adds."""
    values = plain_values(model.config)
    had = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for switch in sorted(name for name, value in values.items() if value is False and "bias" in name):
        config = type(model.config)(**{**values, switch: True})
        with torch.device("meta"):
            grown = {name: tensor.shape for name, tensor in type(model)(config).state_dict().items()}
        added = set(grown) - set(had)
        same = all(grown.get(name) == shape for name, shape in had.items())
        if same and added and all(name.endswith(".bias") for name in added):
            yield switch, config, added


def _exact_projections(model: Any, place: DecoderBlocks, block: int) -> Iterator[str]:
    """The projections of a block at whose output a bias is added to the block's output, and nothing else is done."""
    width = int(model.config.get_text_config().hidden_size)
    plain = _seen(model, place.blocks[block])
    norms = torch.linalg.vector_norm(plain.output, dim=-1)
    probe = torch.cos(torch.arange(1, width + 1, dtype=torch.float64) ** 2).to(plain.output.device)
    probe = (probe * norms.mean() / torch.linalg.vector_norm(probe)).to(model.dtype)
    most = _ROUNDINGS * torch.finfo(model.dtype).eps * (norms + norms.mean())
    for name, projection in place.blocks[block].named_modules():
        if _width_of(projection) != width:
            continue
        with _biased(projection, probe):
            biased = _seen(model, place.blocks[block])
        off = torch.linalg.vector_norm(biased.output - plain.output - probe.double(), dim=-1)
        if bool((off <= most).all()) and all(map(torch.equal, biased.inputs, plain.inputs)):
            yield name


def _width_of(module: nn.Module) -> int | None:
    """How much a projection gives, or None for another module. GPT-2 has a class of its own for them."""
    if isinstance(module, nn.Linear):
        return module.out_features
    nf: Any = getattr(module, "nf", None)
    return nf if type(module).__name__ == "Conv1D" else None


@contextmanager
def _biased(projection: Any, probe: Tensor) -> Iterator[None]:
    """A projection with a probe more in its bias; its own is put back."""
    own = projection.bias
    projection.bias = nn.Parameter(probe if own is None else own.detach() + probe, requires_grad=False)
    try:
        yield
    finally:
        projection.bias = own


@dataclass(frozen=True)
class _Seen:
    """Of a few tokens: the output of a block `[tokens, d]` in float64, and what its projections were given."""

    output: Tensor
    inputs: list[Tensor]


@torch.no_grad()
def _seen(model: Any, block: nn.Module) -> _Seen:
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []
    projections = [module for module in block.modules() if _width_of(module) is not None]
    handles = [
        block.register_forward_hook(lambda module, args, output: outputs.append(hidden_of(output))),
        *(
            one.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
            for one in projections
        ),
    ]
    try:
        embeddings = model.get_input_embeddings().weight
        ids = torch.arange(_TOKENS, device=embeddings.device)[None] % len(embeddings)
        model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return _Seen(outputs[0][0].double(), inputs)
