"""The decoder layers of a vLLM model: finding them, judging what they return, and putting steering behind them.

What a layer returns is judged by its source (`trimtab.vllm.residual`): a change in the wrong place would be
silently wrong.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.errors import ModelError
from trimtab.steering.blocks import block_list
from trimtab.thoughts import Reader, ThoughtFormat
from trimtab.vllm.residual import Stream, judged
from trimtab.vllm.settings import SteeringSettings
from trimtab.vllm.worker import operation
from trimtab.vllm.worker.following import AnswerFollower
from trimtab.vllm.worker.runners import SteeringState
from trimtab.vllm.worker.table import SteeringTable

SPARE_TOKENS = 1024
"""Rows of the index beyond the largest batch, for what vLLM pads it to."""


def find_layers(model: nn.Module, total: int) -> tuple[str, nn.ModuleList]:
    """Finds the decoder layers by `block_list`, of a model with pictures or sound in its language model alone.

    Layers of other pipeline ranks are placeholders in the list.
    """
    root = model
    if callable(getattr(model, "get_language_model", None)):
        root = model.get_language_model()  # type: ignore[operator]
    inside = next((path for path, module in model.named_modules() if module is root), "")
    return block_list(model, total, inside, ", and cannot be steered")


@cache
def stream_of(layer: Any) -> Stream:
    """Where the residual stream is in the pair that a layer returns: `judged` by the source of its `forward`."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(layer.forward)))
        [function] = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return "unknown"
    return judged(function) if isinstance(function, ast.FunctionDef) else "unknown"


def install(model: nn.Module, vllm_config: Any, settings: SteeringSettings) -> SteeringState:
    """Puts steering behind every decoder layer of a model that was just made.

    The tables are buffers of the layers, so that they are seen by `torch.compile`, by CUDA graphs and by vLLM's sleep
    mode, and not saved with the weights.

    Raises:
        ModelError: If its layers are not found, return nothing that can be steered, or the tables do not fit.
    """
    from trimtab.vllm.worker.memory import check_memory

    model_config = vllm_config.model_config
    path, layers = find_layers(model, model_config.get_total_num_hidden_layers())
    present: dict[int, Any] = {number: layer for number, layer in enumerate(layers) if _computes(layer)}
    streams = {number: stream_of(layer.__class__) for number, layer in present.items()}
    if len(set(streams.values()) - {"unknown"}) > 1:
        raise ModelError(
            f"{type(model).__name__} cannot be steered: some of its decoder layers return the residual stream as a "
            "sum of two parts, others whole"
        )
    width = int(model_config.get_hidden_size())
    dtype = settings.dtype(model_config.dtype)
    # Not that of a weight: weights may be elsewhere until they are loaded.
    device = torch.device(vllm_config.device_config.device or vllm_config.device_config.device_type)
    scheduler = vllm_config.scheduler_config
    slots = scheduler.max_num_seqs
    graphs = vllm_config.compilation_config.max_cudagraph_capture_size or 0
    tokens = max(scheduler.max_num_batched_tokens, graphs) + SPARE_TOKENS
    bytes_needed = table_bytes(len(present), width, slots + 1, settings.gates, dtype)
    if settings.record:
        bytes_needed += len(present) * tokens * width * model_config.dtype.itemsize
    check_memory(bytes_needed, device, slots=slots, gates=settings.gates)

    table = SteeringTable(
        tuple(present), width, slots=slots, gates=settings.gates, tokens=tokens, dtype=dtype, device=device
    )
    state = SteeringState(table)
    if settings.record:
        from trimtab.vllm.worker.recording import Recorder

        state.recorder = Recorder(
            tuple(present), width, tokens=tokens, dtype=model_config.dtype, device=device
        )
    state.follower = _follower(vllm_config, settings, device)
    for number, layer in present.items():
        _steer(layer, number, state, streams[number], number == len(layers) - 1)
    object.__setattr__(model, "trimtab", state)  # no submodule: nothing of it is a weight

    from vllm.logger import init_logger

    init_logger("vllm.trimtab").info(  # vLLM shows what is said under its own name
        "trimtab steers %d blocks of %s (%s), %d requests at once, %d gated edits each, tables of %.1f MiB",
        len(present),
        type(model).__name__,
        path,
        slots,
        settings.gates,
        bytes_needed / 2**20,
    )
    return state


def _follower(vllm_config: Any, settings: SteeringSettings, device: torch.device) -> AnswerFollower | None:
    """What tells answers from thoughts here; None where all that is generated is answer."""
    from trimtab.vllm.frontend.frontend import loaded_tokenizer

    form = None if settings.thoughts is None else ThoughtFormat.from_dict(settings.thoughts)
    # vLLM makes models under the device and the dtype of the weights.
    with torch.device("cpu"):
        reader = Reader(loaded_tokenizer(vllm_config.model_config), form)
        if reader.is_trivial:
            return None
        return AnswerFollower(
            reader,
            requests=vllm_config.scheduler_config.max_num_seqs,
            drafts=int(vllm_config.num_speculative_tokens or 0),
            device=device,
        )


def table_bytes(blocks: int, width: int, slots: int, gates: int, dtype: torch.dtype) -> int:
    """How much memory the tables take: what is added, the gated edits, and their strengths.

    Slot 0 is one of the slots.
    """
    phases = operation.PHASES
    return blocks * slots * (width * (phases + 2 * gates) * dtype.itemsize + phases * gates * 4)


def _computes(layer: nn.Module) -> bool:
    """Whether a layer is really there, not the placeholder for one of another pipeline rank."""
    return type(layer).__name__ != "PPMissingLayer"


def _steer(layer: Any, number: int, state: SteeringState, stream: Stream, last: bool) -> None:
    buffers = state.table.buffers(number)
    layer.register_buffer("trimtab_index", state.table.index, persistent=False)
    for name in ("added", "p", "u", "strength"):
        layer.register_buffer(f"trimtab_{name}", getattr(buffers, name), persistent=False)
    recorded = None if state.recorder is None else state.recorder.buffer(number)
    layer.register_buffer("trimtab_record", recorded, persistent=False)
    layer.__class__ = _steered_class(layer.__class__, stream, last)


@cache
def _steered_class(layer: Any, stream: Stream, last: bool) -> type[nn.Module]:
    """The class of a layer, with steering behind its `forward`.

    A class, not a hook or a wrapper: the layer stays an instance of its own class, its weights keep their names, and
    the compiler sees one plain call.
    """

    class SteeredLayer(layer):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            target, addend = _parts(output, stream, layer.__name__)
            operation.steer(
                target,
                addend if self.trimtab_p.shape[1] else None,
                self.trimtab_index,
                self.trimtab_added,
                self.trimtab_p,
                self.trimtab_u,
                self.trimtab_strength,
                last,
            )
            if self.trimtab_record is not None:
                operation.record(target, addend, self.trimtab_record)
            return output

    SteeredLayer.__name__ = f"Steered{layer.__name__}"
    SteeredLayer.__qualname__ = SteeredLayer.__name__
    return SteeredLayer


def _parts(output: Any, stream: Stream, name: str) -> tuple[Tensor, Tensor | None]:
    """What is changed in a layer's output, and what must be added to it for the whole stream; both `[tokens, d]`.

    Of a pair, the second part is changed: the first is often still to be summed over tensor-parallel ranks together
    with the norm that follows, a fusion of vLLM's that a change of it would break. Gates read it, which breaks that
    too; where there is no room for any (`gates=0`), it is left alone.
    """
    second = None
    if isinstance(output, tuple | list):
        output, second = output[0], (output[1] if len(output) > 1 else None)
    if second is not None and stream == "unknown":
        raise ModelError(f"{name} cannot be steered: its source does not say where its residual stream is")
    if second is not None and stream == "sum":
        return _flat(second, name), _flat(output, name)
    return _flat(output, name), None


def _flat(hidden: Tensor, name: str) -> Tensor:
    """`[tokens, d]`, in the memory of what a layer returned; those of transformers return `[1, tokens, d]`."""
    if hidden.dim() == 3 and hidden.shape[0] == 1:
        return hidden[0]
    if hidden.dim() != 2:
        raise ModelError(
            f"{name} cannot be steered: it returns a stream of {hidden.dim()} dimensions, not [tokens, width]"
        )
    return hidden
